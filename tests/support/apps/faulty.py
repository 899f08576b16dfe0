"""What test_faults.py has served."""

from __future__ import annotations

import os
import time
from pathlib import Path

from allcomers import Delimited, Request, Response, Service, Site, routes
from support.apps import marked

HERE = Path(os.environ.get("FAULTY_FILES", "."))


def wait(request: Request) -> Response:
    """Leave a mark, and answer when the test opens the gate."""
    (HERE / f"begun-{request.query}").touch()
    while not (HERE / "gate").exists():
        time.sleep(0.005)
    return Response(b"waited")


app = routes({"/files/": Site(HERE), "/wait": wait, "/": marked.app})


class Greeter(Service):
    framing = Delimited(b"\n")

    def connected(self) -> bytes:
        return b"hello" * 100

    def request(self, data: bytes) -> bytes:
        return data
