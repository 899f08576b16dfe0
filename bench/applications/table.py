"""The ten applications, and the servers that they run under."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
APPS = HERE / "apps"


class Application(NamedTuple):
    """One app.

    name     its checks are in clients/NAME_checks.py
    title    of its row
    target   module:attribute, below apps/
    edited   the file whose VERSION is changed for --reload
    asgi     bool: ASGI, else WSGI
    echo     the path of a WebSocket that echoes; "" for none
    events   the path of a stream of events that never ends; "" for none
    flags    of allcomers, where its default model cannot serve the app
    """

    name: str
    title: str
    target: str
    edited: str
    asgi: bool = True
    echo: str = ""
    events: str = ""
    flags: tuple[str, ...] = ()


THREADS = ("--model", "thread")
"""A WebSocket of a WSGI app keeps a thread: gunicorn has it with -k gthread."""

APPLICATIONS = (
    Application("fastapi", "FastAPI", "fastapi_app:app", "fastapi_app.py", echo="/echo", events="/events"),
    Application("starlette", "Starlette, middleware", "starlette_app:app", "starlette_app.py", echo="/echo"),
    Application("quart", "Quart", "quart_app:app", "quart_app.py", echo="/echo", events="/events"),
    Application("litestar", "Litestar", "litestar_app:app", "litestar_app.py", echo="/echo", events="/events"),
    Application(
        "django", "Django, Channels", "django_app.asgi:app", "django_app/settings.py", echo="/echo", events="/events"
    ),
    Application("gradio", "Gradio", "gradio_app:app", "gradio_app.py"),
    Application("nicegui", "NiceGUI", "nicegui_app:app", "nicegui_app.py"),
    Application("socketio", "Flask-SocketIO", "socketio_app:app", "socketio_app.py", asgi=False, flags=THREADS),
    Application("bottle", "Bottle, streams", "bottle_app:app", "bottle_app.py", asgi=False),
    Application("mcp", "MCP", "mcp_app:app", "mcp_app.py"),
)

PACKAGES = (
    *("fastapi==0.165.0", "python-multipart", "starlette==1.10.0", "itsdangerous", "jinja2", "quart==0.23.1"),
    *("litestar==2.25.0", "django==6.1.3", "channels==4.3.2", "gradio==6.31.0", "nicegui==3.18.0", "bottle==0.13.4"),
    *("flask-socketio==5.7.0", "simple-websocket", "python-socketio[client]", "mcp==2.3.0"),
    *("brotli-asgi", "slowapi", "asgi-gzip", "starlette-compress", "starlette-exporter", "asgi-correlation-id"),
    "prometheus-fastapi-instrumentator",  # and those before: middleware
    *("uvicorn[standard]==0.54.0", "gunicorn==27.0.1"),
    *("httpx", "websockets", "playwright", "brotli", "uvloop", "watchfiles"),
)
"""Requirements of the applications, of the other servers, of the clients; and this server's extras."""


class Contender(NamedTuple):
    """A server.

    command  (target, port, whether it reloads, whether it is to obey HUP) to what follows the interpreter
    asgi, wsgi  bool: whether it serves such apps
    """

    name: str
    command: Callable[[Application, int, bool, bool], list[str]]
    asgi: bool
    wsgi: bool

    def serves(self, app: Application) -> bool:
        return self.asgi if app.asgi else self.wsgi


def allcomers(app: Application, port: int, reload: bool, hup: bool) -> list[str]:
    extra = ["--reload"] if reload else []
    return ["-m", "allcomers", "run", app.target, "-b", f"127.0.0.1:{port}", *app.flags, *extra]


def uvicorn(app: Application, port: int, reload: bool, hup: bool) -> list[str]:
    """HUP is obeyed by uvicorn's supervisor, which is there with --workers only."""
    extra = ["--reload"] if reload else ["--workers", "2"] if hup else []
    return ["-m", "uvicorn", app.target, "--port", str(port), *extra]


def gunicorn(app: Application, port: int, reload: bool, hup: bool) -> list[str]:
    kind = ["-k", "asgi"] if app.asgi else ["-k", "gthread", "--threads", "100"]
    return ["-m", "gunicorn", app.target, "-b", f"127.0.0.1:{port}", *kind, *(["--reload"] if reload else [])]


CONTENDERS = (
    Contender("allcomers", allcomers, asgi=True, wsgi=True),
    Contender("uvicorn", uvicorn, asgi=True, wsgi=False),
    Contender("gunicorn", gunicorn, asgi=True, wsgi=True),
)

SOURCE = HERE.parent.parent / "src"


def environment(folder: Path) -> dict[str, str]:
    """The environment of a server whose apps are in `folder`, and of its clients."""
    return {
        **{key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
        "PYTHONPATH": os.pathsep.join((str(SOURCE), str(folder))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DJANGO_SETTINGS_MODULE": "django_app.settings",
        "DJANGO_SUPERUSER_PASSWORD": "secret",
        "APP_DATABASE": str(folder / "notes.sqlite3"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder / "gradio"),
        "HF_HUB_OFFLINE": "1",
        "NICEGUI_STORAGE_PATH": str(folder / "nicegui"),
        "MPLCONFIGDIR": str(folder / "matplotlib"),
    }


def base_python() -> str:
    return getattr(sys, "_base_executable", sys.executable)


STOP = signal.SIGTERM
