"""Entity tags, compared (RFC 9110 section 8.8.3.2)."""

from __future__ import annotations

from collections.abc import Iterator


def matches(field: str, etag: str, *, weak: bool) -> bool:
    """Return True if a list of tags, as If-None-Match has it, has `etag`, which is strong and quoted; a weak one (W/)
    of the list counts only where `weak`."""
    if field.strip(" \t") == "*":
        return True
    return any(tag == etag and (weak or not is_weak) for tag, is_weak in _tags(field))


def _tags(field: str) -> Iterator[tuple[str, bool]]:
    """Yield (an entity tag with its quotes, True if it is weak). One pass: a tag cannot hold a quote."""
    parts = field.split('"')
    for before, tag, _after in zip(parts[0::2], parts[1::2], parts[2::2], strict=False):  # an unclosed one is none
        yield f'"{tag}"', before.endswith("W/")
