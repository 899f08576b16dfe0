"""Options of the one who operates the server."""

from __future__ import annotations

from typing import Any

from allcomers.config.checks import choice, flag, hook_name, level, mask
from allcomers.config.option import Options, option


def _log_format(text: str) -> str:
    """Check the form of an access log: a name, or a line with gunicorn's fields: "%(h)s %(r)s"."""
    if text:
        from allcomers.config import log_format  # only here: most servers keep the default

        log_format.read(text)
    return text


class LogOptions(Options, group="logs"):
    """What is written down."""

    access_log: str = option(
        "", "--access-log", "FILE", "log each response to FILE; - is standard output, off is none",
        "Standard output if that is a terminal, else off: a line costs more than a small response.",
    )  # fmt: skip
    access_log_format: str = option(
        "", "--access-log-format", "FORMAT", "combined, common, json, short, or fields such as `%(h)s %(r)s`",
        "A person reads short on a terminal, log analyzers read combined, elsewhere. The fields are gunicorn's.",
        _log_format,
    )  # fmt: skip
    server_timing: bool = option(
        False, "--server-timing", "", "send the header Server-Timing: the time of each phase",
        "The time that an app takes can reveal what it found.", flag,
    )  # fmt: skip
    log_level: str = option(
        "info", "--log-level", "LEVEL", "log from this level: debug, info, warning, error or critical",
        "Lines that an operator acts on.", level,
    )  # fmt: skip
    log_format: str = option(
        "text", "--log-format", "NAME", "the form of the server's own log: text, or json, an object in each line",
        "A person reads it; collectors of logs read JSON.", choice("text", "json"),
    )  # fmt: skip
    log_config: str = option(
        "", "--log-config", "FILE", "configure logging by FILE: a dictConfig in .toml, .json or .yaml, or an INI file",
        "The server's own log goes to standard error, and the app configures its own.",
    )  # fmt: skip


class ProxyOptions(Options, group="behind a proxy"):
    """What a proxy in front may say."""

    forwarded_allow_ips: str = option(
        "", "--forwarded-allow-ips", "LIST",
        "trust X-Forwarded-* from these proxies: addresses, networks, unix, *",
        "Any client can send these headers.",
    )  # fmt: skip
    proxy_protocol: bool = option(
        False, "--proxy-protocol", "", "require a PROXY protocol header, v1 or v2, on each connection",
        "Every peer could then claim any address.", flag,
    )  # fmt: skip


class LifeOptions(Options, group="the server's life"):
    """The processes: who they are, when they are replaced, and who watches them."""

    admin: str = option(
        "", "--admin", "ADDR", "serve live figures, /metrics and /health on HOST:PORT or unix:PATH",
        "No second port is open unless you ask for one.",
    )  # fmt: skip
    admin_hosts: str = option(
        "", "--admin-hosts", "LIST",
        "host names of --admin; ip: addresses only, *: any; required if others can connect",
        "This machine alone, by its addresses and as localhost.",
    )  # fmt: skip
    by_route: bool = option(
        False, "--by-route", "", "count requests by route, too: the template of the app's framework; shown by --admin",
        "It takes the app's every call some microseconds more.", flag,
    )  # fmt: skip
    profile: bool = option(
        False, "--profile", "", "show stacks of all threads, and flame graphs, at --admin; loopback addresses only",
        "Stacks tell how the app is made, and samples take CPU time while they are taken.", flag,
    )  # fmt: skip
    reload: bool = option(
        False, "--reload", "", "replace workers when app files change (needs allcomers[reload])",
        "For development: a server that watches files is harder to trust.", flag,
    )  # fmt: skip
    reload_dir: tuple[str, ...] = option(
        (), "--reload-dir", "DIR", "watch this folder; repeatable",
        "The current folder.",
    )  # fmt: skip
    reload_include: tuple[str, ...] = option(
        (), "--reload-include", "GLOB", "watch these files, too: `*.html`, a folder, or a file elsewhere; repeatable",
        "The .py files alone: most others are read anew for each request.",
    )  # fmt: skip
    reload_exclude: tuple[str, ...] = option(
        (), "--reload-exclude", "GLOB", "do not watch these files, nor these folders: `generated`; repeatable",
        "Folders without the app's code are left out already: .git, .venv, node_modules, __pycache__ …",
    )  # fmt: skip
    debug: bool = option(
        False, "--debug", "", "show tracebacks of failed calls to browsers of this machine; loopback addresses only",
        "A traceback tells a stranger how the app is made. Flask's and Django's.", flag,
    )  # fmt: skip
    preload: bool = option(
        False, "--preload", "", "load the app once, in the supervisor: workers share its memory; HUP does not renew it",
        "A worker that loads the app finds its new code at a reload, and has threads and connections of its own.", flag,
    )  # fmt: skip
    pid: str = option(
        "", "--pid", "FILE", "write the supervisor's process id to FILE",
        "Signals can use the id in the `Listening at` line.",
    )  # fmt: skip
    user: str = option(
        "", "--user", "NAME", "run the workers as this user, once the sockets are open",
        "The user that started the server.",
    )  # fmt: skip
    group: str = option(
        "", "--group", "NAME", "run the workers as this group",
        "The user's own.",
    )  # fmt: skip
    umask: str = option(
        "", "--umask", "MASK", "mask of the permissions of new files, in octal: 027",
        "The mask with which the server was started.", mask,
    )  # fmt: skip
    chdir: str = option(
        "", "--chdir", "DIR", "enter DIR before the app is loaded",
        "The current folder.",
    )  # fmt: skip


class HookOptions(Options, group="hooks"):
    """Functions that are called at turns of the server's life; a Python program gives them as they are."""

    on_start: Any = option(
        "", "--on-start", "MODULE:FUNCTION", "call FUNCTION(server) in the supervisor, before anything is open",
        "Most apps prepare themselves when they are imported.", hook_name,
    )  # fmt: skip
    on_worker_start: Any = option(
        "", "--on-worker-start", "MODULE:FUNCTION", "call FUNCTION(worker) in each worker, before it loads the app",
        "As for --on-start.", hook_name,
    )  # fmt: skip
    on_worker_stop: Any = option(
        "", "--on-worker-stop", "MODULE:FUNCTION", "call FUNCTION(worker) in each worker, after its last response",
        "ASGI has its lifespan for that, Python atexit.", hook_name,
    )  # fmt: skip
    on_reload: Any = option(
        "", "--on-reload", "MODULE:FUNCTION", "call FUNCTION(server) in the supervisor when it reloads (HUP)",
        "A reload replaces the workers, and that is mostly all.", hook_name,
    )  # fmt: skip
    on_stop: Any = option(
        "", "--on-stop", "MODULE:FUNCTION", "call FUNCTION(server) in the supervisor, once all workers have ended",
        "As for --on-start.", hook_name,
    )  # fmt: skip
