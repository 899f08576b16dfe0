"""IP addresses as text, in the form in which the kernel writes those of peers.

An IPv4-mapped IPv6 address (::ffff:192.0.2.1, RFC 4291, 2.5.5.2) becomes the IPv4 address: trust, logs and counts
by address need one name for one peer. Zones (fe80::1%eth0) mean nothing off their own link, and may
hold any character: they are refused.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

IP: TypeAlias = IPv4Address | IPv6Address


def ip_of(address: str | bytes) -> IP:
    """Return the address in a text, or in 4 or 16 bytes. Raises ValueError."""
    if isinstance(address, str) and "%" in address:
        raise ValueError("a zone")
    ip = ip_address(address)
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip
