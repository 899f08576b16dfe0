"""Four apps whose calls differ; a different model is right for each:

    allcomers lab examples/calls.py:AtOnce     nothing to speak of
    allcomers lab examples/calls.py:Waits      it waits 10 ms, as for a database
    allcomers lab examples/calls.py:Works      it works for 5 ms or so
    allcomers lab examples/calls.py:Mixed      mostly the first, sometimes the second, seldom the third

docs/lab.md has the verdict of the lab on each.
"""

from __future__ import annotations

import itertools
import time

import allcomers

_STEPS = 60_000
"""Additions that take some 5 ms of CPU."""

_TEXT = "Hello, World!"


class AtOnce(allcomers.Web):
    def get(self, request: allcomers.Request) -> str:
        return _TEXT


class Waits(allcomers.Web):
    def get(self, request: allcomers.Request) -> str:
        time.sleep(0.01)
        return _TEXT


class Works(allcomers.Web):
    def get(self, request: allcomers.Request) -> str:
        return f"{sum(number * number for number in range(_STEPS))}\n"


_turn = itertools.count()


class Mixed(allcomers.Web):
    def get(self, request: allcomers.Request) -> str:
        turn = next(_turn)  # one at a time, also for threads
        if turn % 100 == 99:
            return f"{sum(number * number for number in range(_STEPS))}\n"
        if turn % 10 == 9:
            time.sleep(0.01)
        return _TEXT
