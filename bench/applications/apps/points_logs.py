"""An app with a log of its own: each of its lines must come once, and where the app says; its mistakes too."""

import logging
import logging.config
import os
from typing import Any

if os.environ.get("APP_LOGGING") == "dict":
    logging.config.dictConfig(
        {
            "version": 1,  # disable_existing_loggers is True, as Django's and most people's is
            "formatters": {"plain": {"format": "APP %(levelname)s %(message)s"}},
            "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "plain"}},
            "root": {"handlers": ["out"], "level": "INFO"},
        }
    )
else:
    logging.basicConfig(level=logging.DEBUG, format="APP %(levelname)s %(message)s", filename="app.log")
own = logging.getLogger("own")
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("OWN %(message)s"))
own.addHandler(handler)
own.setLevel("INFO")


def app(environ: dict[str, Any], start_response: Any) -> Any:
    if environ["PATH_INFO"] == "/fails":
        raise RuntimeError("the app's own mistake")
    logging.getLogger("app").debug("a request for %s", environ["PATH_INFO"])
    own.info("own line for %s", environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"one"]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"] == "/fails":
        raise RuntimeError("the app's own mistake")
    logging.getLogger("app").debug("a request for %s", scope["path"])
    own.info("own line for %s", scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"one"})
