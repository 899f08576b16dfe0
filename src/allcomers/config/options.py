"""Every option: its default and the reason for it, its flag, its check.

The command line is built from the metadata of the fields of `Config`, and so is docs/options.md: an option is written
down here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from allcomers.config.checks import (
    check_account,
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
    """The flags, the texts and the check of a field of Config.

    A repeatable option collects a tuple. One with an empty `value` is a switch: its flag turns it on, the flag with
    --no- in front turns it off.
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
    """Return the default of a field of Config, and add the rest to _OPTIONS."""
    repeats = isinstance(default, tuple)
    _OPTIONS.append(Option(group, tuple(flags.split()), value, help, why, check, repeats))
    return default


_OPTIONS: Final[list[Option]] = []
"""One for each field of Config, in order."""

OWN: dict[str, list[tuple[str, Any, Option]]] = {
    "run": [
        ("target", "", Option("general", (), "TARGET", "MODULE:NAME or path/FILE.py:NAME, or a MODULE alone", "")),
    ],
    "serve": [
        ("dir", ".", Option("general", (), "DIR", "folder to serve; by default the current one", "")),
        ("list", False, Option("general", ("--list",), "", "list folders that have no index.html", "", flag)),
        (
            "cache_control", "",
            Option("general", ("--cache-control",), "VALUE", "Cache-Control of each file, such as `max-age=3600`", ""),
        ),
        (
            "follow_links", False,
            Option("general", ("--follow-links",), "", "follow links that lead out of the folder", "", flag),
        ),
    ],
}  # fmt: skip
"""The options of one command only, as options() returns the others. One without a flag is a positional argument."""

COMMON = (
    "target", "dir", "list", "factory", "bind", "model", "workers", "calls", "threads", "certfile", "keyfile",
    "access_log", "log_level", "keep_alive", "graceful_timeout", "call_timeout", "max_body", "max_connections",
    "forwarded_allow_ips", "admin", "reload", "user",
)  # fmt: skip
"""The options that most people need: `--help` shows these, `--help-all` all."""

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
    """All options of a server. make() creates it, and checks that the options go together."""

    interface: str = _option(
        "auto", _APP, "--interface", "NAME", "the app's interface: auto, wsgi, asgi, asgi2, web or service",
        "The signature of an app shows its interface.", choice("auto", "wsgi", "asgi", "asgi2", "web", "service"),
    )  # fmt: skip
    factory: bool = _option(
        False, _APP, "--factory", "", "call TARGET, without arguments, to get the app",
        "Most targets are the app itself.", flag,
    )  # fmt: skip
    root_path: str = _option(
        "", _APP, "--root-path", "PATH", "path at which a proxy mounts the app (SCRIPT_NAME, root_path)",
        "The app is at the root.",
    )  # fmt: skip
    lifespan: str = _option(
        "auto", _APP, "--lifespan", "HOW", "ASGI's lifespan protocol: auto, on or off",
        "An app without it raises at once, and is then served without it.", choice("auto", "on", "off"),
    )  # fmt: skip
    asgi_pathsend: bool = _option(
        False, _APP, "--asgi-pathsend", "", "offer ASGI apps the extensions by which the server sends files",
        "Middleware that compresses, caches or counts bodies rarely knows these messages, and loses the file.", flag,
    )  # fmt: skip
    bind: tuple[str, ...] = _option(
        ("127.0.0.1:8000",), _MODELS, "-b --bind", "ADDR", "listen on HOST:PORT, unix:PATH or fd://N; repeatable",
        "Only this machine can connect; gunicorn's address and port. Port 0 selects a free port.",
    )  # fmt: skip
    model: str = _option(
        "", _MODELS, "-m --model", "NAME", "concurrency model, one of those that `allcomers models` lists",
        "asyncio for ASGI apps, else the best poller of this system: epoll, kqueue, poll, select.", model_name,
    )  # fmt: skip
    workers: int = _option(
        1, _MODELS, "-w --workers", "N", "worker processes, or `auto`: one for each core",
        "All requests then see the same memory. gunicorn and uvicorn start with 1, too.", worker_count,
    )  # fmt: skip
    calls: str = _option(
        "", _MODELS, "--calls", "WHERE", "where app calls run: inline, pool or auto",
        "auto under a loop: inline until a call lasts. inline for services, and for handlers under asyncio.",
        choice("inline", "pool", "auto"),
    )  # fmt: skip
    threads: int = _option(
        32, _MODELS, "-t --threads", "N", "threads of the pool, and of the model thread-pool",
        "A call that waits most of its time leaves a core to some tens of others.", integer(1, 10_000),
    )  # fmt: skip
    server_header: bool = _option(
        True, _MODELS, "--server-header", "", "send the header Server; --no-server-header omits it",
        "nginx, gunicorn and uvicorn send it, too.", flag,
    )  # fmt: skip
    certfile: tuple[str, ...] = _option(
        (), _TLS, "--certfile", "FILE", "serve TLS with this PEM certificate chain; repeatable (SNI)",
        "Without a certificate, nothing is encrypted.",
    )  # fmt: skip
    keyfile: tuple[str, ...] = _option(
        (), _TLS, "--keyfile", "FILE", "private key, if in a file of its own; one for each --certfile",
        "The certificate's file contains the key.",
    )  # fmt: skip
    ca_certs: str = _option(
        "", _TLS, "--ca-certs", "FILE", "require client certificates that these authorities signed",
        "Clients need no certificate.",
    )  # fmt: skip
    access_log: str = _option(
        "", _LOGS, "--access-log", "FILE", "log each response to FILE; - is standard output, off is none",
        "Standard output if that is a terminal, else off: a line costs more than a small response.",
    )  # fmt: skip
    access_log_format: str = _option(
        "combined", _LOGS, "--access-log-format", "FORMAT", "combined, common, json, or fields such as `%(h)s %(r)s`",
        "Log analyzers read it. The fields are gunicorn's.", _log_format,
    )  # fmt: skip
    server_timing: bool = _option(
        False, _LOGS, "--server-timing", "", "send the header Server-Timing: the time of each phase",
        "The time that an app takes can reveal what it found.", flag,
    )  # fmt: skip
    log_level: str = _option(
        "info", _LOGS, "--log-level", "LEVEL", "log from this level: debug, info, warning, error or critical",
        "Lines that an operator acts on.", level,
    )  # fmt: skip
    head_timeout: float = _option(
        10.0, _TIMES, "--head-timeout", "S", "time to receive a request's head, from accept on",
        "Ends Slowloris; a bad mobile line still gets its 1 KB through. Apache gives 20 to 40, nginx 60.", seconds,
    )  # fmt: skip
    keep_alive: float = _option(
        75.0, _TIMES, "--keep-alive", "S", "time until an idle connection is closed",
        "nginx's keepalive_timeout; above the 60 of most load balancers, which must close first.", seconds,
    )  # fmt: skip
    graceful_timeout: float = _option(
        30.0, _TIMES, "--graceful-timeout", "S", "time to finish requests in progress when the server stops",
        "gunicorn's graceful_timeout; orchestrators wait as long before they kill.", seconds,
    )  # fmt: skip
    call_timeout: float = _option(
        0.0, _TIMES, "--call-timeout", "S",
        "time limit of an app call; then its stack is logged, and 503 sent",
        "Only the app's owner knows how long is too long.", seconds,
    )  # fmt: skip
    disconnect_grace: float = _option(
        10.0, _TIMES, "--disconnect-grace", "S",
        "time until an ASGI call whose client has left is cancelled; 0 is never",
        "Most calls end by themselves by then. Daphne's; gunicorn's asgi worker gives 3.", never_or_seconds,
    )  # fmt: skip
    hang_timeout: float = _option(
        60.0, _TIMES, "--hang-timeout", "S", "time until a worker that gives no sign of life is replaced; 0 is never",
        "Above any response time that a client still accepts; gunicorn's --timeout is 30.", never_or_seconds,
    )  # fmt: skip
    drain_delay: float = _option(
        0.0, _TIMES, "--drain-delay", "S", "time to go on accepting after TERM, with Connection: close",
        "A load balancer must first notice that the server leaves; its owner knows how soon it does.", never_or_seconds,
    )  # fmt: skip
    min_rate: float = _option(
        240.0, _TIMES, "--min-rate", "BYTES/S", "least rate of a body and of a response, checked after 5 s; 0 is none",
        "Kestrel's MinRequestBodyDataRate, and its grace period of 5 seconds.", rate,
    )  # fmt: skip
    max_head_size: int = _option(
        32 * 1024, _LIMITS, "--max-head-size", "SIZE", "largest head of a request; above: 431 or 414",
        "nginx has 4 buffers of 8 KB.", size,
    )  # fmt: skip
    max_headers: int = _option(
        100, _LIMITS, "--max-headers", "N", "most header lines of a request; above: 431",
        "Apache's LimitRequestFields; gunicorn's too.", integer(1, 10_000),
    )  # fmt: skip
    max_body: int = _option(
        64 << 20, _LIMITS, "--max-body", "SIZE", "largest body of a request; above: 413",
        "Bodies above 512 KiB are kept in a temporary file; a disk is finite.", size,
    )  # fmt: skip
    max_connections: int = _option(
        0, _LIMITS, "--max-connections", "N", "most connections of a worker; others wait in the backlog",
        "None for pollers, 1000 for thread, 256 for process (Apache's prefork).", integer(1),
    )  # fmt: skip
    backlog: int = _option(
        2048, _LIMITS, "--backlog", "N", "most connections that wait in the kernel to be accepted",
        "gunicorn's; Linux reduces it to somaxconn.", integer(1),
    )  # fmt: skip
    max_requests: int = _option(
        0, _LIMITS, "--max-requests", "N", "replace a worker after N requests",
        "A leak is better repaired; this contains one in code that is not yours.", integer(0),
    )  # fmt: skip
    max_requests_jitter: int = _option(
        0, _LIMITS, "--max-requests-jitter", "N", "add up to N, at random, so that workers are replaced one by one",
        "None is added. With several workers, a tenth of --max-requests is enough.", integer(0),
    )  # fmt: skip
    max_memory: int = _option(
        0, _LIMITS, "--max-memory", "SIZE", "replace a worker whose resident memory is above SIZE",
        "As for --max-requests.", size,
    )  # fmt: skip
    forwarded_allow_ips: str = _option(
        "", _PROXIES, "--forwarded-allow-ips", "LIST",
        "trust X-Forwarded-* from these proxies: addresses, networks, unix, *",
        "Any client can send these headers.",
    )  # fmt: skip
    proxy_protocol: bool = _option(
        False, _PROXIES, "--proxy-protocol", "", "require a PROXY protocol header, v1 or v2, on each connection",
        "Every peer could then claim any address.", flag,
    )  # fmt: skip
    ws_max_size: int = _option(
        16 << 20, _WEBSOCKETS, "--ws-max-size", "SIZE", "largest WebSocket message; above: closed with 1009",
        "uvicorn's.", size,
    )  # fmt: skip
    ws_ping_interval: float = _option(
        20.0, _WEBSOCKETS, "--ws-ping-interval", "S", "time between pings of an idle WebSocket; 0 is never",
        "uvicorn's; below the idle times of load balancers.", never_or_seconds,
    )  # fmt: skip
    ws_ping_timeout: float = _option(
        20.0, _WEBSOCKETS, "--ws-ping-timeout", "S", "time for the pong; then the WebSocket is closed",
        "uvicorn's.", seconds,
    )  # fmt: skip
    ws_deflate: str = _option(
        "on", _WEBSOCKETS, "--ws-deflate", "HOW", "permessage-deflate, if the client offers it: on or off",
        "Text shrinks; no memory is kept for it between two messages.", choice("on", "off"),
    )  # fmt: skip
    admin: str = _option(
        "", _LIFE, "--admin", "ADDR", "serve live figures, /metrics and /health on HOST:PORT or unix:PATH",
        "No second port is open unless you ask for one.",
    )  # fmt: skip
    admin_hosts: str = _option(
        "", _LIFE, "--admin-hosts", "LIST",
        "host names of --admin; ip: addresses only, *: any; required if others can connect",
        "This machine alone, by its addresses and as localhost.",
    )  # fmt: skip
    reload: bool = _option(
        False, _LIFE, "--reload", "", "replace workers when app files change (needs allcomers[reload])",
        "For development: a server that watches files is harder to trust.", flag,
    )  # fmt: skip
    reload_dir: tuple[str, ...] = _option(
        (), _LIFE, "--reload-dir", "DIR", "watch this folder; repeatable",
        "The current folder.",
    )  # fmt: skip
    pid: str = _option(
        "", _LIFE, "--pid", "FILE", "write the supervisor's process id to FILE",
        "Signals can use the id in the `Listening at` line.",
    )  # fmt: skip
    user: str = _option(
        "", _LIFE, "--user", "NAME", "run the workers as this user, once the sockets are open",
        "The user that started the server.",
    )  # fmt: skip
    group: str = _option(
        "", _LIFE, "--group", "NAME", "run the workers as this group",
        "The user's own.",
    )  # fmt: skip
    chdir: str = _option(
        "", _LIFE, "--chdir", "DIR", "enter DIR before the app is loaded",
        "The current folder.",
    )  # fmt: skip

    @property
    def websocket_limits(self) -> WebSocketLimits:
        """The limits of a WebSocket."""
        return WebSocketLimits(
            max_size=self.ws_max_size,
            deflate=self.ws_deflate == "on",
            ping_interval=self.ws_ping_interval,
            ping_timeout=self.ws_ping_timeout,
        )

    @property
    def limits(self) -> Limits:
        """The limits of a connection."""
        return Limits(
            head_timeout=self.head_timeout,
            keep_alive=self.keep_alive,
            min_rate=self.min_rate,
            max_head=self.max_head_size,
            max_headers=self.max_headers,
            max_body=self.max_body,
        )


def options() -> list[tuple[str, Any, Option]]:
    """Return (field, default, Option) of each field of Config, in order."""
    return [(name, Config._field_defaults[name], option) for name, option in zip(Config._fields, _OPTIONS, strict=True)]


def shown(default: Any, option: Option) -> str:
    """Return a default as a user would type it: "75", "64M", "on"; "" for none."""
    if default is True:
        return "on"
    if isinstance(default, tuple):
        return ", ".join(default)
    if option.check is size and default:
        return f"{default >> 20}M" if default % (1 << 20) == 0 else f"{default >> 10}K"
    return "" if not default else f"{default:g}" if isinstance(default, float) else str(default)


def known(command: str) -> list[tuple[str, Any, Option]]:
    """Return (name, default, Option) of each option of `command`, in order: "run", or "serve", which has no app."""
    return OWN[command] + [entry for entry in options() if command == "run" or entry[2].group != _APP]


def make(given: Mapping[str, str | Sequence[str]], names: Mapping[str, str] | None = None) -> Config:
    """Return a Config of the options that were `given` as text, by field, and the defaults of the others.

    names  the names of options in errors, by field: "allcomers.toml: workers"; else the option's flag

    Raises ConfigError for a value that an option cannot have, and for options that do not go together.
    """
    values = {
        field: checked(option, given[field], (names or {}).get(field, option.flags[-1]))
        for field, _, option in options()
        if field in given
    }
    config = Config(**values)
    _check_together(config)
    check_account(config.user, config.group)
    return config


def checked(option: Option, text: str | Sequence[str], name: str) -> Any:
    """Return the value of `text`. Raises ConfigError, which calls the option `name`."""
    try:
        return tuple(map(option.check, text)) if option.repeats else option.check(cast(str, text))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


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
