"""The journal: a line of JSON for each step of the work, on disk before the next one starts.

    {"kind": "begin", ...}    the settings, which must be the same to resume; and a seed for the order of all
    {"kind": "probe", ...}    the cost of one call
    {"kind": "stage", ...}    a plan
    {"kind": "trial", ...}    a complete trial
    {"kind": "end"}           all is done

An incomplete line, the last of a lab that was killed, is ignored.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from allcomers.errors import ConfigError

VERSION: Final = 1
NAME: Final = "journal.jsonl"


class Journal:
    """A journal in `folder`, which is made. One lab at a time has it.

    settings  what identifies the experiment, in JSON's types
    resume    continue the experiment in the journal

    Raises ConfigError: another lab has it, the experiment in it is unfinished and is not resumed, or is a different
    one, or the file is no journal.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], *, resume: bool) -> None:
        self.folder = folder
        path = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = path.open("r+b" if path.exists() else "w+b")
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        try:
            self._lock()
            self.records = self._read()
            self._start(settings, resume)
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{self.folder}: another lab writes there; --out names another folder") from None

    def _start(self, settings: dict[str, Any], resume: bool) -> None:
        settings = {"kind": "begin", "version": VERSION, **settings}
        if not resume:
            if self.records and not self.find("end"):
                raise ConfigError(
                    f"{self.folder} has an experiment that was not finished: --resume continues it,"
                    " --out names another folder"
                )
            self.records = []
        if not self.records:
            self._file.seek(0)
            self._file.truncate()
            self.add({**settings, "seed": secrets.randbelow(1 << 32)})
        elif differing := [name for name in settings if settings[name] != self.records[0].get(name)]:
            raise ConfigError(
                f"{self.folder} has another experiment (it differs in {', '.join(differing)}): --out, or no --resume"
            )

    def _read(self) -> list[dict[str, Any]]:
        """Return all complete lines; truncate the file after the last of them."""
        records = []
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                record = json.loads(line)
                record["kind"]
            except (ValueError, TypeError, KeyError):
                raise ConfigError(f"{self.folder / NAME} is no journal of a lab: --out names another folder") from None
            records.append(record)
            whole += len(line)
        self._file.seek(whole)
        self._file.truncate()
        return records

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
