"""Who the workers run as: --user and --group.

The supervisor stays root: it opened the sockets, and it creates the logs. It runs no code of the app's and reads
nothing that a client sends. A worker reads the certificates' keys as root, then gives root up for good, before it loads
the app: of root, setuid(2) changes the real, the effective and the saved user, setgid(2) the groups, and initgroups(3)
the supplementary ones.
"""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from typing import NamedTuple

from allcomers.errors import ConfigError


class Account(NamedTuple):
    """name  of the user, "" for one that has none or is not to change; -1 for a uid that is not to change"""

    uid: int
    gid: int
    name: str = ""
    home: str = ""

    def become(self) -> None:
        """This process is it from here on. Raises ConfigError where it then could not run."""
        if self.name:
            os.initgroups(self.name, self.gid)
        else:
            os.setgroups([self.gid])
        os.setgid(self.gid)
        if self.uid >= 0:
            os.setuid(self.uid)
        if not os.access(os.__file__, os.R_OK):  # what it is to import would be missing, and say so in odd words
            where = os.path.dirname(os.__file__)  # noqa: PTH120
            raise ConfigError(f"--user {self.name or self.uid}: it cannot read Python itself, which is in {where}")
        if self.name:  # as systemd sets them for User=: libraries keep their caches at home
            os.environ.update(HOME=self.home, USER=self.name, LOGNAME=self.name)

    def own(self, path: str) -> None:
        """Create the log at `path` for it, which may not be allowed to. One that is there stays as it is.

        O_EXCL and O_NOFOLLOW: no link that somebody has laid there gives away another file.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with suppress(OSError):  # who opens it next says what is wrong
            fd = os.open(path, flags, 0o640)
            os.fchown(fd, self.uid, self.gid)
            os.close(fd)


def account_of(user: str, group: str) -> Account | None:
    """Names or numbers, "" for no change. None where this process is not root: then it can become nobody else, and
    `config` has seen that nobody else was asked for. Raises ConfigError for names that are not known."""
    if not (user or group) or os.geteuid() != 0:
        return None
    entry = _user(user) if user else None
    gid = _group(group) if group else entry.pw_gid if entry else -1
    if gid < 0:
        raise ConfigError(f"--user {user}: nothing is known of it, so it needs a --group")
    if entry:
        return Account(entry.pw_uid, gid, entry.pw_name, entry.pw_dir)
    return Account(int(user) if user else -1, gid)


def _user(name: str) -> pwd.struct_passwd | None:
    """None for a number that has no name."""
    try:
        return pwd.getpwuid(int(name)) if _is_number(name) else pwd.getpwnam(name)
    except KeyError:
        if _is_number(name):
            return None
        raise ConfigError(f"--user {name}: there is no such user; `getent passwd` lists them") from None


def _group(name: str) -> int:
    if _is_number(name):
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"--group {name}: there is no such group; `getent group` lists them") from None


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()
