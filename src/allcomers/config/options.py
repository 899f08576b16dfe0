"""Every option: its default and why, its flag, its check.

The command line is built from the metadata of the fields of `Config`, and so is docs/options.md: an option is written
down here and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, cast

from allcomers.config.checks import (
    choice,
    flag,
    integer,
    level,
    model_name,
    never_or_seconds,
    rate,
    seconds,
    size,
    worker_count,
)
from allcomers.config.limits import Limits, WebSocketLimits
from allcomers.errors import ConfigError


class Option(NamedTuple):
    """How a field of Config is set and explained.

    An option that may be given again collects a tuple; one whose `value` is empty takes none: it is on if given, and
    off with --no- in front of its name.
    """

    group: str
    flags: tuple[str, ...]
    value: str
    help: str
    why: str
    check: Callable[[str], Any] = str
    repeats: bool = False


def _log_format(text: str) -> str:
    """Check the form of an access log: a name, or a line with gunicorn's fields: "%(h)s %(r)s"."""
    if text != "combined":
        from allcomers.config import log_format  # only here: most servers keep the default

        log_format.read(text)
    return text


def _option(
    default: Any, group: str, flags: str, value: str, help: str, why: str, check: Callable[[str], Any] = str
) -> Any:
    """The default of a field of Config; the rest is kept in _OPTIONS."""
    repeats = isinstance(default, tuple)
    _OPTIONS.append(Option(group, tuple(flags.split()), value, help, why, check, repeats))
    return default


_OPTIONS: Final[list[Option]] = []
"""Of each field of Config, in order."""


OWN: dict[str, list[tuple[str, Any, Option]]] = {
    "run": [
        ("target", "", Option("what", (), "TARGET", "MODULE:NAME or path/FILE.py:NAME, or a MODULE alone", "")),
    ],
    "serve": [
        ("dir", ".", Option("what", (), "DIR", "the folder; this one by default", "")),
        ("list", False, Option("what", ("--list",), "", "list folders that have no index.html", "", flag)),
        (
            "cache_control", "",
            Option("what", ("--cache-control",), "VALUE", "for each file, as `max-age=3600`; default none", ""),
        ),
        (
            "follow_links", False,
            Option("what", ("--follow-links",), "", "also where links lead out of the folder", "", flag),
        ),
    ],
}  # fmt: skip
"""What one command alone has, as `options` gives the others; what has no flag is given by its place."""

COMMON = (
    "target", "dir", "list", "factory", "bind", "model", "workers", "calls", "threads", "certfile", "keyfile",
    "access_log", "log_level", "keep_alive", "graceful_timeout", "call_timeout", "max_body", "max_connections",
    "forwarded_allow_ips", "admin", "reload", "user",
)  # fmt: skip
"""The options that most people need: `--help` shows these, `--help-all` each."""

_APP = "the app"
_MODELS = "serving"
_TLS = "TLS"
_LOGS = "logs"
_TIMES = "times (seconds) and rates"
_LIMITS = "limits"
_PROXIES = "behind a proxy"
_LIFE = "the server's life"
_WEBSOCKETS = "WebSockets"


class Config(NamedTuple):
    """What a server runs by. Made by `make`, which checks that the options go together."""

    interface: str = _option(
        "auto", _APP, "--interface", "NAME", "wsgi, asgi, asgi2, web or service, rather than by looking",
        "What an app is can be told from its signature.", choice("auto", "wsgi", "asgi", "asgi2", "web", "service"),
    )  # fmt: skip
    factory: bool = _option(
        False, _APP, "--factory", "", "TARGET makes the app: call it, with no arguments", "Most targets are the app.",
        flag,
    )  # fmt: skip
    root_path: str = _option(
        "", _APP, "--root-path", "PATH", "where a proxy has mounted the app: SCRIPT_NAME, root_path", "At the root.",
    )  # fmt: skip
    lifespan: str = _option(
        "auto", _APP, "--lifespan", "HOW", "ASGI's lifespan: auto, on or off",
        "An app that does not know it raises at once, and is served without.", choice("auto", "on", "off"),
    )  # fmt: skip
    asgi_pathsend: bool = _option(
        False, _APP, "--asgi-pathsend", "", "let ASGI apps have the server send their files (sendfile)",
        "Middlewares that compress, cache or count bodies rarely know these messages, and lose the file.", flag,
    )  # fmt: skip
    bind: tuple[str, ...] = _option(
        ("127.0.0.1:8000",), _MODELS, "-b --bind", "ADDR", "HOST:PORT, unix:PATH or fd://N; may be repeated",
        "Only this machine until told otherwise; gunicorn's address and port. Port 0 takes a free one.",
    )  # fmt: skip
    model: str = _option(
        "", _MODELS, "-m --model", "NAME", "who waits for the sockets: see `allcomers models`",
        "The best poller that this system has: epoll, kqueue, poll, select.", model_name,
    )  # fmt: skip
    workers: int = _option(
        1, _MODELS, "-w --workers", "N", "processes that do so, or `auto`: one a core",
        "What is kept in memory is then seen by every request. gunicorn and uvicorn begin with 1 too.", worker_count,
    )  # fmt: skip
    calls: str = _option(
        "", _MODELS, "--calls", "WHERE", "where app calls run: inline, pool or auto",
        "auto under a loop: inline until a call lasts. inline for services, and for handlers under asyncio.",
        choice("inline", "pool", "auto"),
    )  # fmt: skip
    threads: int = _option(
        32, _MODELS, "-t --threads", "N", "threads of the pool, and of -m thread-pool",
        "A call that waits most of its time leaves a core to some tens of others.", integer(1, 10_000),
    )  # fmt: skip
    server_header: bool = _option(
        True, _MODELS, "--server-header", "", "name the server in each answer; --no-server-header does not",
        "nginx, gunicorn and uvicorn are named, too.", flag,
    )  # fmt: skip
    certfile: tuple[str, ...] = _option(
        (), _TLS, "--certfile", "FILE", "the certificate chain, PEM: serve TLS; repeat for further names (SNI)",
        "Plain until a certificate is named.",
    )  # fmt: skip
    keyfile: tuple[str, ...] = _option(
        (), _TLS, "--keyfile", "FILE", "its private key, if not in the same file; one for each --certfile",
        "The certificate's file.",
    )  # fmt: skip
    ca_certs: str = _option(
        "", _TLS, "--ca-certs", "FILE", "ask clients for certificates that these signed", "Clients are not asked.",
    )  # fmt: skip
    access_log: str = _option(
        "", _LOGS, "--access-log", "FILE", "a line for each answer; - is standard output, off is none",
        "Standard output where that is a terminal, else off: a line costs more than a small answer.",
    )  # fmt: skip
    access_log_format: str = _option(
        "combined", _LOGS, "--access-log-format", "FORMAT", "combined, common, json, or fields as `%(h)s %(r)s`",
        "What log readers know. The fields are gunicorn's.", _log_format,
    )  # fmt: skip
    server_timing: bool = _option(
        False, _LOGS, "--server-timing", "", "tell clients what took how long (Server-Timing)",
        "How long an app takes can tell a stranger what it found.", flag,
    )  # fmt: skip
    log_level: str = _option(
        "info", _LOGS, "--log-level", "LEVEL", "debug, info, warning, error or critical", "What an operator acts on.",
        level,
    )  # fmt: skip
    head_timeout: float = _option(
        10.0, _TIMES, "--head-timeout", "S", "for a request's head, from accept on",
        "Slowloris is cut; a bad mobile line still gets its 1 KB through. Apache gives 20 to 40, nginx 60.", seconds,
    )  # fmt: skip
    keep_alive: float = _option(
        75.0, _TIMES, "--keep-alive", "S", "for an idle connection", "nginx's keepalive_timeout; above the 60 of most "
        "load balancers, which must be the ones to close.", seconds,
    )  # fmt: skip
    graceful_timeout: float = _option(
        30.0, _TIMES, "--graceful-timeout", "S", "to finish what is begun, when told to stop",
        "gunicorn's graceful_timeout; what orchestrators wait before they kill.", seconds,
    )  # fmt: skip
    call_timeout: float = _option(
        0.0, _TIMES, "--call-timeout", "S", "for an app's call: then it is logged with its stack, and 503",
        "How long is too long, only the app's owner knows.", seconds,
    )  # fmt: skip
    disconnect_grace: float = _option(
        10.0, _TIMES, "--disconnect-grace", "S", "for an ASGI call whose client left, then it is cancelled; 0 is never",
        "Most calls end by themselves by then. Daphne's; gunicorn's asgi worker gives 3.", never_or_seconds,
    )  # fmt: skip
    hang_timeout: float = _option(
        60.0, _TIMES, "--hang-timeout", "S", "for a worker that does nothing at all, then it is replaced; 0 is never",
        "Above any answer that somebody still waits for; gunicorn's --timeout is 30.", never_or_seconds,
    )  # fmt: skip
    drain_delay: float = _option(
        0.0, _TIMES, "--drain-delay", "S", "to go on after TERM, with Connection: close, before the door is shut",
        "A load balancer must first learn that we leave; how soon it does, its owner knows.", never_or_seconds,
    )  # fmt: skip
    min_rate: float = _option(
        240.0, _TIMES, "--min-rate", "BYTES/S", "that a body or an answer must move, after 5 s; 0 is none",
        "Kestrel's MinRequestBodyDataRate, and its grace of 5 seconds.", rate,
    )  # fmt: skip
    max_head_size: int = _option(
        32 * 1024, _LIMITS, "--max-head-size", "SIZE", "of a request's head: 431 or 414 above",
        "nginx takes 4 buffers of 8 KB.", size,
    )  # fmt: skip
    max_headers: int = _option(
        100, _LIMITS, "--max-headers", "N", "lines in it: 431 above", "Apache's LimitRequestFields; gunicorn's too.",
        integer(1, 10_000),
    )  # fmt: skip
    max_body: int = _option(
        64 << 20, _LIMITS, "--max-body", "SIZE", "of a request's body: 413 above",
        "Bodies above 512 KiB wait in a temporary file; a disk is finite.", size,
    )  # fmt: skip
    max_connections: int = _option(
        0, _LIMITS, "--max-connections", "N", "a worker's peers at once; then the backlog waits",
        "None for pollers, 1000 for thread, 256 for process (Apache's prefork).", integer(1),
    )  # fmt: skip
    backlog: int = _option(
        2048, _LIMITS, "--backlog", "N", "peers that the kernel lets wait", "gunicorn's; Linux cuts it to somaxconn.",
        integer(1),
    )  # fmt: skip

    max_requests: int = _option(
        0, _LIMITS, "--max-requests", "N", "that a worker answers; then a new one takes its place",
        "A leak is better mended; this contains one that is not yours.", integer(0),
    )  # fmt: skip
    max_requests_jitter: int = _option(
        0, _LIMITS, "--max-requests-jitter", "N", "up to so many more, by chance: workers are not replaced at once",
        "With several workers, a tenth of --max-requests does.", integer(0),
    )  # fmt: skip
    max_memory: int = _option(
        0, _LIMITS, "--max-memory", "SIZE", "of a worker (resident); above, a new one takes its place",
        "As for --max-requests.", size,
    )  # fmt: skip
    forwarded_allow_ips: str = _option(
        "", _PROXIES, "--forwarded-allow-ips", "LIST",
        "proxies whose X-Forwarded-* is believed: addresses, networks, unix, *",
        "Anybody can send these fields.",
    )  # fmt: skip
    proxy_protocol: bool = _option(
        False, _PROXIES, "--proxy-protocol", "", "each connection begins with a PROXY header, v1 or v2",
        "Who may connect could then claim any address.", flag,
    )  # fmt: skip
    ws_max_size: int = _option(
        16 << 20, _WEBSOCKETS, "--ws-max-size", "SIZE", "of a message: closed with 1009 above", "uvicorn's.", size,
    )  # fmt: skip
    ws_ping_interval: float = _option(
        20.0, _WEBSOCKETS, "--ws-ping-interval", "S", "between pings of an idle client; 0 is none",
        "uvicorn's; below the idle times of load balancers.", never_or_seconds,
    )  # fmt: skip
    ws_ping_timeout: float = _option(
        20.0, _WEBSOCKETS, "--ws-ping-timeout", "S", "for its pong; then it is closed", "uvicorn's.", seconds,
    )  # fmt: skip
    ws_deflate: str = _option(
        "on", _WEBSOCKETS, "--ws-deflate", "HOW", "permessage-deflate, for clients that offer it: on or off",
        "Text shrinks; nothing is kept for it between two messages.", choice("on", "off"),
    )  # fmt: skip
    admin: str = _option(
        "", _LIFE, "--admin", "ADDR", "HOST:PORT or unix:PATH of a page with live figures, /metrics and /health",
        "A second door is opened by who wants it.",
    )  # fmt: skip
    admin_hosts: str = _option(
        "", _LIFE, "--admin-hosts", "LIST",
        "names that page is called by; ip: by addresses alone, *: any. Needed where others may reach it",
        "This machine alone, by its addresses and as localhost.",
    )  # fmt: skip
    reload: bool = _option(
        False, _LIFE, "--reload", "", "a new worker when a file of the app changes (needs allcomers[reload])",
        "For development: a server that watches files is slower to trust.", flag,
    )  # fmt: skip
    reload_dir: tuple[str, ...] = _option(
        (), _LIFE, "--reload-dir", "DIR", "watch this folder; may be repeated", "The current folder.",
    )  # fmt: skip
    pid: str = _option("", _LIFE, "--pid", "FILE", "write the supervisor's process id there", "None.")
    user: str = _option(
        "", _LIFE, "--user", "NAME", "workers run as this user, once the sockets are open", "As who started it."
    )
    group: str = _option("", _LIFE, "--group", "NAME", "and as this group", "The user's own.")
    chdir: str = _option("", _LIFE, "--chdir", "DIR", "where the app is looked for, and runs", "The current folder.")

    @property
    def websocket_limits(self) -> WebSocketLimits:
        """The part that a WebSocket needs beside."""
        return WebSocketLimits(
            max_size=self.ws_max_size,
            deflate=self.ws_deflate == "on",
            ping_interval=self.ws_ping_interval,
            ping_timeout=self.ws_ping_timeout,
        )

    @property
    def limits(self) -> Limits:
        """The part that a connection needs."""
        return Limits(
            head_timeout=self.head_timeout,
            keep_alive=self.keep_alive,
            min_rate=self.min_rate,
            max_head=self.max_head_size,
            max_headers=self.max_headers,
            max_body=self.max_body,
        )


def options() -> list[tuple[str, Any, Option]]:
    """(field's name, default, Option) of each, in order."""
    return [(name, Config._field_defaults[name], option) for name, option in zip(Config._fields, _OPTIONS, strict=True)]


def shown(default: Any, option: Option) -> str:
    """A default as one would type it: "75", "64M", "on"; "" where there is none."""
    if default is True:
        return "on"
    if isinstance(default, tuple):
        return ", ".join(default)
    if option.check is size and default:
        return f"{default >> 20}M" if default % (1 << 20) == 0 else f"{default >> 10}K"
    return "" if not default else f"{default:g}" if isinstance(default, float) else str(default)


def known(command: str) -> list[tuple[str, Any, Option]]:
    """(name, default, Option) of each option of `command`, "run" or "serve", in order: a site is no app."""
    return OWN[command] + [entry for entry in options() if command == "run" or entry[2].group != _APP]


def make(given: Mapping[str, str | Sequence[str]], said: Mapping[str, str] | None = None) -> Config:
    """A Config of the options that were `given` as text, by field name, and the others' defaults.

    said  what to call an option in an error, by field name: "allcomers.toml: workers"; else its flag

    Raises ConfigError: a value that its option cannot have, options that do not go together.
    """
    values = {
        name: checked(option, given[name], (said or {}).get(name, option.flags[-1]))
        for name, _, option in options()
        if name in given
    }
    config = Config(**values)
    _check_together(config)
    if config.user or config.group:
        _check_identity(config)
    return config


def checked(option: Option, text: str | Sequence[str], said: str) -> Any:
    """The value that `text` stands for. Raises ConfigError, which calls the option what it was `said` as."""
    try:
        return tuple(map(option.check, text)) if option.repeats else option.check(cast(str, text))
    except ConfigError as error:
        raise ConfigError(f"{said}: {error}") from None


def _check_together(config: Config) -> None:
    if (config.keyfile or config.ca_certs) and not config.certfile:
        raise ConfigError("--keyfile and --ca-certs need --certfile, the server's own certificate")
    chains, keys = len(config.certfile), len(config.keyfile)
    if keys not in (0, chains):
        raise ConfigError(f"--keyfile: there are {keys} for {chains} --certfile; one for each, in order, or none")
    if config.max_requests_jitter and not config.max_requests:
        raise ConfigError("--max-requests-jitter needs --max-requests, to which it adds")
    for address in config.bind:
        if config.bind.count(address) > 1 and not address.endswith(":0"):
            raise ConfigError(f"--bind {address} is given twice")


def _check_identity(config: Config) -> None:
    """Only root may become somebody else (setuid(2), setgid(2))."""
    if os.geteuid() == 0 or not (config.user or config.group):
        return
    import grp
    import pwd

    user, group = os.geteuid(), os.getegid()
    for option, wanted, number, database in (
        ("--user", config.user, user, partial(pwd.getpwuid, user)),
        ("--group", config.group, group, partial(grp.getgrgid, group)),
    ):
        try:
            name = str(database()[0])
        except KeyError:  # a container's user may have no name
            name = str(number)
        if wanted not in ("", name, str(number)):
            raise ConfigError(f"{option} {wanted} needs root, and this is {name}: start as root, or leave it out")
