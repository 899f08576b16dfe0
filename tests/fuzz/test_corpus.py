"""What fuzzing has found so far, and the bytes that it began with: each must pass the check of its target."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus(name: str) -> None:
    found = sorted((Path(__file__).parent / "corpus" / name).iterdir())
    assert found
    for data in [*TARGETS[name].seeds, *(path.read_bytes() for path in found)]:
        TARGETS[name].check(data)
