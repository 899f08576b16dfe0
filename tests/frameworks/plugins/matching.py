"""Whether an entry of left_out.toml means a test. Imported by the runner and within the suites' processes."""

from __future__ import annotations


def means(entry: str, nodeid: str) -> bool:
    """Whether `entry` is this test, all parameters of it, a file or folder that it is in, or a parameter that it has."""
    if entry.startswith("param:"):
        parameters = nodeid.partition("[")[2].removesuffix("]").split("-")
        return entry.removeprefix("param:") in parameters
    return nodeid == entry or nodeid.startswith((entry + "[", entry + "::", entry + "/"))


def reason(entries: list[tuple[str, str]], nodeid: str) -> str:
    """The reason of the first entry that means this test; "" for none."""
    return next((why for entry, why in entries if means(entry, nodeid)), "")
