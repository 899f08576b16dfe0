"""Privileges of the workers: --user and --group.

The supervisor stays root: it opened the sockets, and it opens the logs again. It runs no code of the app and reads no
data from clients. A worker opens the log and reads the certificates' keys as root, then drops root for good, before it
loads the app: for root, setuid(2) changes the real, the effective and the saved user, setgid(2) the groups, and
initgroups(3) the supplementary ones.
"""

from __future__ import annotations

import grp
import os
import pwd
from typing import Any, NamedTuple

from allcomers.config.trusted_files import open_folder
from allcomers.errors import ConfigError
from allcomers.server.access_log import MODE


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
        for what, file in (("Python itself", os.__file__), ("allcomers", __file__)):
            if not os.access(file, os.R_OK):  # later imports would fail with an obscure error
                folder = os.path.dirname(file)  # noqa: PTH120
                raise ConfigError(f"--user {self.name or self.uid}: it cannot read {what}, which is in {folder}")
        if self.name:  # as systemd sets them for User=: libraries keep their caches at home
            os.environ.update(HOME=self.home, USER=self.name, LOGNAME=self.name)

    def for_programs(self) -> dict[str, Any]:
        """Return the arguments of subprocess.Popen for a program that is to run as the account."""
        groups = self._groups() if self.name else [self.gid]
        return {"user": self.uid if self.uid >= 0 else None, "group": self.gid, "extra_groups": groups}

    def open_log(self, path: str) -> int:
        """Open the log at `path` as root; create it for the account, which may not have the right to.

        Return -1 if that fails, or if the account or everybody could lead root to another file: then the worker opens
        it with its own rights, and reports the error. An existing file keeps its owner.
        """
        try:
            folder, name = open_folder(path, {self.gid, *self._groups()})
        except (OSError, ValueError, ConfigError):
            return -1
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            try:
                fd = os.open(name, flags | os.O_CREAT | os.O_EXCL, MODE, dir_fd=folder)
                os.fchown(fd, self.uid, self.gid)
            except FileExistsError:
                fd = os.open(name, flags | os.O_NONBLOCK, dir_fd=folder)  # a FIFO that nobody reads blocks otherwise
                os.set_blocking(fd, True)
        except OSError:
            return -1
        finally:
            os.close(folder)
        return fd

    def _groups(self) -> list[int]:
        return os.getgrouplist(self.name, self.gid) if self.name else []


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


def owner_of(text: str, option: str) -> tuple[int, int]:
    """Return (uid, gid) of USER, USER:GROUP or :GROUP; -1 for what stays. Raises ConfigError for unknown names."""
    user, _, group = text.partition(":")
    entry = _user(user, option) if user else None
    return entry.pw_uid if entry else int(user or -1), _group(group, option) if group else -1


def _user(name: str, option: str = "--user") -> pwd.struct_passwd | None:
    """Return the entry of a user; None for a number without one."""
    try:
        return pwd.getpwuid(int(name)) if _is_number(name) else pwd.getpwnam(name)
    except KeyError:
        if _is_number(name):
            return None
        raise ConfigError(f"{option} {name}: there is no such user; `getent passwd` lists them") from None


def _group(name: str, option: str = "--group") -> int:
    if _is_number(name):
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"{option} {name}: there is no such group; `getent group` lists them") from None


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()
