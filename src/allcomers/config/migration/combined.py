"""Rules for after the whole command line is read: flags that have a meaning together, or without another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from allcomers.config import options as configs
from allcomers.config.migration.result import Reading, typed
from allcomers.errors import ConfigError


def bind(reading: Reading, environ: Mapping[str, str]) -> None:
    given = reading.given
    host, port = given.get("--host"), given.get("--port")
    binds = []
    if host is not None or port is not None:
        host = host or "127.0.0.1"
        binds.append(f"{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{port or 8000}")
    if "--uds" in given:
        binds.append(f"unix:{given['--uds']}")
    if "--fd" in given:
        binds.append(f"fd://{given['--fd']}")
    for bind in binds:
        reading.add("--bind", bind)
    if binds:
        reading.report(
            f"{reading.quote('--host', '--port', '--uds', '--fd')}: taken as --bind {' --bind '.join(binds)}"
        )


def worker_class(reading: Reading, environ: Mapping[str, str]) -> None:
    flag = "-k" if "-k" in reading.given else "--worker-class"
    name = reading.given.get(flag)
    if name is None:
        return
    kind = name.removeprefix("egg:gunicorn#").removeprefix("gunicorn.workers.")
    threads = reading.ours.get("--threads", "")
    note = ""
    if re.fullmatch(r"uvicorn(\.workers|_worker)\.Uvicorn(H11)?Worker|asgi|gasgi\.\w+", kind):
        wanted = {"--model": "asyncio"}
    elif re.fullmatch(r"([A-Za-z_]\w*[.:])*\w*Uvicorn(H11)?Worker", kind):  # by its name: the app's code is not run yet
        wanted = {"--model": "asyncio"}
        note = "; its CONFIG_KWARGS are not read: write them as flags (--lifespan, --factory, --root-path)"
    elif re.fullmatch(r"gthread(\.\w+)?", kind) or (kind == "sync" and threads not in ("", "1")):
        wanted = {"--calls": "pool"}
    elif re.fullmatch(r"sync(\.\w+)?|tornado|gtornado\.\w+", kind):
        wanted = {"--calls": "inline"}
    elif re.fullmatch(r"g?gevent(_wsgi|_pywsgi|\.\w+)?", kind):
        wanted = {"--model": "gevent"}
    elif re.fullmatch(r"g?eventlet(\.\w+)?", kind):
        wanted = {"--calls": "pool"}
        note = "; calls wait in threads, not in greenlets, and nothing is patched: --threads limits them"
    else:
        raise ConfigError(f"{flag} {name}: {_other_worker(kind)} (docs/moving.md)")
    added = {ours: value for ours, value in wanted.items() if reading.ours.keys().isdisjoint(_names(ours))}
    for ours, value in added.items():
        reading.add(ours, value)
    shown = [typed(ours, value) for ours, value in added.items()]
    if threads and wanted.get("--calls") == "pool":
        shown.append(f"--threads {threads}")
    reading.report(
        f"{flag} {name}: " + (f"taken as {' '.join(shown)}{note}" if shown else "ignored, your own flags set it")
    )


def _other_worker(kind: str) -> str:
    """Return the alternative to this worker class."""
    if kind.startswith("aiohttp."):
        return "an app of aiohttp has a server of its own: run it by aiohttp.web.run_app"
    if "websocket" in kind.lower() or kind.startswith("socketio."):
        return (
            "WebSockets of a WSGI app need a library that has no server of its own, as simple-websocket: then -k gevent"
            " serves them, or --model thread"
        )
    return (
        "there is no such worker here: leave it out, or use --model and --calls; if it extends uvicorn's, write"
        " -k uvicorn.workers.UvicornWorker"
    )


def _names(flag: str) -> tuple[str, ...]:
    """Return all names of an option of ours."""
    return next(option.flags for _, _, option in configs.options() if flag in option.flags)


_HEAD: Final = ("--limit-request-line", "--limit-request-field_size", "--h11-max-incomplete-event-size")


def head(reading: Reading, environ: Mapping[str, str]) -> None:
    """Translate limits of parts of a head, 0 for none, to our one limit of the whole."""
    given = {flag: reading.given[flag] for flag in _HEAD if flag in reading.given}
    if not given:
        return
    for flag, value in given.items():
        if not (value.isascii() and value.isdigit()):
            raise ConfigError(f"{typed(flag, value)}: it is not a number of bytes")
    most = 1 << 20 if "0" in given.values() else max(map(int, given.values()))
    ours = "--max-head-size"
    if ours in reading.ours or most <= configs.Config().max_head_size:
        reading.report(f"{reading.quote(*_HEAD)}: ignored, {ours} limits the whole head (32K by default)")
        return
    reading.add(ours, str(most))
    reading.report(f"{reading.quote(*_HEAD)}: taken as {ours} {most}")


_REQUIRE: Final = ("--cert-reqs", "--ssl-cert-reqs")


def certificates(reading: Reading, environ: Mapping[str, str]) -> None:
    """Translate CERT_NONE 0, CERT_OPTIONAL 1 and CERT_REQUIRED 2 (module ssl) to our --ca-certs and --client-cert."""
    given = reading.given
    level = next((given[flag] for flag in _REQUIRE if flag in given), "0")
    quoted = reading.quote("--ssl-ca-certs", *_REQUIRE)
    if not quoted:
        return
    if level not in ("0", "1", "2"):
        raise ConfigError(f"{quoted}: it is 0, 1 or 2: clients need no certificate, may show one, or need one")
    if level == "0" and "--ca-certs" in reading.ours:
        raise ConfigError(f"{quoted}: leave out --ca-certs, which makes clients show a certificate")
    authorities = given.get("--ssl-ca-certs", "") if level != "0" else ""
    if level != "0" and not authorities and "--ca-certs" not in reading.ours:
        raise ConfigError(f"{quoted}: name by --ca-certs the authorities that signed the clients' certificates")
    ours = [("--ca-certs", authorities)] if authorities else []
    ours += [("--client-cert", "optional")] if level == "1" else []
    for flag, value in ours:
        reading.add(flag, value)
    if ours:
        result = f"taken as {' '.join(typed(flag, value) for flag, value in ours)}"
    else:
        result = "as --ca-certs sets it" if level == "2" else "ignored, clients need no certificate"
    reading.report(f"{quoted}: {result}")


def gunicorn(reading: Reading, environ: Mapping[str, str]) -> None:
    """Report the sources of gunicorn's options that are not read, and refuse an ambiguous -t."""
    if not reading.gunicorn or reading.is_mover:
        return
    if "-t" in reading.ours:
        value = reading.ours["-t"]
        raise ConfigError(
            "-t is --threads here and --timeout in gunicorn: write the one that you mean,"
            f" --timeout {value} or --threads {value}"
        )
    if environ.get("GUNICORN_CMD_ARGS"):
        reading.report("GUNICORN_CMD_ARGS is not read by `run`: start by `allcomers gunicorn` (docs/moving.md)")
    if Path("gunicorn.conf.py").is_file():
        reading.report("gunicorn.conf.py is not read by `run`: start by `allcomers gunicorn` (docs/moving.md)")


ALL: Final = (gunicorn, bind, worker_class, head, certificates)
