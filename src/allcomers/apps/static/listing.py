"""The entries in the list of a folder: the names that may be requested, and no others."""

from __future__ import annotations

import os
from collections.abc import Sequence

from allcomers.apps.static.html import FolderEntry
from allcomers.apps.static.tree import ABSENT, SHORT, Opened, Tree, is_hidden

MAX_ENTRIES = 10_000
"""Names on one page: a folder of a million files costs one read of their names, not a page of 150 MB."""


def entries(tree: Tree, names: Sequence[bytes], folder: Opened) -> tuple[list[FolderEntry], int]:
    """Return the first MAX_ENTRIES of an open folder, folders first, then by name without regard to case; and how many
    more there are. Raises OSError as `Tree.open` does."""
    with os.scandir(folder.fileno()) as found:
        visible = [entry for entry in found if not is_hidden(os.fsencode(entry.name))]
    visible.sort(key=lambda entry: (not _is_folder(entry), entry.name.casefold(), entry.name))
    shown = (_folder_entry(tree, names, entry) for entry in visible[:MAX_ENTRIES])
    return [entry for entry in shown if entry], max(0, len(visible) - MAX_ENTRIES)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _folder_entry(tree: Tree, names: Sequence[bytes], entry: os.DirEntry[str]) -> FolderEntry | None:
    """Return one line, or None where a request would fail: for a fifo, or a link that leads out of the root."""
    name = os.fsencode(entry.name)
    try:
        if entry.is_symlink():  # opened like a request's: size and date of a file outside the root stay unknown
            return _opened_entry(name, tree.open([*names, name]))
        if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
            return None
        found = entry.stat(follow_symlinks=False)
    except OSError as error:
        if error.errno in ABSENT or error.errno in SHORT:
            return None
        raise
    return FolderEntry(name, entry.is_dir(follow_symlinks=False), found.st_size, int(found.st_mtime))


def _opened_entry(name: bytes, opened: Opened) -> FolderEntry:
    try:
        return FolderEntry(name, opened.is_folder, opened.size, opened.modified)
    finally:
        opened.close()
