"""Make all media of the example site, and the pictures of docs/design.md, from their sources in this folder.

    python3 -m venv /tmp/media && /tmp/media/bin/pip install fonttools[woff] skia-pathops skia-python
    /tmp/media/bin/python examples/media/make.py             # font, pictures, diagrams, film (needs ffmpeg), siblings
    /tmp/media/bin/python examples/media/make.py siblings    # only .gz and .br beside the texts, after a change to one
    python3 examples/media/make.py design                    # only the pictures of docs/design.md; needs nothing
    python3 examples/media/make.py check                     # fail if a .gz sibling or such a picture is stale

The products are kept in the repository, so nobody needs this to run or to read the site.
"""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import design

SITE = Path(__file__).resolve().parent.parent / "site"
DESIGN = Path(__file__).resolve().parents[2] / "docs" / "images" / "design"
PACKED = (".css", ".js", ".html", ".svg")
SMALLEST = 1400
"""Bytes of a text that fit in one packet anyway, so that packing it would gain nothing."""


def texts() -> Iterator[Path]:
    for path in sorted(SITE.rglob("*")):
        if path.suffix in PACKED and path.stat().st_size >= SMALLEST:
            yield path


def siblings() -> None:
    """Write .gz and .br beside each text, as old as the text itself, so that a later change shows."""
    import brotli

    for path in texts():
        text, times = path.read_bytes(), path.stat()
        for suffix, packed in (
            (".gz", gzip.compress(text, 9, mtime=0)),
            (".br", brotli.compress(text, quality=11)),
        ):
            sibling = path.with_name(path.name + suffix)
            sibling.write_bytes(packed)
            os.utime(sibling, ns=(times.st_atime_ns, times.st_mtime_ns))


def check() -> None:
    """End with 1 and the names of stale files: .gz siblings of another text, pictures that are drawn otherwise."""
    stale = [
        str(path.relative_to(SITE))
        for path in texts()
        if not (packed := path.with_name(path.name + ".gz")).exists()
        or gzip.decompress(packed.read_bytes()) != path.read_bytes()
    ]
    if stale:
        raise SystemExit(f"stale siblings, run `make.py siblings`: {', '.join(stale)}")
    if old := design.stale(DESIGN):
        raise SystemExit(f"stale pictures, run `make.py design`: {', '.join(old)}")


def draw_design() -> None:
    design.save(DESIGN)


def everything() -> None:
    import film
    import lanes
    import pictures
    import turnstile

    for folder in ("css", "fonts", "img", "js", "video"):
        (SITE / folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        face = Path(scratch) / "turnstile.ttf"
        turnstile.save(SITE / "fonts" / "turnstile.woff2", face)
        pictures.save(SITE)
        lanes.save(SITE / "img" / "models")
        film.save(SITE / "video", SITE / "img" / "poster.webp", face)
    siblings()
    draw_design()


if __name__ == "__main__":
    {"siblings": siblings, "design": draw_design, "check": check}.get(" ".join(sys.argv[1:]), everything)()
