"""The journal of a comparison: a file to which each finished round is added, so that a run can go on where one ended.

Each line is a JSON object of one kind: `run`, its circumstances; `round`, the samples of one round of a workload;
`instructions`, those of a way. A last line that was cut off, by a kill or a full disk, is ignored, and so is its round.
"""

import json
import os
from pathlib import Path
from typing import Any

from bench.support.harness import CannotMeasureError

Record = dict[str, Any]

SAME = ("commit", "python", "cpu", "seconds")
"""Of the circumstances, those that must not change: figures of two programs or two machines are not compared."""


class Journal:
    """The records in `folder`/journal.jsonl."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.jsonl"
        self.records: list[Record] = []
        self._size = 0  # of the whole lines
        if self.path.exists():
            lines = [line for line in self.path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
            self.records = [json.loads(line) for line in lines]
            self._size = sum(map(len, lines))

    def of(self, kind: str) -> list[Record]:
        return [record[kind] for record in self.records if kind in record]

    def begin(self, run: Record) -> None:
        """Add the circumstances of a run. Raises CannotMeasureError if the journal is of another program or machine."""
        for before in self.of("run")[:1]:
            if changed := [f"{key} {before[key]}, now {run[key]}" for key in SAME if before[key] != run[key]]:
                raise CannotMeasureError(f"{self.path} has figures of {'; '.join(changed)}: name another --out")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            os.truncate(self.path, self._size)
        self.add("run", run)

    def add(self, kind: str, record: Record) -> None:
        """Add a record, and have the disk keep it."""
        self.records.append({kind: record})
        with self.path.open("a") as file:
            file.write(json.dumps({kind: record}) + "\n")
            file.flush()
            os.fsync(file.fileno())
