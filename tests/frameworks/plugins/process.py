"""`allcomers run TARGET` as a process, for suites whose server may be one."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import wire


class Process:
    """Until stop(). `url` is that of its first address."""

    def __init__(self, target: str, *options: str) -> None:
        self._errors = tempfile.NamedTemporaryFile(prefix="wire-", suffix=".stderr")
        model = ["--model", wire.MODEL] if wire.MODEL else []
        command = [sys.executable, "-m", "allcomers", "run", target, "--bind", "127.0.0.1:0", *model, *options]
        self._process = subprocess.Popen(command, stderr=self._errors)
        until = time.monotonic() + wire.PATIENCE
        while not (found := re.search(r"Listening at: (\w+)://(\S+:\d+)", self._said())):
            if time.monotonic() > until or self._process.poll() is not None:
                raise TimeoutError(self._said())
            time.sleep(0.01)
        self.url = f"{found[1]}://{found[2]}"

    def _said(self) -> str:
        return Path(self._errors.name).read_text()

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(wire.PATIENCE)
        finally:
            self._process.kill()
            self._errors.close()
