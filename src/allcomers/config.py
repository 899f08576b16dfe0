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


def workers(text: str) -> int:
    """A check for a number of processes; "auto" for the cores that this process may use."""
    if text == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return integer(1, 1024)(text)


@dataclass(frozen=True, slots=True)
class Option:
    """How a field of Config is set and explained. An option that may be given again collects a tuple."""

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


_MODELS = "serving"
_TLS = "TLS"
_LOGS = "logs"
_TIMES = "times (seconds) and rates"
_LIMITS = "limits"


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
        "inline", _MODELS, "--calls", "WHERE", "where app calls run: inline or pool",
        "The fastest, and right while calls are short.", choice("inline", "pool"),
    )  # fmt: skip
    threads: int = _option(
        32, _MODELS, "-t --threads", "N", "threads of the pool, and of -m thread-pool",
        "A call that waits most of its time leaves a core to some tens of others.", integer(1, 10_000),
    )  # fmt: skip
    certfile: str = _option(
        "", _TLS, "--certfile", "FILE", "the certificate chain, PEM: serve TLS", "Plain until a certificate is named.",
    )  # fmt: skip
    keyfile: str = _option(
        "", _TLS, "--keyfile", "FILE", "its private key, if not in the same file", "The certificate's file."
    )
    ca_certs: str = _option(
        "", _TLS, "--ca-certs", "FILE", "ask clients for certificates that these signed", "Clients are not asked.",
    )  # fmt: skip
    access_log: str = _option(
        "", _LOGS, "--access-log", "FILE", "a line for each answer; - is standard output, off is none",
        "Standard output where that is a terminal, else off: a line costs more than a small answer.",
    )  # fmt: skip
    access_log_format: str = _option(
        "combined", _LOGS, "--access-log-format", "NAME", "combined, common or json", "What log readers know.",
        choice("combined", "common", "json"),
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
