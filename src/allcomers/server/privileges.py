"""Privileges of the workers: --user and --group.

The supervisor stays root: it opened the sockets, and it creates the logs. It runs no code of the app and reads
no data from clients. A worker reads the certificates' keys as root, then drops root for good, before it loads the app:
for root, setuid(2) changes the real, the effective and the saved user, setgid(2) the groups, and initgroups(3) the
supplementary ones.
"""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from typing import NamedTuple

from allcomers.errors import ConfigError


class Account(NamedTuple):
    """An account to run as.

    uid   of the user; -1 to keep the current one
    name  of the user; "" if it has none, or stays
    """

    uid: int
    gid: int
    name: str = ""
    home: str = ""

    def become(self) -> None:
        """Switch this process to the account. Raises ConfigError if it could not run afterwards."""
        if self.name:
            os.initgroups(self.name, self.gid)
        else:
            os.setgroups([self.gid])
        os.setgid(self.gid)
        if self.uid >= 0:
            os.setuid(self.uid)
        if not os.access(os.__file__, os.R_OK):  # later imports would fail with an obscure error
            folder = os.path.dirname(os.__file__)  # noqa: PTH120
            raise ConfigError(f"--user {self.name or self.uid}: it cannot read Python itself, which is in {folder}")
        if self.name:  # as systemd sets them for User=: libraries keep their caches at home
            os.environ.update(HOME=self.home, USER=self.name, LOGNAME=self.name)

    def own(self, path: str) -> None:
        """Create the log at `path` for the account, which may not have the right to. An existing file stays as it is.

        O_EXCL and O_NOFOLLOW: a link at that path cannot give another file away.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with suppress(OSError):  # the worker that opens it reports the error
            fd = os.open(path, flags, 0o640)
            os.fchown(fd, self.uid, self.gid)
            os.close(fd)


def account_of(user: str, group: str) -> Account | None:
    """Return the account for names or numbers, "" for no change. Return None if this process is not root and so cannot
    change; `config` has refused other accounts in that case. Raises ConfigError for unknown names."""
    if not (user or group) or os.geteuid() != 0:
        return None
    entry = _user(user) if user else None
    gid = _group(group) if group else entry.pw_gid if entry else -1
    if gid < 0:
        raise ConfigError(f"--user {user}: it is not in the user database, so it needs a --group")
    if entry:
        return Account(entry.pw_uid, gid, entry.pw_name, entry.pw_dir)
    return Account(int(user) if user else -1, gid)


def _user(name: str) -> pwd.struct_passwd | None:
    """Return the entry of a user; None for a number without one."""
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
