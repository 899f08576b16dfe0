"""The journal: a line of JSON for each step of the work, on disk before the next one starts.

    {"kind": "begin", ...}    the settings, which must be the same to resume; and a seed for the order of all
    {"kind": "probe", ...}    the cost of one call
    {"kind": "stage", ...}    a plan
    {"kind": "trial", ...}    a complete trial
    {"kind": "end"}           all is done

An incomplete line, the last of a lab that was killed, is ignored. A journal has a name of its own until all is done, so
that those of a finished lab, which stands in the same folder, stay until there is another to take their place.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from allcomers.errors import ConfigError

VERSION: Final = 2
NAME: Final = "journal.jsonl"
UNFINISHED: Final = "unfinished.jsonl"


class Journal:
    """A journal in `folder`, which is made. One lab at a time has it. Closed without a trial, it leaves all as it was.

    settings  what identifies the experiment, in JSON's types
    resume    continue the experiment that is unfinished there; if none is, read the finished one

    Raises ConfigError: another lab has it, the experiment to resume is a different one, or a file is no journal.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], *, resume: bool) -> None:
        self.folder = folder
        self.kept: Path | None = None
        """The file of an unfinished experiment that another one has taken the place of; None if there was none."""
        self._made = [path for path in (folder, *folder.parents) if not path.exists()]
        self._path = folder / UNFINISHED
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise ConfigError(f"{folder}: {error.strerror}") from None
        try:
            self._lock()
            self.records = self._begin(settings, resume)
        except BaseException:
            os.close(self._folder)
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{self.folder}: another lab writes there; --out names another folder") from None

    def _begin(self, settings: dict[str, Any], resume: bool) -> list[dict[str, Any]]:
        """Open the file; return its records."""
        settings = {"kind": "begin", "version": VERSION, **settings}
        finished = _read(self.folder / NAME)[0]
        unfinished, whole = _read(self._path)
        if resume and not unfinished and finished:
            self._path = self.folder / NAME
            unfinished, whole = _read(self._path)
        if resume and unfinished:
            if differing := [name for name in settings if settings[name] != unfinished[0].get(name)]:
                raise ConfigError(
                    f"{self.folder} has another experiment (it differs in {', '.join(differing)}): --out, or no"
                    " --resume"
                )
            self._file = self._open("r+b")
            self._file.truncate(whole)
            self._file.seek(whole)
            return unfinished
        if any(record["kind"] == "trial" for record in unfinished):
            self.kept = self._aside()
        self._file = self._open("wb")
        self.records = []
        self.add({**settings, "seed": secrets.randbelow(1 << 32)})
        return self.records

    def _open(self, mode: str) -> IO[bytes]:
        try:
            return self._path.open(mode)
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror}") from None

    def _aside(self) -> Path:
        """Give the unfinished experiment another name, and return that."""
        stem = self._path.with_suffix("")
        path = next(path for number in count(1) if not (path := Path(f"{stem}-{number}.jsonl")).exists())
        return self._path.rename(path)

    def finish(self) -> None:
        """Write that all is done; from now on the journal is that of the folder."""
        if self.find("end") is None:
            self.add({"kind": "end"})
        self._path = self._path.rename(self.folder / NAME)

    def add(self, record: dict[str, Any]) -> None:
        """Write a record to disk."""
        self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records.append(record)

    def find(self, kind: str, **fields: Any) -> dict[str, Any] | None:
        """Return the first record of a kind that has these fields."""
        return next(
            (
                record
                for record in self.records
                if record["kind"] == kind and all(record.get(name) == value for name, value in fields.items())
            ),
            None,
        )

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["kind"] == kind]

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if not self.all("trial") and not self.find("end"):
            self._path.unlink(missing_ok=True)
            if self.kept:
                self.kept.rename(self._path)
            for path in self._made:
                with suppress(OSError):  # it has something else by now
                    path.rmdir()
        os.close(self._folder)


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the complete lines of a journal, and their bytes; none of a file that does not exist.

    Raises ConfigError.
    """
    records: list[dict[str, Any]] = []
    whole = 0
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    for line in lines:
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
            record["kind"]
        except (ValueError, TypeError, KeyError):
            raise ConfigError(f"{path} is no journal of a lab: --out names another folder") from None
        records.append(record)
        whole += len(line)
    return records, whole
