"""Stacks and samples of all workers, for the operator on this machine: with --profile only.

Pages of other sites can neither read them (Cross-Origin-Resource-Policy) nor have them taken (Sec-Fetch-Site).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from allcomers.apps.web import Web
from allcomers.errors import HttpError
from allcomers.protocol.message import Request, Response
from allcomers.server.admin import page
from allcomers.server.admin.snapshot import snapshot
from allcomers.server.diagnostics import profiles
from allcomers.system.counters import CounterBoard

_PAGE, _POLICY = page.assembled(Path(__file__).parent / "profile_page")

SECONDS: Final = 10
LONGEST: Final = 60


def pages(board: CounterBoard, folder: str) -> dict[str, Web]:
    """Return what is served, by path. `folder` has the workers' sockets."""

    def workers() -> list[tuple[int, int]]:
        return [(worker.place, worker.pid) for worker in snapshot(board).workers if worker.state != "free"]

    return {
        "/profile": ProfilePage(),
        "/stacks.json": Stacks(folder, workers),
        "/profile.json": Profile(folder, workers),
    }


class ProfilePage(Web):
    def get(self, request: Request) -> Response:
        fields = [("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", _POLICY)]
        return Response(_PAGE, headers=fields)


class Stacks(Web):
    def __init__(self, folder: str, workers: Callable[[], list[tuple[int, int]]]) -> None:
        self._folder = folder
        self._workers = workers

    def get(self, request: Request) -> Response:
        _refuse_other_sites(request)
        found = profiles.ask(self._folder, self._workers(), "stacks")
        return Response(_json({"time": time.time(), "workers": found}), headers=[("Content-Type", "application/json")])


class Profile(Web):
    """One at a time: each slows the workers a little."""

    def __init__(self, folder: str, workers: Callable[[], list[tuple[int, int]]]) -> None:
        self._folder = folder
        self._workers = workers
        self._turn = threading.Lock()

    def get(self, request: Request) -> Response:
        _refuse_other_sites(request)
        text = request.args.get("seconds", str(SECONDS))
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= LONGEST):
            raise HttpError(400, f"seconds: a number from 1 to {LONGEST}")
        if not self._turn.acquire(blocking=False):
            raise HttpError(503, "Samples are being taken already.", headers=[("Retry-After", text)])
        try:
            seconds = int(text)
            found = profiles.ask(self._folder, self._workers(), f"sample {seconds} {profiles.RATE}", seconds)
        finally:
            self._turn.release()
        moment = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime())
        fields = [
            ("Content-Type", "application/json"),
            ("Content-Disposition", f'attachment; filename="allcomers-{moment}.speedscope.json"'),
        ]
        return Response(_json(profiles.speedscope(found, f"allcomers {moment}")), headers=fields)


def _refuse_other_sites(request: Request) -> None:
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise HttpError(403, "Another site's page may not ask for this.")


def _json(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()
