"""Entries of left_out.toml and the tests that they mean. For the runner and for the processes of the suites."""

from __future__ import annotations


def means(entry: str, nodeid: str) -> bool:
    """Return True if `entry` is this test, its file or folder, or a parameter of it."""
    if entry.startswith("param:"):
        parameters = nodeid.partition("[")[2].removesuffix("]").split("-")
        return entry.removeprefix("param:") in parameters
    return nodeid == entry or nodeid.startswith((entry + "[", entry + "::", entry + "/"))


def reason(entries: list[tuple[str, str]], nodeid: str) -> str:
    """Return the reason of the first entry that means this test; "" for none."""
    return next((why for entry, why in entries if means(entry, nodeid)), "")
