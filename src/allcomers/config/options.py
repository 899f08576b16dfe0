"""All options of a server as one Config, made and checked.

serving_options, limit_options and operation_options have each option, by group. The command line is built from them,
and so is docs/options.md: an option is written down there and nowhere else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from allcomers.config.checks import check_account, flag, is_loopback, size
from allcomers.config.limit_options import LimitOptions, TimeOptions, WebSocketOptions
from allcomers.config.limits import InputLimits, Limits, WebSocketLimits
from allcomers.config.operation_options import HookOptions, LifeOptions, LogOptions, ProxyOptions
from allcomers.config.option import Option, Options
from allcomers.config.serving_options import AppOptions, ServingOptions, TlsOptions
from allcomers.errors import ConfigError

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


class Config(
    AppOptions,
    ServingOptions,
    TlsOptions,
    LogOptions,
    TimeOptions,
    LimitOptions,
    ProxyOptions,
    WebSocketOptions,
    LifeOptions,
    HookOptions,
):
    """All options of a server. make() creates it, and checks that the options go together."""

    def __init__(self, **given: Any) -> None:
        """Take the options that were `given`, by field; the others have their defaults."""
        unknown = given.keys() - FIELDS
        if unknown:
            raise TypeError(f"no option: {', '.join(sorted(unknown))}")
        vars(self).update(given)

    def __eq__(self, other: object) -> bool:
        """Whether `other` has the same options."""
        return isinstance(other, Config) and all(getattr(self, name) == getattr(other, name) for name in FIELDS)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Return what was given, to be read in a test's report."""
        return f"Config({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def but(self, **changed: Any) -> Config:
        """Return the same options with some `changed`."""
        return Config(**vars(self) | changed)

    def from_here(self) -> Config:
        """Return the same options with the paths of files that workers open from the root, so that the app may enter
        another folder. Raises OSError if the current one is gone."""
        here = os.getcwd()  # noqa: PTH109 (not Path: its import costs 4 ms of start-up)

        def absolute(path: str) -> str:
            return os.path.join(here, path)  # noqa: PTH118

        log = self.access_log
        return self.but(
            access_log=log if log in ("", "-", "off") else absolute(log),
            certfile=tuple(map(absolute, self.certfile)),
            keyfile=tuple(map(absolute, self.keyfile)),
            ca_certs=self.ca_certs and absolute(self.ca_certs),
        )

    @property
    def log_form(self) -> tuple[str, str, str]:
        """(level, form, file with a configuration) of the server's own log."""
        return self.log_level, self.log_format, self.log_config

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
            max_requests=self.max_requests_per_connection or sys.maxsize,
            request_timeout=self.request_timeout,
        )

    @property
    def input_limits(self) -> InputLimits:
        """The limits of what handlers read."""
        return InputLimits(
            form_size=self.max_form_size,
            form_fields=self.max_form_fields,
            json_size=self.max_json_size,
            form_parts=self.max_form_parts,
            file_size=self.max_file_size,
        )

    @property
    def call_limit(self) -> float:
        """The seconds that a call which is no task may take: as a call, or since its request has; 0 for any time."""
        return min(filter(None, (self.call_timeout, self.request_timeout)), default=0.0)


_GROUPS: Final = cast(tuple[type[Options], ...], Config.__bases__)

FIELDS: Final = tuple(name for group in _GROUPS for name in group.table)
"""The names of all options, in order."""


def options() -> list[tuple[str, Any, Option]]:
    """Return (field, default, Option) of each field of Config, in order."""
    return [(name, *entry) for group in _GROUPS for name, entry in group.table.items()]


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
    return OWN[command] + [entry for entry in options() if command == "run" or entry[0] not in AppOptions.table]


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


def addresses(config: Config) -> tuple[str, ...]:
    """Return all addresses of clients, those of --bind first."""
    return (*config.bind, *config.bind_plain, *config.redirect_https)


def _check_together(config: Config) -> None:
    _check_tls(config)
    has_path = any(text.startswith("unix:") for text in (*addresses(config), config.admin))
    if (config.uds_mode or config.uds_owner) and not has_path:
        raise ConfigError("--uds-mode and --uds-owner need a --bind or an --admin of the form unix:PATH")
    if config.compress_secrets and not config.compress:
        raise ConfigError("--compress-secrets needs --compress, to which it adds")
    if config.debug:
        _check_debug(config)
    _check_shown(config)
    if config.max_requests_jitter and not config.max_requests:
        raise ConfigError("--max-requests-jitter needs --max-requests, to which it adds")
    for address in addresses(config):
        if addresses(config).count(address) > 1 and not address.endswith(":0"):
            raise ConfigError(f"--bind {address} is given twice")


def _check_tls(config: Config) -> None:
    if config.tls_self_signed and config.certfile:
        raise ConfigError("--tls-self-signed makes a certificate, and --certfile names another: give one of them")
    has_certificate = bool(config.certfile) or config.tls_self_signed
    needs = bool(config.keyfile or config.keyfile_password_file)
    if (needs and not config.certfile) or (config.ca_certs and not has_certificate):
        raise ConfigError(
            "--keyfile, --keyfile-password-file and --ca-certs need --certfile, the server's own certificate"
        )
    if (config.bind_plain or config.redirect_https) and not has_certificate:
        raise ConfigError("--bind-plain and --redirect-https stand beside TLS: they need --certfile")
    if config.client_cert and not config.ca_certs:
        raise ConfigError("--client-cert needs --ca-certs, the authorities that sign the clients' certificates")
    if config.ciphers and config.tls_min == "1.3":
        raise ConfigError("--ciphers is for TLS 1.2, which --tls-min 1.3 refuses: leave one of them out")
    chains, keys = len(config.certfile), len(config.keyfile)
    if keys not in (0, chains):
        raise ConfigError(f"--keyfile: there are {keys} for {chains} --certfile; one for each, in order, or none")
    if config.tls_self_signed:
        for address in addresses(config):
            if not (_is_local(address) or address.startswith("unix:")):
                raise ConfigError(
                    f"--tls-self-signed is for this machine alone, and --bind {address} is for others: bind 127.0.0.1,"
                    " or name a certificate by --certfile"
                )


def _check_shown(config: Config) -> None:
    """Raise ConfigError where nobody could see what is to be shown, or others than this machine could see stacks."""
    if (config.profile or config.by_route) and not config.admin:
        raise ConfigError("--profile and --by-route need --admin, which shows them")
    if config.profile and not is_private(config.admin):
        place = "127.0.0.1, ::1, localhost or unix:PATH"
        raise ConfigError(f"--profile shows stacks, so it is for {place}, not --admin {config.admin}")


def _check_debug(config: Config) -> None:
    """Raise ConfigError where others than this machine could see the tracebacks of --debug."""
    for address in addresses(config):
        if not _is_local(address):
            raise ConfigError(
                f"--debug shows tracebacks, so it is for 127.0.0.1, ::1 or localhost, not --bind {address}"
            )
    if config.forwarded_allow_ips or config.proxy_protocol:
        raise ConfigError(
            "--debug shows tracebacks, so it goes with no proxy: leave out --forwarded-allow-ips "
            "(FORWARDED_ALLOW_IPS) and --proxy-protocol"
        )


def is_private(address: str) -> bool:
    """Return whether only this machine can connect to an address, or a Unix socket."""
    return address.startswith("unix:") or _is_local(address)


def _is_local(address: str) -> bool:
    """Return whether only this machine can connect to an address and a port."""
    return is_loopback(address.rpartition(":")[0])
