"""A server with one of the applications, in a copy of their folder, until it is stopped."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from bench.applications.table import APPS, Application, Contender, environment
from bench.support.harness import CannotMeasureError

PATIENCE = 40.0
"""Seconds for a server to start; Gradio's import alone takes ten on a busy machine."""


class Served:
    """One application under one server.

    folder  the copy of the applications that it serves
    url     of its root
    """

    def __init__(
        self, app: Application, contender: Contender, python: Path, *, reload: bool = False, hup: bool = False
    ) -> None:
        self.app = app
        self._scratch = Path(tempfile.mkdtemp(prefix=f"app-{app.name}-"))
        self.folder = self._scratch / "apps"
        shutil.copytree(APPS, self.folder, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3"))
        self._python = python
        self.env = environment(self.folder)
        if app.name == "django":
            self._migrate()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self._scratch / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(python), *contender.command(app, self.port, reload, hup)],
                cwd=self.folder,
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _migrate(self) -> None:
        for command in (
            ["migrate", "--run-syncdb", "--verbosity", "0"],
            ["createsuperuser", "--noinput", "--username", "admin", "--email", "a@example.org", "--verbosity", "0"],
        ):
            subprocess.run(
                [str(self._python), "-m", "django", *command], cwd=self.folder, env=self.env, check=True, timeout=120
            )

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                if self.get("/version", 2.0)[0] == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            if self.process.poll() is not None or time.monotonic() > until:
                raise CannotMeasureError(f"did not start: {self.tail()}")
            time.sleep(0.05)

    def get(self, path: str, timeout: float = 10.0) -> tuple[int, str]:
        """Return the status and the text of a response, on a new connection. Raises OSError, HTTPException."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace").strip().strip('"')
        finally:
            connection.close()

    def tail(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return " / ".join(lines[-3:])[-300:]

    def send(self, signum: int) -> None:
        os.kill(self.process.pid, signum)

    def stop(self) -> None:
        """End the server and its children, if they have not ended by themselves."""
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5.0)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # a session of its own: nobody else is in it
        self.process.wait()
        shutil.rmtree(self._scratch, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
