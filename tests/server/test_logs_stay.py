"""The server's log under apps that configure logging for everybody: what fails is told, whatever they do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from allcomers.models import TABLE
from support.harness import ask, chosen, serving

FAILED = "GET '/fail' failed"
ERROR = "RuntimeError: the app is wrong"

# ------------------------------------------------------------ real frameworks, as their pages show it

DJANGO = """
    import os, sys, types
    settings = types.ModuleType("mysettings")
    settings.__dict__.update(
        DEBUG=False, ROOT_URLCONF="app", SECRET_KEY="for tests", ALLOWED_HOSTS=["*"], LOGGING={
            "version": 1,
            "handlers": {"file": {"class": "logging.FileHandler", "filename": str(PLACE / "my.log")}},
            "loggers": {"django": {"handlers": ["file"], "level": "DEBUG", "propagate": False}},
        },
    )
    sys.modules["mysettings"] = settings
    os.environ["DJANGO_SETTINGS_MODULE"] = "mysettings"
    from django.core.KIND import get_KIND_application
    inner = get_KIND_application()
    urlpatterns = []
    WRAPPED
"""
"""https://docs.djangoproject.com/en/stable/howto/logging/, with the default of disable_existing_loggers."""

WRAPPED = {
    "wsgi": """
    def app(environ, start_response):
        raise RuntimeError("the app is wrong")
    """,
    "asgi": """
    async def app(scope, receive, send):
        raise RuntimeError("the app is wrong")
    """,
}
"""A middleware around Django: what Django itself catches, the server does not see."""

FLASK = """
    from logging.config import dictConfig
    dictConfig({
        "version": 1,
        "formatters": {"default": {"format": "[%(asctime)s] %(levelname)s in %(module)s: %(message)s"}},
        "handlers": {"wsgi": {
            "class": "logging.StreamHandler", "stream": "ext://flask.logging.wsgi_errors_stream",
            "formatter": "default",
        }},
        "root": {"level": "INFO", "handlers": ["wsgi"]},
    })
    import flask
    app = flask.Flask("app")
    app.config["PROPAGATE_EXCEPTIONS"] = True

    @app.get("/fail")
    def fail():
        raise RuntimeError("the app is wrong")
"""
"""https://flask.palletsprojects.com/en/stable/logging/."""

UVICORN = """
    import copy, logging.config
    from uvicorn.config import LOGGING_CONFIG
    config = copy.deepcopy(LOGGING_CONFIG)
    del config["disable_existing_loggers"]
    config["root"] = {"handlers": ["default"], "level": "WARNING"}
    logging.config.dictConfig(config)

    async def app(scope, receive, send):
        if scope["type"] == "http":
            raise RuntimeError("the app is wrong")
        raise NotImplementedError
"""
"""An app that brings uvicorn's configuration along (https://uvicorn.dev/concepts/logging/)."""

CODE = {
    "django-wsgi": DJANGO.replace("WRAPPED", dedent(WRAPPED["wsgi"]).replace("\n", "\n    ")).replace("KIND", "wsgi"),
    "django-asgi": DJANGO.replace("WRAPPED", dedent(WRAPPED["asgi"]).replace("\n", "\n    ")).replace("KIND", "asgi"),
    "flask": FLASK,
    "uvicorn": UVICORN,
}


def failing(target: str, *options: str) -> str:
    """Serve `target`, have a request fail, and return standard error."""
    with serving("run", target, *options, quiet=False) as server:
        assert b" 500 " in ask(server, b"GET /fail HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    return server.stderr


@pytest.mark.parametrize(
    ("framework", "model"),
    chosen(
        [("django-wsgi", "epoll"), ("django-asgi", "asyncio"), ("flask", "thread"), ("uvicorn", "epoll")],
        [(name, model.name) for name in CODE for model in TABLE.values() if not model.obstacle],
    ),
)
def test_a_framework_s_own_configuration(tmp_path: Path, framework: str, model: str) -> None:
    code = CODE[framework].replace("PLACE", f"__import__('pathlib').Path({str(tmp_path)!r})")
    (tmp_path / "app.py").write_text(dedent(code))
    output = failing(f"{tmp_path / 'app.py'}:app", "-m", model)
    assert (output.count(FAILED), output.count(ERROR)) == (1, 1), output


# ------------------------------------------------------------ what else an app does to all loggers

EVERY = "[logging.getLogger(name) for name in list(logging.Logger.manager.loggerDict)]"

UNKIND = {
    "disable": "logging.disable(logging.CRITICAL)",
    "disabled by hand": f"for log in {EVERY}: log.disabled = True",
    "shutdown": "logging.shutdown()",
    "no handlers": f"for log in {EVERY}: log.handlers.clear()",
    "only the root's": f"""
        logging.basicConfig(force=True, format="ROOT %(message)s")
        for log in {EVERY}:
            log.handlers.clear()
            log.propagate = True
    """,
    "a root's handler that raises": f"""
        class Broken(logging.Handler):
            def emit(self, record):
                raise LookupError("working outside of a request")
        logging.root.addHandler(Broken())
        for log in {EVERY}:
            log.handlers.clear()
            log.propagate = True
    """,
    "a factory that raises": """
        def make(*args, **kwargs):
            raise LookupError("working outside of a request")
        logging.setLogRecordFactory(make)
    """,
    "a class of its own": """
        class Silent(logging.Logger):
            def handle(self, record):
                pass
        logging.setLoggerClass(Silent)
    """,
    "no last resort": f"""
        logging.lastResort = None
        for log in {EVERY}: log.handlers.clear()
        logging.root.handlers.clear()
    """,
    "the stream is closed": "sys.stderr.close()",
    "the stream is none": "sys.stderr = sys.__stderr__ = None",
    "the stream is another": "sys.stderr = open(os.devnull, 'w')",
    "none raises": "logging.raiseExceptions = False",
}

AT_IMPORT = """
import logging, os, sys
DO
def app(environ, start_response):
    raise RuntimeError("the app is wrong")
"""

AT_A_REQUEST = """
import logging, os, sys
async def app(scope, receive, send):
    if scope["type"] == "http":
        INDENTED
        raise RuntimeError("the app is wrong")
    raise NotImplementedError
"""


def write(folder: Path, template: str, do: str) -> str:
    do = dedent(do).strip()
    code = template.replace("INDENTED", do.replace("\n", "\n        ")).replace("DO", do)
    (folder / "app.py").write_text(code)
    return f"{folder / 'app.py'}:app"


@pytest.mark.parametrize("template", [AT_IMPORT, AT_A_REQUEST], ids=["at import", "at a request"])
@pytest.mark.parametrize("unkind", UNKIND)
def test_an_exception_is_told(tmp_path: Path, unkind: str, template: str) -> None:
    output = failing(write(tmp_path, template, UNKIND[unkind]), "-m", "epoll")
    assert output.count(FAILED) == output.count(ERROR), output
    assert output.count(FAILED) in ((1, 2) if "raises" in unkind else (1,)), output  # twice: before another had raised


@pytest.mark.parametrize("unkind", ["disable", "the stream is closed", "the stream is none", "the stream is another"])
@pytest.mark.parametrize("command", ["run", "doctor"])
def test_an_app_that_cannot_be_loaded_is_told(tmp_path: Path, unkind: str, command: str) -> None:
    """Fail before the app's logging or the server's is all set up."""
    target = write(tmp_path, AT_IMPORT.replace("def app", "raise RuntimeError('broken')\ndef app"), UNKIND[unkind])
    options = ["--bind", "127.0.0.1:0"] if command == "run" else []
    done = subprocess.run(
        [sys.executable, "-m", "allcomers", command, target, *options], capture_output=True, text=True, timeout=60
    )
    assert done.returncode in (1, 3)
    assert "RuntimeError: broken" in done.stderr + done.stdout
