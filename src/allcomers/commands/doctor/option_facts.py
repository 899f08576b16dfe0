"""Facts about the addresses, certificates, files and users that options name. Tries them, and leaves nothing behind."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

from allcomers.commands.doctor.facts import Address, Certificate, Facts
from allcomers.config.options import Config, addresses
from allcomers.errors import ConfigError
from allcomers.server.access_log import STANDARD
from allcomers.system.sockets import Bind


def read(facts: Facts, config: Config) -> Facts:
    """Return `facts` with those about `config`. Raises ConfigError for a bad address."""
    return replace(
        facts,
        addresses=tuple(_address(text) for text in addresses(config)),
        certificates=tuple(_certificates(config)),
        log_problem="" if config.access_log in ("", "off", *STANDARD) else _file_problem(config.access_log),
        pid_problem=_file_problem(config.pid) if config.pid else "",
        user_problem=_user_problem(config.user, config.group),
    )


def _address(text: str) -> Address:
    bind = Bind(text)
    if bind.fd >= 0:
        return Address(text=text)
    if bind.path:
        return Address(text=text, problem=_unix_problem(Path(bind.path)))
    host = bind.host or "0.0.0.0"
    try:
        found = socket.getaddrinfo(host, bind.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        return Address(text=text, host=host, port=bind.port, problem=str(getattr(error, "strerror", None) or error))
    known = dict.fromkeys((family, address) for family, _, _, _, address in found)
    loopback = [ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for _, address in known]
    number = next(filter(None, (_bind_error(family, address) for family, address in known)), 0)
    return Address(
        text=text,
        host=host,
        port=bind.port,
        is_public=not all(loopback),
        is_local=all(loopback),
        problem=os.strerror(number) if number not in (0, errno.EADDRINUSE) else "",
        is_in_use=number == errno.EADDRINUSE,
    )


def _bind_error(family: int, address: Any) -> int:
    """Return the errno of binding this address, 0 if it is free. It is released at once, and never listened on."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
    except OSError as error:
        return error.errno or errno.EINVAL
    return 0


def _unix_problem(path: Path) -> str:
    try:
        return "" if stat.S_ISSOCK(path.lstat().st_mode) else "there is a file that is not a socket"
    except FileNotFoundError:
        return _folder_problem(path.parent)
    except OSError as error:
        return error.strerror or str(error)


def _file_problem(name: str) -> str:
    """Return the reason why this file cannot be written, or "". A missing file is not created."""
    path = Path(name)
    if path.is_dir():
        return "it is a folder"
    if not path.exists():
        return _folder_problem(path.parent)
    return "" if os.access(path, os.W_OK) else "it may not be written"


def _folder_problem(folder: Path) -> str:
    if not folder.is_dir():
        return f"there is no folder {str(folder)!r}"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"the folder {str(folder)!r} may not be written"


def _user_problem(user: str, group: str) -> str:
    """Return the reason why a name is unknown, or "". The permission to change is checked with the options."""
    import grp
    import pwd

    for name, look_up, noun in ((user, pwd.getpwnam, "user"), (group, grp.getgrnam, "group")):
        try:
            if name and not name.isdigit():
                look_up(name)
        except KeyError:
            return f"there is no {noun} {name!r}"
    return ""


def _certificates(config: Config) -> list[Certificate]:
    pairs = zip(config.certfile, config.keyfile or config.certfile, strict=False)  # as many: the server checks that
    return [_certificate(config, certfile, keyfile) for certfile, keyfile in pairs]


def _certificate(config: Config, certfile: str, keyfile: str) -> Certificate:
    import ssl

    from allcomers.server.tls.certificates import certificate
    from allcomers.server.tls.keys import rules

    try:
        found = certificate(certfile, keyfile, rules(config))
        mode = stat.S_IMODE(Path(keyfile).stat().st_mode)
    except (ConfigError, OSError) as error:
        return Certificate(certfile=certfile, keyfile=keyfile, problem=str(error))
    return Certificate(
        certfile=certfile,
        keyfile=keyfile,
        names=tuple(str(value) for kind, value in found.get("subjectAltName", ()) if kind in ("DNS", "IP Address")),
        begins=ssl.cert_time_to_seconds(found["notBefore"]) if found else 0.0,
        expires=ssl.cert_time_to_seconds(found["notAfter"]) if found else float("inf"),
        mode=mode,
    )
