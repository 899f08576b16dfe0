"""The server's log and the app's: each line once, each in its own place and form, whatever the app configures."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from allcomers.models import TABLE
from allcomers.server.error_log import NAMES
from support.harness import ROOT, Server, ask, chosen, serving, wait_for

LINE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}([+-]\d\d:\d\d) \[(\d+)\] ([A-Z]+) (.*)$", re.MULTILINE)
"""Of the server's log: the offset from UTC, the process, the level, the message."""

WSGI = """
def app(environ, start_response):
    path = environ["PATH_INFO"]
    HERE
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""

ASGI = """
async def app(scope, receive, send):
    path = scope.get("path", scope["type"])
    if path == "lifespan":
        LIFESPAN
        await receive()
        await send({"type": "lifespan.startup.complete"})
        return
    HERE
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


PAIRS = chosen(
    [(WSGI, "epoll"), (WSGI, "process"), (ASGI, "asyncio"), (ASGI, "thread")],
    [
        (app, model.name)
        for app in (WSGI, ASGI)
        for model in TABLE.values()
        if not model.obstacle and not (app is ASGI and model.is_patched)
    ],
)
"""An app's text, and the model that it is served by."""

each_pair = pytest.mark.parametrize(
    ("app", "model"), PAIRS, ids=["-".join(("wsgi" if app is WSGI else "asgi", model)) for app, model in PAIRS]
)


def write(folder: Path, first: str, here: str, app: str = WSGI, lifespan: str = "pass") -> str:
    """Write app.py, which runs `first` when it is imported and `here` for a request; return the target."""
    text = dedent(first) + app
    for name, code in (("HERE", here), ("LIFESPAN", lifespan)):
        text = re.sub(rf"^( *){name}$", lambda found, code=code: indented(code, found[1]), text, flags=re.MULTILINE)
    (folder / "app.py").write_text(text)
    return f"{folder / 'app.py'}:app"


def indented(code: str, by: str) -> str:
    return "\n".join(by + line for line in dedent(code).strip().splitlines())


def request_paths(server: Server, *paths: str) -> None:
    for path in paths:
        assert ask(server, f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())


def served(target: str, *options: str, paths: Sequence[str] = ("/",), hup: bool = False, **keywords: object) -> str:
    """Serve `target`, request `paths`, again after HUP if `hup`, and stop; return the lines on standard error."""
    with serving("run", target, *options, quiet=False, **keywords) as server:
        request_paths(server, *paths)
        if hup:
            before = set(server.workers())
            server.send(signal.SIGHUP)
            wait_for(lambda: server.workers() and not before & set(server.workers()), "other workers")
            request_paths(server, *paths)
    return server.stderr


def lines(stderr: str, message: str) -> list[str]:
    return [line for line in stderr.splitlines() if message in line]


def in_our_form(line: str) -> bool:
    return LINE.match(line) is not None


# ------------------------------------------------------------ an app that configures the root


OWN = """
    import logging
    from pathlib import Path
    logging.basicConfig(
        level=logging.DEBUG, format="MYAPP %(levelname)s %(message)s", filename=Path(__file__).parent / "my.log"
    )
    log = logging.getLogger("my")
    log.debug("module loaded")
    own = logging.getLogger("own")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("OWN %(message)s"))
    own.addHandler(handler)
"""


@each_pair
def test_basic_config_of_an_app_works(tmp_path: Path, app: str, model: str) -> None:
    """Check that its lines are in its file, in its form, at its level, and the server's are not."""
    target = write(tmp_path, OWN, "log.debug('a request to %s', path)\nown.warning('a line of its own')", app)
    output = served(target, "-m", model, "-w", "2", hup=True)
    mine = (tmp_path / "my.log").read_text().splitlines()
    assert mine.count("MYAPP DEBUG module loaded") == 4
    assert mine.count("MYAPP DEBUG a request to /") == 2
    assert mine.count("MYAPP WARNING a line of its own") == 2
    assert all(line.startswith("MYAPP ") and "reloading" not in line for line in mine)
    assert output.count("OWN a line of its own") == 2
    assert "MYAPP" not in output
    assert [in_our_form(line) for line in lines(output, "reloading: 2 workers")] == [True]


def test_an_app_s_level_is_its_own(tmp_path: Path) -> None:
    """Check that basicConfig() without a level leaves the root at WARNING, as elsewhere."""
    first = "import logging\nlogging.basicConfig(format='MYAPP %(message)s')\nlog = logging.getLogger('my')\n"
    target = write(tmp_path, first, "log.info('too low')\nlog.warning('high enough')")
    output = served(target)
    assert "too low" not in output
    assert lines(output, "high enough") == ["MYAPP high enough"]


@pytest.mark.parametrize("model", ["asyncio", "thread"])
def test_an_app_may_configure_when_it_starts(tmp_path: Path, model: str) -> None:
    configure = "logging.basicConfig(format='MYAPP %(message)s', level=10)"
    target = write(tmp_path, "import logging\n", "logging.debug('a request')", ASGI, configure)
    assert lines(served(target, "-m", model), "a request") == ["MYAPP a request"]


# ------------------------------------------------------------ an app that does not


BARE = """
    import logging
    log = logging.getLogger("my")
    log.info("module loaded")
    logging.getLogger("library").addHandler(logging.NullHandler())
"""


@each_pair
def test_what_an_app_logs_is_seen_once(tmp_path: Path, app: str, model: str) -> None:
    here = """
    logging.info("by the module")
    log.info("by a logger")
    log.debug("too low")
    logging.getLogger("library").warning("by a library")
    """
    output = served(write(tmp_path, BARE, here, app, "log.info('starting')"), "-m", model)
    for message in ["module loaded", "by the module", "by a logger", "by a library", *["starting"] * (app is ASGI)]:
        assert [in_our_form(line) for line in lines(output, message)] == [True], (message, output)
    assert "too low" not in output


def test_the_level_is_that_of_the_server(tmp_path: Path) -> None:
    target = write(tmp_path, BARE, "log.info('by a logger')\nlog.error('an error')")
    output = served(target, "--log-level", "warning")
    assert len(lines(output, "an error")) == 1
    assert "by a logger" not in output
    output = served(target, "--log-level", "debug")
    assert len(lines(output, "by a logger")) == 1


def test_a_line_that_a_handler_has_written_is_not_repeated(tmp_path: Path) -> None:
    """Propagate records from a logger with a handler: each comes once, also those that its handler drops."""
    first = """
    import logging
    own = logging.getLogger("own")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("OWN %(message)s"))
    handler.setLevel("ERROR")
    own.addHandler(handler)
    """
    target = write(tmp_path, first, "own.error('an error')\nlogging.getLogger('own.child').error('a child')\n"
                   "own.warning('a warning')")  # fmt: skip
    output = served(target)
    assert lines(output, "an error") == ["OWN an error"]
    assert lines(output, "a child") == ["OWN a child"]
    assert [in_our_form(line) for line in lines(output, "a warning")] == [True]


# ------------------------------------------------------------ what logging.config does to others


CONFIGURED = """
    import logging, logging.config
    logging.config.dictConfig({
        "version": 1,
        "formatters": {"plain": {"format": "APP %(levelname)s %(name)s %(message)s"}},
        "handlers": {"stream": {"class": "logging.StreamHandler", "formatter": "plain"}},
        "root": {"handlers": ["stream"], "level": "INFO"},
        LOGGERS
    })
    log = logging.getLogger("my")
"""

CONFIGURED_BY_FILE = """
    import logging.config
    from pathlib import Path
    logging.config.fileConfig(Path(__file__).parent / "log.ini")
"""

LOG_INI = """
[loggers]
keys = root
[handlers]
keys = stream
[formatters]
keys = plain
[formatter_plain]
format = APP %(levelname)s %(name)s %(message)s
[handler_stream]
class = StreamHandler
formatter = plain
args = ()
[logger_root]
level = INFO
handlers = stream
"""


@each_pair
def test_a_configuration_that_disables_all_others_leaves_the_server_s_log(tmp_path: Path, app: str, model: str) -> None:
    here = "log.info('about to fail')\nif path == '/fail':\n    raise RuntimeError('the app is wrong')"
    target = write(tmp_path, CONFIGURED.replace("LOGGERS", ""), here, app)
    output = served(target, "-m", model, paths=["/fail"], hup=True)
    assert len(lines(output, "APP INFO my about to fail")) == 2
    assert [in_our_form(line) for line in lines(output, "GET '/fail' failed")] == [True, True]
    assert len(lines(output, "RuntimeError: the app is wrong")) == 2


def test_so_does_one_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "log.ini").write_text(LOG_INI)
    target = write(tmp_path, CONFIGURED_BY_FILE, "raise RuntimeError('the app is wrong')")
    assert [in_our_form(line) for line in lines(served(target), "GET '/' failed")] == [True]


@pytest.mark.parametrize("app", [WSGI, ASGI], ids=["wsgi", "asgi"])
def test_so_does_one_at_a_request(tmp_path: Path, app: str) -> None:
    configure = indented(CONFIGURED.replace("LOGGERS", ""), "")
    target = write(tmp_path, "", f"{configure}\nraise RuntimeError('the app is wrong')", app)
    assert [in_our_form(line) for line in lines(served(target), "GET '/' failed")] == [True]


@pytest.mark.parametrize(
    ("loggers", "expected"),
    [
        ('"loggers": {"allcomers": {"level": "ERROR"}}', "APP ERROR allcomers.app GET '/' failed"),
        (
            '"loggers": {"allcomers": {"handlers": ["stream"], "propagate": False}}',
            "APP ERROR allcomers.app GET '/' failed",
        ),
        ('"loggers": {"allcomers.app": {"handlers": ["stream"], "propagate": False}}', "APP ERROR allcomers.app GET"),
    ],
)
def test_an_app_may_configure_the_server_s_loggers_by_name(tmp_path: Path, loggers: str, expected: str) -> None:
    target = write(tmp_path, CONFIGURED.replace("LOGGERS", loggers), "raise RuntimeError('the app is wrong')")
    (line,) = lines(served(target), "GET '/' failed")
    assert line.startswith(expected)


def test_every_logger_of_ours_is_known() -> None:
    """Check NAMES, because only loggers in it cannot be disabled."""
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    used = set(re.findall(r'getLogger\("allcomers([\w.]*)"\)', source))
    assert used == set(NAMES)


# ------------------------------------------------------------ real frameworks


DJANGO = """
    import os, sys, types
    settings = types.ModuleType("mysettings")
    settings.__dict__.update(
        DEBUG=DEBUGGING, ROOT_URLCONF="app", SECRET_KEY="for tests", ALLOWED_HOSTS=["*"], TIME_ZONE="Asia/Tokyo",
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    )
    sys.modules["mysettings"] = settings
    os.environ["DJANGO_SETTINGS_MODULE"] = "mysettings"
    import logging
    from django.core.KIND import get_KIND_application
    from django.http import HttpResponse
    from django.urls import path

    def fail(request):
        raise RuntimeError("the view is wrong")

    def log(request):
        logging.getLogger("my").warning("by the app")
        logging.getLogger("django.my").warning("by a part of Django")
        return HttpResponse("ok")

    urlpatterns = [path("fail", fail), path("log", log)]
    app = get_KIND_application()
"""


@pytest.mark.parametrize(
    ("kind", "model", "debugging"),
    [("wsgi", "epoll", True), ("wsgi", "thread", False), ("asgi", "asyncio", True), ("asgi", "epoll", False)],
)
def test_django_s_lines_come_once(tmp_path: Path, kind: str, model: str, debugging: bool) -> None:
    code = DJANGO.replace("KIND", kind).replace("DEBUGGING", str(debugging))
    output = served(
        write(tmp_path, code, "", app=""), "-m", model, "-w", "2", paths=["/fail", "/log", "/none"], hup=True
    )
    for message in ("by the app", "by a part of Django", "RuntimeError: the view is wrong", "Not Found: /none"):
        assert len(lines(output, message)) == 2, output
    assert all(map(in_our_form, lines(output, "by the app")))


FLASK = """
    import logging
    import flask
    app = flask.Flask("app")
    FIRST

    @app.get("/")
    def index():
        app.logger.warning("by the app's logger")
        return "ok"

    @app.get("/fail")
    def fail():
        raise RuntimeError("the view is wrong")
"""


@pytest.mark.parametrize(
    "first",
    [
        "",
        "app.logger.warning('loaded')",
        "theirs = logging.getLogger('gunicorn.error'); app.logger.handlers = theirs.handlers; "
        "app.logger.setLevel(theirs.level)",
        "logging.basicConfig(level=logging.INFO)",
    ],
    ids=["at a request", "at import", "by gunicorn's logger", "by basicConfig"],
)
def test_flask_s_lines_come_once(tmp_path: Path, first: str) -> None:
    output = served(write(tmp_path, FLASK.replace("FIRST", first), "", app=""), paths=["/", "/fail"])
    assert len(lines(output, "by the app's logger")) == 1, output
    assert len(lines(output, "RuntimeError: the view is wrong")) == 1


FASTAPI = """
    import logging
    from contextlib import asynccontextmanager
    from fastapi import FastAPI

    log = logging.getLogger(LOGGER)

    @asynccontextmanager
    async def lifespan(app):
        CONFIGURE
        log.info("starting")
        yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def index():
        log.info("a request")
        return "ok"

    @app.get("/plain")
    def plain():
        log.info("a call in a thread")
        return "ok"
"""


MY_FORMAT = "logging.basicConfig(level=logging.INFO, format='MYAPP %(message)s')"


@pytest.mark.parametrize(
    ("logger", "configure"), [("__name__", "pass"), ("'uvicorn.error'", "pass"), ("'uvicorn'", MY_FORMAT)]
)
def test_fastapi_s_lines_come_once(tmp_path: Path, logger: str, configure: str) -> None:
    code = FASTAPI.replace("LOGGER", logger).replace("CONFIGURE", configure)
    output = served(write(tmp_path, code, "", app=""), "-w", "2", paths=["/", "/plain"])
    for message, count in (("starting", 2), ("a request", 1), ("a call in a thread", 1)):
        found = lines(output, message)
        assert len(found) == count, output
        assert all(in_our_form(line) if configure == "pass" else line == f"MYAPP {message}" for line in found)


# ------------------------------------------------------------ the zone


ZONED = """
    import os, time
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
"""


@each_pair
def test_supervisor_and_worker_have_one_zone(tmp_path: Path, app: str, model: str) -> None:
    """Check that it is the zone of the start, in the access log, too."""
    target = write(tmp_path, ZONED, "raise RuntimeError('the app is wrong')", app)
    log = tmp_path / "access.log"
    options = ["-m", model, "-w", "2", "--access-log", str(log)]
    output = served(target, *options, "--access-log-format", "json", hup=True, env={"TZ": "America/New_York"})
    zones = {(found[4], found[1]) for found in LINE.finditer(output)}
    ((offset,),) = {tuple({zone for _, zone in zones})}
    assert offset in ("-04:00", "-05:00")
    assert {message for message, _ in zones} >= {
        "GET '/' failed",
        "reloading: 2 workers are replaced one after another",
    }
    times = [json.loads(line)["time"] for line in log.read_text().splitlines()]
    assert [time[-6:] for time in times] == [offset, offset]


@pytest.mark.parametrize(
    ("fmt", "shape"),
    [("combined", r" \[\S+ (-0[45]00)\] "), ("%(t)s", r"^\[\S+ (-0[45]00)\]$")],
)
def test_the_access_log_has_the_zone_of_the_start(tmp_path: Path, fmt: str, shape: str) -> None:
    log = tmp_path / "access.log"
    target = write(tmp_path, ZONED, "pass")
    served(target, "--access-log", str(log), "--access-log-format", fmt, env={"TZ": "America/New_York"})
    assert re.search(shape, log.read_text(), re.MULTILINE)


def test_the_time_of_python_s_logging_is_in_it_too(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    target = write(tmp_path, ZONED, "pass")
    fields = "%(asctime)s %(t)s"
    served(target, "--access-log", str(log), "--access-log-format", fields, env={"TZ": "America/New_York"})
    found = re.fullmatch(r"(\S+) (\S+),\d{3} \[(\d+)/\w+/(\d+):(\S+) \S+\]\n", log.read_text())
    assert found is not None
    assert (found[1][:4], found[1][8:], found[2]) == (found[4], found[3], found[5])


def test_a_zone_that_the_command_line_sets_is_that_of_the_start(tmp_path: Path) -> None:
    target = write(tmp_path, "import time\n", "raise RuntimeError(time.strftime('%z'))")
    output = served(target, "-e", "TZ=Asia/Tokyo", env={"TZ": "America/New_York"})
    assert {found[1] for found in LINE.finditer(output)} == {"+09:00"}
    assert len(lines(output, "RuntimeError: +0900")) == 1


# ------------------------------------------------------------ where else it is set up


def test_hup_reads_the_level_again(tmp_path: Path) -> None:
    target = write(tmp_path, BARE, "log.info('an app is told')")
    options = tmp_path / "options.toml"
    options.write_text("log-level = 'warning'\n")
    with serving("run", target, "--config", str(options)) as server:

        def reload(level: str) -> None:
            options.write_text(f"log-level = '{level}'\n")
            before = set(server.workers())
            server.send(signal.SIGHUP)
            wait_for(lambda: server.workers() and not before & set(server.workers()), "another worker")
            request_paths(server, "/")

        request_paths(server, "/")
        reload("info")
        reload("error")
    assert len(lines(server.stderr, "an app is told")) == 1
    assert len(lines(server.stderr, "reloading: its worker is replaced")) == 1


@pytest.mark.parametrize("command", [["run", "--check-config"], ["doctor"]], ids=["check-config", "doctor"])
def test_commands_that_load_an_app_leave_its_logging_alone(tmp_path: Path, command: list[str]) -> None:
    target = write(tmp_path, OWN, "pass")
    done = subprocess.run(
        [sys.executable, "-m", "allcomers", command[0], target, *command[1:]],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode in (0, 1)
    assert (tmp_path / "my.log").read_text() == "MYAPP DEBUG module loaded\n"
    assert "module loaded" not in done.stderr
