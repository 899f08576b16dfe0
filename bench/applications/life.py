"""HUP, --reload and TERM while an application is busy.

Each function returns the faults that clients met, in words.
"""

from __future__ import annotations

import http.client
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.applications.served import Served
from bench.applications.table import Application, Contender

SLOW = 1.5
"""Seconds that /slow takes."""

PATIENCE = 20.0
"""Seconds for anything here."""


class Busy:
    """Clients with something open: a slow request, a WebSocket, a stream of events."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._slow: tuple[int, str] | str = "no answer"
        self._socket_end = ""
        self._events_end = ""
        app = served.app
        tasks: list[Callable[[], None]] = [self._ask]
        self._open: list[threading.Event] = []
        if app.echo:
            tasks.append(self._talk)
        if app.events:
            tasks.append(self._listen)
        self._threads = [threading.Thread(target=task, daemon=True) for task in tasks]
        for thread in self._threads:
            thread.start()
        for opened in self._opened():
            opened.wait(PATIENCE)
        time.sleep(0.3)  # the slow request is in the app: it lasts five times as long

    def _opened(self) -> list[threading.Event]:
        until = time.monotonic() + 1.0
        while len(self._open) < len(self._threads) - 1 and time.monotonic() < until:
            time.sleep(0.01)
        return list(self._open)

    def _ask(self) -> None:
        try:
            self._slow = self._served.get("/slow", PATIENCE)
        except (OSError, http.client.HTTPException) as error:
            self._slow = f"{type(error).__name__}: {error}"

    def _talk(self) -> None:
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import connect

        opened = threading.Event()
        self._open.append(opened)
        try:
            with connect(f"ws://127.0.0.1:{self._served.port}{self._served.app.echo}", ping_interval=None) as ws:
                ws.send("hello")
                ws.recv(PATIENCE)
                opened.set()
                ws.recv(PATIENCE)
        except ConnectionClosed as closed:
            self._socket_end = str(closed.rcvd.code) if closed.rcvd is not None else "without a close frame"
        except Exception as error:
            self._socket_end = f"{type(error).__name__}: {error}"
        finally:
            opened.set()

    def _listen(self) -> None:
        opened = threading.Event()
        self._open.append(opened)
        connection = http.client.HTTPConnection("127.0.0.1", self._served.port, timeout=PATIENCE)
        try:
            connection.request("GET", self._served.app.events)
            answer = connection.getresponse()
            answer.readline()
            opened.set()
            while answer.read1(65536):
                pass
            self._events_end = "whole"
        except (OSError, http.client.HTTPException) as error:
            self._events_end = type(error).__name__
        finally:
            opened.set()
            connection.close()

    def faults(self, *, all_end: bool) -> list[str]:
        """Return the faults that these clients met. `all_end`: the server stops, so everything must end."""
        for thread in self._threads[: None if all_end else 1]:
            thread.join(PATIENCE + 1)
        found = []
        if self._slow != (200, "whole"):
            found.append(f"the slow request: {self._slow}")
        if all_end and self._served.app.echo and self._socket_end not in ("1001", "1012", "1000"):
            found.append(f"the WebSocket ended: {self._socket_end or 'not at all'}")
        if all_end and self._served.app.events and self._events_end != "whole":
            found.append(f"the event stream ended: {self._events_end or 'not at all'}")
        return found


class Hammer:
    """A client that requests /version again and again, on a new connection each time."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._stopped = threading.Event()
        self.count = 0
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                status, _ = self._served.get("/version")
                if status != 200:
                    self.failures.append(str(status))
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(type(error).__name__)
            self.count += 1
            self._stopped.wait(0.02)

    def stop(self) -> list[str]:
        self._stopped.set()
        self._thread.join(PATIENCE)
        if not self.failures:
            return []
        return [f"{len(self.failures)} of {self.count} requests failed: {self.failures[0]}"]


def hup(app: Application, contender: Contender, python: Path) -> list[str]:
    """Send HUP: the workers must be replaced, and no request fail."""
    served = Served(app, contender, python, hup=True)
    try:
        busy, hammer = Busy(served), Hammer(served)
        before = children(served.process.pid)
        served.send(signal.SIGHUP)
        found = busy.faults(all_end=False)
        replaced = wait(lambda: bool(children(served.process.pid) - before) or served.process.poll() is not None)
        time.sleep(1.0)  # the hammer goes on a moment after that
        found += hammer.stop()
        if served.process.poll() is not None:
            found.append(f"the server ended with {served.process.returncode}")
        elif not replaced:
            found.append("no worker was replaced")
        return found
    finally:
        served.stop()


def reload(app: Application, contender: Contender, python: Path) -> list[str]:
    """Change a file of the app under --reload: the change must be served, and the slow request be finished."""
    served = Served(app, contender, python, reload=True)
    try:
        busy = Busy(served)
        file = served.folder / app.edited
        file.write_text(file.read_text().replace('VERSION = "one"', 'VERSION = "two"'))
        changed = wait(lambda: version(served) == "two")
        found = busy.faults(all_end=False)
        if not changed:
            found.append(f"the change is not served after {PATIENCE:g} s")
        return found
    finally:
        served.stop()


def term(app: Application, contender: Contender, python: Path) -> list[str]:
    """Send TERM: the slow request must be finished, open streams be ended, and the server stop."""
    served = Served(app, contender, python)
    try:
        busy = Busy(served)
        served.send(signal.SIGTERM)
        started = time.monotonic()
        try:
            status = served.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return [*busy.faults(all_end=False), f"it still runs {PATIENCE:g} s after TERM"]
        found = busy.faults(all_end=True)
        if status not in (0, -signal.SIGTERM):
            found.append(f"exit status {status}")
        if time.monotonic() - started > PATIENCE / 2:
            found.append(f"it took {time.monotonic() - started:.0f} s")
        return found
    finally:
        served.stop()


def version(served: Served) -> str:
    try:
        return served.get("/version")[1]
    except (OSError, http.client.HTTPException):
        return ""


def wait(condition: Callable[[], bool], patience: float = PATIENCE) -> bool:
    until = time.monotonic() + patience
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def children(pid: int) -> set[int]:
    try:
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:
        return set()
