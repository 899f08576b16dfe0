"""The host names that the admin's site accepts: the defence against DNS rebinding.

A web page can make its own name resolve to 127.0.0.1, and then read every server there; but the browser sends that name
in Host. An address resolves to nothing else, so each is allowed; of names, only those of this server.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from allcomers.errors import ConfigError
from allcomers.system.sockets import Bind

LOCAL: Final = ("localhost",)


def is_allowed(host: str, names: Sequence[str]) -> bool:
    """Return whether a request may have this Host. A browser never sends an empty one.

    names  from --admin-hosts; "*" allows all
    """
    name = _name(host)
    return not name or "*" in names or name in LOCAL or name in names or _is_address(name)


def _name(host: str) -> str:
    """Return the host of an authority in lower case, without brackets and the dot of an absolute name."""
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
    """Check --admin. Raises ConfigError for a malformed address, or one that others can reach without --admin-hosts."""
    bind = Bind(text, "--admin")
    if bind.path or bind.fd >= 0 or hosts or _is_local(bind.host):
        return
    raise ConfigError(
        f"--admin {text} may be reached from other machines, and shows figures of this server: add --admin-hosts with "
        "its host names (ip if clients use addresses alone), or listen on 127.0.0.1"
    )


def _is_local(host: str) -> bool:
    try:
        return host in LOCAL or ip_address(host).is_loopback
    except ValueError:
        return False


def names_of(text: str, hosts: str) -> tuple[str, ...]:
    """Return the allowed names: those of --admin-hosts, and the one in --admin itself."""
    host = Bind(text, "--admin").host.lower()
    own = [host] if host and not _is_address(host) else []
    return (*own, *(name.strip().lower() for name in hosts.split(",") if name.strip()))
