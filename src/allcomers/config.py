"""Every option: its default and why, its flag, its check.

`Config` is what a server runs by; `Limits` is the part of it that one connection needs. The command line is built
from the fields' metadata, and so is docs/options.md: an option is written down here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from allcomers.errors import ConfigError


def integer(least: int, most: int = 1 << 31) -> Callable[[str], int]:
    """A check for a whole number between two."""

    def check(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
            raise ConfigError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return check


def seconds(text: str) -> float:
    """A check for a time: "2.5"; above 0."""
    return _number(text, "a number of seconds above 0")


def never_or_seconds(text: str) -> float:
    """A check for a time: "2.5"; 0 for never."""
    return 0.0 if text == "0" else _number(text, "a number of seconds, or 0")


def rate(text: str) -> float:
    """A check for bytes per second; 0 for none asked."""
    return 0.0 if text == "0" else _number(text, "a number of bytes per second, or 0")


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ConfigError(f"{text!r} is not {what}")
    return value


def size(text: str) -> int:
    """A check for a number of bytes: "1000", "32K", "64M", "2G"."""
    number, unit = (text[:-1], text[-1].upper()) if text and not text[-1].isdigit() else (text, "")
    factor = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(unit)
    if factor is None or not (number.isascii() and number.isdigit()) or int(number) == 0:
        raise ConfigError(f"{text!r} is not a size: a number of bytes, or one with K, M or G behind it")
    return int(number) * factor


def choice(*names: str) -> Callable[[str], str]:
    """A check for one of some names."""

    def check(text: str) -> str:
        if text not in names:
            raise ConfigError(f"{text!r} is not known; choose one of {', '.join(names)}")
        return text

    return check


def log_format(text: str) -> str:
    """A check for the form of an access log: a name, or a line with gunicorn's fields: "%(h)s %(r)s"."""
    known = ("combined", "common", "json")
    if text not in known and "%(" not in text:
        raise ConfigError(f"{text!r} is not known; choose one of {', '.join(known)}, or give fields as %(h)s")
    return text


def flag(text: str) -> bool:
    """A check for what is on or off: an option without a value on the command line."""
    known = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise ConfigError(f"{text!r} is neither on nor off")
    return known[text.lower()]


def workers(text: str) -> int:
    """A check for a number of processes; "auto" for the cores that this process may use."""
    if text == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return integer(1, 1024)(text)


@dataclass(frozen=True, slots=True)
class Option:
    """How a field of Config is set and explained.

    An option that may be given again collects a tuple; one whose `value` is empty takes none: it is on if given.
    """

    group: str
    flags: tuple[str, ...]
    value: str
    help: str
    why: str
    check: Callable[[str], Any] = str
    repeats: bool = False


def _option(
    default: Any, group: str, flags: str, value: str, help: str, why: str, check: Callable[[str], Any] = str
) -> Any:
    repeats = isinstance(default, tuple)
    option = Option(group, tuple(flags.split()), value, help, why, check, repeats)
    return dataclasses.field(default=default, metadata={"option": option})


_APP = "the app"
_MODELS = "serving"
_TLS = "TLS"
_LOGS = "logs"
_TIMES = "times (seconds) and rates"
_LIMITS = "limits"
_PROXIES = "behind a proxy"
_LIFE = "the server's life"
_WEBSOCKETS = "WebSockets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a peer may send and how long it may take: sizes in bytes, times in seconds, rates in bytes/s."""

    head_timeout: float = 10.0
    keep_alive: float = 75.0
    min_rate: float = 240.0
    max_head: int = 32 * 1024
    max_headers: int = 100
    max_body: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
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
    bind: tuple[str, ...] = _option(
        ("127.0.0.1:8000",), _MODELS, "-b --bind", "ADDR", "HOST:PORT, unix:PATH or fd://N; may be repeated",
        "Only this machine until told otherwise; gunicorn's address and port. Port 0 takes a free one.",
    )  # fmt: skip
    model: str = _option(
        "", _MODELS, "-m --model", "NAME", "who waits for the sockets: see `allcomers models`",
        "The best poller that this system has: epoll, kqueue, poll, select.",
    )  # fmt: skip
    workers: int = _option(
        1, _MODELS, "-w --workers", "N", "processes that do so, or `auto`: one a core",
        "What is kept in memory is then seen by every request. gunicorn and uvicorn begin with 1 too.", workers,
    )  # fmt: skip
    calls: str = _option(
        "", _MODELS, "--calls", "WHERE", "where app calls run: inline or pool",
        "inline, the fastest, while calls are short; pool for WSGI apps, whose calls wait.", choice("inline", "pool"),
    )  # fmt: skip
    threads: int = _option(
        32, _MODELS, "-t --threads", "N", "threads of the pool, and of -m thread-pool",
        "A call that waits most of its time leaves a core to some tens of others.", integer(1, 10_000),
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
        "What log readers know. The fields are gunicorn's.", log_format,
    )  # fmt: skip
    server_timing: bool = _option(
        False, _LOGS, "--server-timing", "", "tell clients what took how long (Server-Timing)",
        "How long an app takes can tell a stranger what it found.", flag,
    )  # fmt: skip
    log_level: str = _option(
        "info", _LOGS, "--log-level", "LEVEL", "debug, info, warning, error or critical", "What an operator acts on.",
        choice("debug", "info", "warning", "error", "critical"),
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
        "proxies whose X-Forwarded-For and -Proto are believed: addresses, networks, `unix`, or `*`",
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
        "Text shrinks; each connection costs memory for it.", choice("on", "off"),
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
    return [(field.name, field.default, cast(Option, field.metadata["option"])) for field in dataclasses.fields(Config)]


def make(given: dict[str, str | Sequence[str]]) -> Config:
    """A Config of the options that were `given` as text, by field name, and the others' defaults.

    Raises ConfigError: a value that its option cannot have, options that do not go together.
    """
    values: dict[str, Any] = {}
    for name, _, option in options():
        if name not in given:
            continue
        text = given[name]
        try:
            if option.repeats:
                values[name] = tuple(option.check(item) for item in text)
            else:
                values[name] = option.check(cast(str, text))
        except ConfigError as error:
            raise ConfigError(f"{option.flags[-1]}: {error}") from None
    config = Config(**values)
    if (config.keyfile or config.ca_certs) and not config.certfile:
        raise ConfigError("--keyfile and --ca-certs need --certfile, the server's own certificate")
    return config
