"""Stacks of all workers, asked for by the admin's process, and samples as a file for https://www.speedscope.app.

A worker may say anything: all that is taken of its answer is checked to be of its kind.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from time import monotonic
from typing import Any, Final

RATE: Final = 100.0
"""Samples a second."""

PATIENCE: Final = 3.0
"""Seconds that a worker may be late."""

MOST: Final = 16 << 20
"""Bytes of an answer."""


def ask(folder: str, workers: Iterable[tuple[int, int]], request: str, seconds: float = 0.0) -> list[dict[str, Any]]:
    """Ask all workers at once; return {place, pid, answer} of each, or {place, pid, error}.

    workers  (place, pid)
    seconds  that the answer takes
    """
    found: list[dict[str, Any]] = []
    with ExitStack() as stack:
        asked = []
        for place, pid in workers:
            peer = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            peer.settimeout(PATIENCE)
            try:
                peer.connect(os.path.join(folder, str(place)))  # noqa: PTH118
                peer.sendall(request.encode())
                asked.append((place, pid, peer))
            except OSError as error:
                found.append({"place": place, "pid": pid, "error": f"it cannot be asked: {error.strerror or error}"})
        until = monotonic() + seconds + PATIENCE
        for place, pid, peer in asked:
            try:
                found.append({"place": place, "pid": pid, "answer": _received(peer, until)})
            except (OSError, ValueError):
                text = "it has not answered: all its threads wait for one that keeps the interpreter"
                found.append({"place": place, "pid": pid, "error": text})
    return sorted(found, key=lambda each: int(each["place"]))


def _received(peer: socket.socket, until: float) -> Any:
    data = bytearray()
    while True:
        peer.settimeout(max(0.01, until - monotonic()))
        piece = peer.recv(65536)
        if not piece:
            return json.loads(data)
        data += piece
        if len(data) > MOST:
            raise ValueError("too long")


def speedscope(found: Iterable[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return samples of workers, as ask() gives them, in speedscope's file format: a profile for each thread.

    https://www.speedscope.app/file-format-schema.json. Threads that used most CPU time come first; a name has the
    worker, the thread and that time.
    """
    frames: dict[tuple[str, str, int], int] = {}
    profiles: list[tuple[float, dict[str, Any]]] = []
    for worker in found:
        try:
            profiles += _profiles(worker, frames)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            continue
    shared = [{"name": function, "file": file, "line": line} for function, file, line in frames]
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "name": name,
        "exporter": "allcomers",
        "activeProfileIndex": 0,
        "shared": {"frames": shared},
        "profiles": [profile for _, profile in sorted(profiles, key=lambda each: -each[0])],
    }


def _profiles(worker: dict[str, Any], frames: dict[tuple[str, str, int], int]) -> list[tuple[float, dict[str, Any]]]:
    answer = worker["answer"]
    step = float(answer["seconds"]) / max(1, int(answer["samples"]))
    own = [(str(function), str(file), int(line)) for function, file, line in answer["frames"]]
    numbers = [frames.setdefault(frame, len(frames)) for frame in own]
    made = []
    for thread in answer["threads"]:
        samples = [[numbers[int(at)] for at in stack] for stack, _ in thread["stacks"]]
        weights = [int(count) * step for _, count in thread["stacks"]]
        cpu = float(thread["cpu"])
        title = f"worker {worker['place']} ({worker['pid']}), {thread['name']}: {cpu:.2f} s of CPU"
        made.append((cpu, {
            "type": "sampled", "name": title, "unit": "seconds", "startValue": 0, "endValue": sum(weights),
            "samples": samples, "weights": weights,
        }))  # fmt: skip
    return made
