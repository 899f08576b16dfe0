"""The pictures: ten thousand connections as dots, the icons, and the mark (a turnstile seen from above).

This file knows how they are drawn with skia-python. Chance plays no part: the bright dots are chosen by a fixed rule.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from math import cos, pi, sin
from pathlib import Path

import skia

COLUMNS, ROWS, CELL = 200, 50, 8
ACTIVE = 137
"""Of the ten thousand, the number that is drawn bright."""

MARK = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">
<style>.hub{fill:#12232e}@media (prefers-color-scheme:dark){.hub{fill:#e8eff3}}</style>
<g fill="none" stroke-width="11" stroke-linecap="round">
<path d="M32 32V8" stroke="#0f9c92"/>
<path d="M32 32L52.8 44" stroke="#e0960c"/><path d="M32 32L11.2 44" stroke="#d3315c"/>
</g><circle class="hub" cx="32" cy="32" r="10"/></svg>
"""


def crowd(path: Path) -> None:
    """10,000 dots, 200 in each of 50 rows; the bright ones send a request at this moment."""
    surface = skia.Surface(COLUMNS * CELL, ROWS * CELL)
    canvas = surface.getCanvas()
    canvas.clear(0xFF0D161D)
    idle = skia.Paint(AntiAlias=True, Color=0xFF3A5261)
    bright = skia.Paint(AntiAlias=True, Color=0xFF3CC9BA)
    halo = skia.Paint(AntiAlias=True, Color=0x333CC9BA)
    by_hash = sorted(range(COLUMNS * ROWS), key=lambda number: sha256(str(number).encode()).digest())
    chosen = set(by_hash[:ACTIVE])
    for number in range(COLUMNS * ROWS):
        row, column = divmod(number, COLUMNS)
        x, y = (column + 0.5) * CELL, (row + 0.5) * CELL
        if number in chosen:
            canvas.drawCircle(x, y, 7.5, halo)
        canvas.drawCircle(x, y, 3.4 if number in chosen else 2.0, bright if number in chosen else idle)
    surface.makeImageSnapshot().save(str(path), skia.kPNG)


def icon(size: int) -> bytes:
    """The mark as a PNG on a dark tile, which any browser bar can show."""
    surface = skia.Surface(size, size)
    canvas = surface.getCanvas()
    canvas.clear(0)
    canvas.scale(size / 64, size / 64)
    canvas.drawRoundRect(skia.Rect(0, 0, 64, 64), 13, 13, skia.Paint(AntiAlias=True, Color=0xFF0D161D))
    for angle, color in ((-90, 0xFF3CC9BA), (30, 0xFFF2B134), (150, 0xFFFF6F8F)):
        pen = skia.Paint(AntiAlias=True, Color=color, Style=skia.Paint.kStroke_Style, StrokeWidth=10)
        pen.setStrokeCap(skia.Paint.kRound_Cap)
        canvas.drawLine(32, 34, 32 + 20 * cos(angle * pi / 180), 34 + 20 * sin(angle * pi / 180), pen)
    canvas.drawCircle(32, 34, 9, skia.Paint(AntiAlias=True, Color=0xFFE8EFF3))
    return bytes(surface.makeImageSnapshot().encodeToData(skia.kPNG, 100))


def ico(path: Path, sizes: tuple[int, ...] = (16, 32, 48)) -> None:
    """An .ico that holds one PNG of each size."""
    images = [icon(size) for size in sizes]
    offset = 6 + 16 * len(sizes)
    entries = b""
    for size, image in zip(sizes, images, strict=True):
        entries += struct.pack("<BBBBHHII", size, size, 0, 0, 1, 32, len(image), offset)
        offset += len(image)
    path.write_bytes(struct.pack("<HHH", 0, 1, len(sizes)) + entries + b"".join(images))


def save(site: Path) -> None:
    crowd(site / "img" / "crowd.png")
    ico(site / "favicon.ico")
    (site / "img" / "touch-icon.png").write_bytes(icon(180))
    (site / "favicon.svg").write_text(MARK, encoding="utf-8")
