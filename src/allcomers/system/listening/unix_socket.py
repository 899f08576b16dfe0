"""Unix sockets that a server listens on: their files, with their owners and permissions (unix(7))."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class UnixAccess(NamedTuple):
    """The access to a Unix socket that is created: `mode` None for the umask's, `uid` and `gid` -1 to leave them."""

    mode: int | None = None
    uid: int = -1
    gid: int = -1


def bound_unix(path: str, access: UnixAccess) -> socket.socket:
    """Return a stream socket that has this path. Raises OSError; FileExistsError where the path is no server's."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # bind(2) creates the socket with these permissions at once, so it is never open to others. No thread runs yet.
    umask = os.umask(0o777 & ~access.mode) if access.mode is not None else -1
    try:
        try:
            listener.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _bind_abandoned(listener, path)
    finally:
        if umask >= 0:
            os.umask(umask)
    if (access.uid, access.gid) != (-1, -1):
        _give(path, access)
    return listener


def _bind_abandoned(listener: socket.socket, path: str) -> None:
    """Bind in the place of a socket that a server has left behind. Raises OSError where one still has it."""
    import fcntl

    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC)  # noqa: PTH120
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(folder, fcntl.LOCK_EX)  # of two servers that start now, one must not remove the other's
        if not _is_abandoned(path):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        Path(path).unlink()
        listener.bind(path)
    finally:
        os.close(folder)


def _give(path: str, access: UnixAccess) -> None:
    """Change the owner of the socket at `path`, and of nothing else that its folder's owner may have put there."""
    if not hasattr(os, "O_PATH"):  # nowhere but on Linux: a link is not followed, at least
        os.chown(path, access.uid, access.gid, follow_symlinks=False)
        return
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
            raise FileExistsError(errno.EEXIST, "not this server's socket")
        os.chown(f"/proc/self/fd/{fd}", access.uid, access.gid)  # fchown(2) takes no O_PATH
    finally:
        os.close(fd)


def _is_abandoned(path: str) -> bool:
    """Return whether no process has this socket any more. Raises FileExistsError for a file that is no socket."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise FileExistsError(errno.EEXIST, "no socket")
    # A stream would be refused, too, by a server that does not listen yet; of another type, only if there is none.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED
