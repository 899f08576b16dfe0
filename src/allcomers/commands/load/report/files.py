"""The files of a result: opened before the load runs, so that a bad name costs no run; each written for itself."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from allcomers.errors import ConfigError, OperatorError


class OutputFiles:
    """The files at `paths`, open; "" is none, "-" standard output.

    A file keeps what it contains until its new content is whole. Leaving the context closes all, and removes what
    was created here and never written. Raises ConfigError if a file cannot be opened, or is named twice.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._files: dict[str, TextIO] = {}
        self._created: set[str] = set()
        self._failures: list[str] = []
        self._reader_gone: BrokenPipeError | None = None
        for path in filter(None, paths):
            if path in self._files:
                raise ConfigError(f"{path!r} is named for two outputs")
            self._files[path] = sys.stdout if path == "-" else self._open(path)

    def _open(self, path: str) -> TextIO:
        try:
            is_new = not Path(path).exists()
            file = open(path, "a", encoding="utf-8", newline="")  # noqa: PTH123 - closed by __exit__
        except (OSError, ValueError) as error:
            self._close()
            raise ConfigError(_cannot_write(path, error)) from None
        if is_new:
            self._created.add(path)
        return file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        for path, file in self._files.items():
            if path != "-":
                with suppress(OSError):  # what could not be written was told
                    file.close()
        for path in self._created:
            with suppress(OSError):
                Path(path).unlink()

    def write(self, path: str, write: Callable[[TextIO], None]) -> None:
        """Write the file at `path`, if there is one, with what `write` gives; a failure is kept for check()."""
        if not path:
            return
        text = io.StringIO(newline="")
        write(text)
        file = self._files[path]
        try:
            if path != "-" and Path(path).is_file():  # no device, no pipe
                file.truncate(0)
            file.write(text.getvalue())
            file.flush()
            self._created.discard(path)
        except BrokenPipeError as error:
            self._reader_gone = error
        except OSError as error:
            self._failures.append(_cannot_write(path, error))

    def check(self) -> None:
        """Raise OperatorError if a file could not be written, BrokenPipeError if the reader of one has gone."""
        if self._failures:
            raise OperatorError("; ".join(self._failures))
        if self._reader_gone is not None:
            raise self._reader_gone


def _cannot_write(path: str, error: Exception) -> str:
    return f"cannot write {path!r}: {getattr(error, 'strerror', None) or error}"
