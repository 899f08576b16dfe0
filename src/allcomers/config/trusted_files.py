"""Files that root reads or writes, where no other user can have changed them, or may lead root elsewhere.

A path is followed folder by folder, by descriptors (openat(2), O_NOFOLLOW), so nobody can replace a part of it
meanwhile. Each folder on the way must be root's, and writable by root alone; in a sticky one (/tmp) the entry must be
root's (inode(7), S_ISVTX). A link counts if it stands in such a folder: only root can have made it. Precedents:
logrotate and sshd refuse files in folders that others can write to, and systemd paths that lead through them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Container
from pathlib import Path
from typing import Final

from allcomers.errors import ConfigError

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_LINKS: Final = 40
"""Links that are followed (path_resolution(7))."""

_READ_ONLY: Final = getattr(os, "ST_RDONLY", 1)


def read(path: str) -> bytes:
    """Return the contents of a file. Raises OSError; for root, ConfigError if another user could have written it."""
    if os.geteuid() != 0 or path.startswith("/dev/"):  # /dev/stdin and /dev/fd/3 were opened by the caller
        return Path(path).read_bytes()
    folder, name = open_folder(path, follows=True)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)
    with os.fdopen(fd, "rb") as file:
        if _is_of_others(os.fstat(fd), None):
            raise _refused(path, name)
        return file.read()


def open_folder(path: str, groups: Container[int] | None = None, *, follows: bool = False) -> tuple[int, str]:
    """Return (the descriptor of the folder, the file's name in it) of a path that no other user can redirect.

    groups   those whose members may not write; by default none may but root's
    follows  follow a link in the place of the file, too. Then a sticky folder, which others may write to, will do for a
             file that is root's

    Raises OSError; ConfigError if another user than root may write to a folder on the way.
    """
    parts = deque(Path(path).absolute().parts[1:])
    folder, at, links = os.open("/", _FOLDER), "/", 0
    try:
        while parts:
            name = parts.popleft()
            entry = _entry(folder, name)
            what = _weakness(folder, at, name, entry if parts or follows else None, groups)
            if what:
                raise _refused(path, what)
            if entry is not None and stat.S_ISLNK(entry.st_mode) and (parts or follows):
                links += 1
                if links > _LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                target = Path(os.readlink(name, dir_fd=folder))
                parts.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))
                if target.is_absolute():
                    folder, at = _enter(folder, "/"), "/"
            elif parts:
                folder, at = _enter(folder, name), os.path.join(at, name)  # noqa: PTH118
            else:
                return folder, name
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except BaseException:
        os.close(folder)
        raise


def _entry(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _enter(folder: int, name: str) -> int:
    """Return the folder `name` in `folder`, which is closed."""
    inner = os.open(name, _FOLDER, dir_fd=folder)
    os.close(folder)
    return inner


def _weakness(folder: int, at: str, name: str, entry: os.stat_result | None, groups: Container[int] | None) -> str:
    """Return the path of what lets another user than root replace the entry `name` of a folder, or create one where
    `entry` is None; "" if nothing does."""
    status = os.fstat(folder)
    if not _is_of_others(status, groups):
        return ""
    if status.st_uid == 0 and os.fstatvfs(folder).f_flag & _READ_ONLY:
        return ""
    if status.st_uid == 0 and status.st_mode & stat.S_ISVTX and entry is not None:
        return "" if entry.st_uid == 0 else os.path.join(at, name)  # noqa: PTH118
    return at


def _is_of_others(status: os.stat_result, groups: Container[int] | None) -> bool:
    """Return whether another user than root owns a file, or may write to it."""
    if status.st_uid != 0 or status.st_mode & stat.S_IWOTH:
        return True
    is_of_group = status.st_gid != 0 if groups is None else status.st_gid in groups
    return bool(status.st_mode & stat.S_IWGRP) and is_of_group


def _refused(path: str, what: str) -> ConfigError:
    return ConfigError(
        f"{path!r} is not used by root: another user may write to {what!r}; make that root's (chown root:root, "
        "chmod go-w), or start as another user"
    )
