"""The files below one folder, and no way out of it.

All code that turns a client's path into a descriptor is here; the response is not.

How a path stays inside. A check of the path before it is opened can be outrun: between the two a folder is
swapped for a link. A check afterwards has opened something outside already, and the ways to find where a
descriptor leads differ (/proc on Linux, F_GETPATH on macOS). So the path is walked name by name: each folder
is opened relative to the one before (openat(2)) with O_NOFOLLOW, and since no name is "." or ".." or a link,
there is no step that leads outside. Nothing but the folder's own files is ever opened, on any POSIX system,
even if names change meanwhile.

A link stops the walk (ELOOP, ENOTDIR). Links that stay inside are served all the same: Kubernetes mounts whole
folders of them. realpath(3) finds where the link leads; if that is inside, the real path, which has no links, is
walked in the same way. Should a link appear in it at that moment, the second walk stops, and the file
is a 404.
"""

# ruff: noqa: PTH116
# Paths are bytes, as the kernel has them, so that a name in any encoding can be served; and the walk needs dir_fd.
# pathlib has neither.

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from allcomers.apps.static.cache import file_id

ABSENT = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.EMLINK,  # FreeBSD, for a link under O_NOFOLLOW
        errno.ENAMETOOLONG,
        errno.EINVAL,
        errno.EILSEQ,  # macOS, for a name that is not UTF-8
        errno.ENXIO,  # a socket, or a device with no driver
        errno.ENODEV,
        errno.EOPNOTSUPP,  # macOS, for a socket
        errno.ESTALE,  # NFS, for a file deleted meanwhile
        # An unreadable file counts as missing, too: a 403 in its place would reveal which names exist.
        errno.EACCES,
        errno.EPERM,
    }
)
"""Errors of a path that names nothing to serve."""

SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors of a system that is out of descriptors or memory."""

_LINK = frozenset({errno.ELOOP, errno.EMLINK, errno.ENOTDIR})
"""Errors of a link under O_NOFOLLOW: ENOTDIR together with O_DIRECTORY."""

# O_NONBLOCK: a fifo without a writer opens at once, rather than never. O_NOCTTY: no terminal becomes ours.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_FILE_NO_LINK = _FILE | os.O_NOFOLLOW
# O_PATH (Linux): a folder on the way need not be readable, as for any other program; elsewhere it must.
_FOLDER_NO_LINK = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW


def split(path: str) -> list[bytes]:
    """Return the names in a decoded path: "/a/b.css" → [b"a", b"b.css"], "/a/" → [b"a", b""], "/" → [b""].

    Raises FileNotFoundError where one of them may not be requested: empty, hidden, "..", or with a NUL.
    """
    raw = path.encode("utf-8", "surrogateescape")
    if raw[:1] != b"/" or b"//" in raw:  # not "/a//b" as "/a/b": one file, one address
        raise absent()
    names = raw[1:].split(b"/")
    if (b"/." in raw or b"\\" in raw or b"\0" in raw) and any(map(is_hidden, names)):
        raise absent()
    return names


def is_hidden(name: bytes) -> bool:
    """Return True if a file of this name is neither served nor listed: .git, .env; "." and ".." are such names.

    Not .well-known (RFC 8615). A backslash is a letter like any other to POSIX, but a "/" to some browsers and to
    the machines behind some proxies.
    """
    return (name[:1] == b"." and name != b".well-known") or b"\\" in name or b"\0" in name


class Opened:
    """A file or a folder, open for reading, and its metadata.

    Size and date are those of this very descriptor, so they agree with the bytes read from it, whatever is renamed.

    size       int, bytes
    mtime_ns   int, nanoseconds since 1970: the last write
    modified   int, the same in whole seconds
    is_folder  bool
    file_id    as `cache` compares it
    """

    __slots__ = ("_descriptor", "file_id", "is_folder", "modified", "mtime_ns", "size")

    def __init__(self, descriptor: int) -> None:
        """Read the metadata. Raises FileNotFoundError, with the descriptor closed, for a fifo, a socket or a device."""
        self._descriptor = descriptor
        found = os.fstat(descriptor)
        self.size = found.st_size
        self.mtime_ns = found.st_mtime_ns
        self.file_id = file_id(found)
        self.modified = self.mtime_ns // 1_000_000_000
        self.is_folder = stat.S_ISDIR(found.st_mode)
        if not (self.is_folder or stat.S_ISREG(found.st_mode)):
            self.close()
            raise absent()

    def fileno(self) -> int:
        """Return the descriptor; -1 once closed, so that it can never be another file's."""
        return self._descriptor

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    __del__ = close  # a response that is neither sent nor closed holds no descriptor either


class Tree:
    """The files below the folder `root`, an absolute path.

    It holds no descriptor of the root: the next request sees a new folder that a deployment renamed into its place.
    """

    __slots__ = ("_follow_links", "_root")

    def __init__(self, root: bytes, *, follow_links: bool) -> None:
        self._root = root.rstrip(b"/")  # so "/" itself is b""
        self._follow_links = follow_links

    def path(self, names: Sequence[bytes]) -> bytes:
        """Return the absolute path of `names` (of `split`), without a check."""
        return b"/".join((self._root, *names)) or b"/"

    def open(self, names: Sequence[bytes]) -> Opened:
        """Open the file or folder of `names`; [] is the root itself.

        Raises OSError: with an errno in ABSENT there is nothing to serve under that name, with one in SHORT the
        system is out of descriptors or memory.
        """
        if self._follow_links:
            return Opened(os.open(self.path(names), _FILE))
        try:
            return Opened(_walk(self._root, names))
        except OSError as error:
            if error.errno not in _LINK:
                raise
        return Opened(self._open_linked(names))

    def _open_linked(self, names: Sequence[bytes]) -> int:
        """Open the target of a link on the way, if it is inside the root. Its name there may be hidden: the client
        cannot request it, only the owner of the folder can link to it."""
        path = self.path(names)
        os.stat(path)  # the kernel stops at 40 links and at PATH_MAX; realpath itself would run on
        root = os.path.realpath(self._root or b"/", strict=True).rstrip(b"/")
        real = os.path.realpath(path, strict=True)
        if real != root and not real.startswith(root + b"/"):
            raise absent()
        return _walk(root, [name for name in real[len(root) :].split(b"/") if name])


def _walk(root: bytes, names: Sequence[bytes]) -> int:
    """Return a descriptor of the last name, by a walk from `root` that follows no link below it.

    PERF: 2.7 µs for three names, the same as one open() and a readlink() of /proc/self/fd, which can only check
    after the fact (python bench/request/site.py).
    """
    if not names:
        return os.open(root or b"/", _FILE)
    path = root + b"/" + names[0]
    if len(names) == 1:
        return os.open(path, _FILE_NO_LINK)
    folder = os.open(path, _FOLDER_NO_LINK)
    try:
        for name in names[1:-1]:
            folder, done = os.open(name, _FOLDER_NO_LINK, dir_fd=folder), folder
            os.close(done)
        return os.open(names[-1], _FILE_NO_LINK, dir_fd=folder)
    finally:
        os.close(folder)


def absent() -> FileNotFoundError:
    """Return the error for a file that exists and is not served: the same as for a missing one."""
    return FileNotFoundError(errno.ENOENT, "nothing to serve under this path")
