"""By which names the admin's server may be called: the defence against DNS rebinding.

A web page may have its own name lead to 127.0.0.1, and then read what it likes of whoever listens there; but in Host
the browser says that name. An address as such cannot be made to lead elsewhere, so each is taken; of names, only ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from allcomers.errors import ConfigError
from allcomers.system.sockets import Bind

OURS: Final = ("localhost",)


def is_allowed(host: str, names: Sequence[str]) -> bool:
    """May a request have this Host? `names` are those of --admin-hosts, "*" for any; "" is of no browser."""
    name = _name(host)
    return not name or "*" in names or name in OURS or name in names or _is_address(name)


def _name(host: str) -> str:
    """An authority without its port and its brackets, in lower case, without the dot of an absolute name."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def check(text: str, hosts: str) -> None:
    """Raises ConfigError for an --admin that is no address, or that others may reach without --admin-hosts."""
    bind = Bind(text, "--admin")
    if bind.path or bind.fd >= 0 or hosts or _is_ours(bind.host):
        return
    raise ConfigError(
        f"--admin {text} may be reached from other machines, and tells how this server is: add --admin-hosts with the "
        "names that it is called by (ip where that is by addresses alone), or have it listen on 127.0.0.1"
    )


def _is_ours(host: str) -> bool:
    try:
        return host in OURS or ip_address(host).is_loopback
    except ValueError:
        return False


def names_of(text: str, hosts: str) -> tuple[str, ...]:
    """The names that count: those of --admin-hosts, and the one that --admin itself has."""
    host = Bind(text, "--admin").host.lower()
    own = [host] if host and not _is_address(host) else []
    return (*own, *(name.strip().lower() for name in hosts.split(",") if name.strip()))
