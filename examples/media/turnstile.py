"""Turnstile, the display face of the example site: letters drawn as one pen stroke along straight lines and arcs.

This file knows the letters. A glyph is some strokes, with `;` between them; a stroke is a list of corners `x,y` or
`x,y,r`, where r rounds that corner with an arc of that radius; `z` closes it; one point alone is a dot. The numbers are
the middle of the stroke, in thousandths of an em, from the baseline up: capitals reach 620, small letters 440.
"""

from __future__ import annotations

from math import cos, hypot, pi, sin
from pathlib import Path

import pathops
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

PEN = 94
SIDE = 52
"""Free space on each side of a letter."""

DOT = 112
ROUND = 0.5523
"""How far along its tangents a cubic curve has its handles to look like a quarter of a circle."""

BOWL = "0,0,180 0,440,180 360,440,180 360,0,180 z"


def dot(x: float, y: float) -> str:
    """A stroke of one point: a circle a little wider than the pen."""
    return f"{x},{y}"


GLYPHS = {
    "A": "0,0 225,620 450,0; 72,190 378,190",
    "B": "0,0 0,620 375,620,150 375,320,150 0,320; 200,320 410,320,160 410,0,160 0,0",
    "C": "415,440 415,620,205 0,620,205 0,0,205 415,0,205 415,180",
    "D": "0,0 0,620 420,620,210 420,0,210 0,0 z",
    "E": "370,620 0,620 0,0 370,0; 0,320 310,320",
    "F": "370,620 0,620 0,0; 0,300 310,300",
    "G": "415,450 415,620,205 0,620,205 0,0,205 415,0,205 415,290 250,290",
    "H": "0,0 0,620; 420,0 420,620; 0,320 420,320",
    "I": "0,0 0,620",
    "J": "300,620 300,0,150 0,0,150 0,150",
    "K": "0,0 0,620; 390,620 0,225; 135,362 405,0",
    "L": "0,620 0,0 350,0",
    "M": "0,0 0,620 265,160 530,620 530,0",
    "N": "0,0 0,620 420,0 420,620",
    "O": "0,0,210 0,620,210 420,620,210 420,0,210 z",
    "P": "0,0 0,620 405,620,170 405,270,170 0,270",
    "Q": "0,0,210 0,620,210 420,620,210 420,0,210 z; 270,140 440,-50",
    "R": "0,0 0,620 405,620,170 405,270,170 0,270; 215,270 410,0",
    "S": "400,470 400,620,150 0,620,150 0,320,150 410,320,160 410,0,160 0,0,160 0,155",
    "T": "0,620 440,620; 220,620 220,0",
    "U": "0,620 0,0,210 420,0,210 420,620",
    "V": "0,620 225,0 450,620",
    "W": "0,620 160,0 320,520 480,0 640,620",
    "X": "0,0 420,620; 0,620 420,0",
    "Y": "0,620 220,300 440,620; 220,300 220,0",
    "Z": "0,620 410,620 0,0 410,0",
    "a": "35,440 350,440,150 350,0; 350,262 0,262,131 0,0,131 350,0",
    "b": f"0,0 0,620; {BOWL}",
    "c": "350,315 350,440,160 0,440,170 0,0,170 350,0,160 350,125",
    "d": f"360,0 360,620; {BOWL}",
    "e": "0,215 360,215 360,440,170 0,440,170 0,0,170 350,0,150 350,85",
    "f": "240,620 100,620,110 100,0; 0,440 240,440",
    "g": f"360,440 360,-185,150 20,-185; {BOWL}",
    "h": "0,620 0,0; 0,260 0,440,165 340,440,165 340,0",
    "i": f"0,0 0,440; {dot(0, 625)}",
    "j": f"95,440 95,-185,110 0,-185; {dot(95, 625)}",
    "k": "0,0 0,620; 310,440 0,160; 115,264 330,0",
    "l": "0,620 0,0,95 95,0",
    "m": "0,440 0,0; 0,280 0,440,140 275,440,135 275,0; 275,280 275,440,140 550,440,135 550,0",
    "n": "0,440 0,0; 0,260 0,440,165 340,440,165 340,0",
    "o": BOWL,
    "p": f"0,440 0,-190; {BOWL}",
    "q": f"360,440 360,-190; {BOWL}",
    "r": "0,440 0,0; 0,250 0,440,150 230,440",
    "s": "318,340 318,440,110 0,440,110 0,225,110 330,225,112 330,0,112 0,0,110 0,100",
    "t": "100,590 100,0,110 240,0; 0,440 240,440",
    "u": "0,440 0,0,165 340,0,165 340,180; 340,440 340,0",
    "v": "0,440 180,0 360,440",
    "w": "0,440 135,0 270,360 405,0 540,440",
    "x": "0,0 340,440; 0,440 340,0",
    "y": "0,440 180,0; 360,440 105,-190",
    "z": "0,440 330,440 0,0 335,0",
    "0": "0,0,190 0,620,190 380,620,190 380,0,190 z",
    "1": "0,490 160,620 160,0",
    "2": "0,455 0,620,180 375,620,180 375,350,150 0,0 390,0",
    "3": "0,620 360,620,150 360,320,150 150,320; 150,320 385,320,160 385,0,160 0,0,150 0,115",
    "4": "300,0 300,620 0,165 410,165",
    "5": "360,620 30,620 10,355 385,355,178 385,0,178 0,0,150 0,110",
    "6": "340,620 0,620,190 0,190; 0,0,180 0,370,180 380,370,180 380,0,180 z",
    "7": "0,620 385,620 130,0",
    "8": "20,320,150 20,620,150 370,620,150 370,320,150 z; 0,0,160 0,320,160 390,320,160 390,0,160 z",
    "9": "40,0 380,0,190 380,430; 0,250,180 0,620,180 380,620,180 380,250,180 z",
    ".": dot(0, 0),
    ",": "30,0 0,-110",
    ":": f"{dot(0, 0)}; {dot(0, 345)}",
    ";": f"30,0 0,-110; {dot(25, 345)}",
    "!": f"{dot(0, 0)}; 0,190 0,620",
    "?": f"0,480 0,620,150 340,620,150 340,330,130 165,330,90 165,190; {dot(165, 0)}",
    "'": "0,620 0,480",
    "\u2019": "20,620 0,480",
    '"': "0,620 0,480; 140,620 140,480",
    "-": "0,250 220,250",
    "\u2013": "0,250 400,250",
    "\u2014": "0,250 700,250",
    "+": "0,280 340,280; 170,110 170,450",
    "=": "0,190 340,190; 0,370 340,370",
    "\u00d7": "0,130 280,410; 0,410 280,130",
    "\u2192": "0,280 480,280; 320,440 480,280 320,120",
    "\u00b7": dot(0, 280),
    "\u2026": f"{dot(0, 0)}; {dot(200, 0)}; {dot(400, 0)}",
    "/": "0,-60 260,680",
    "(": "120,680 0,680,220 0,-60,220 120,-60",
    ")": "0,680 120,680,220 120,-60,220 0,-60",
    "*": "0,500 240,500; 60,396 180,604; 180,396 60,604",
    "_": "0,-100 400,-100",
    "#": "100,40 150,580; 290,40 340,580; 20,200 400,200; 40,420 420,420",
    "%": "40,0 440,620; 0,440,80 0,620,80 150,620,80 150,440,80 z; 330,0,80 330,180,80 480,180,80 480,0,80 z",
    "&": "440,0 60,480 60,620,100 310,620,100 310,400 0,270 0,0,150 300,0,120 420,240",
    "<": "300,480 0,270 300,60",
    ">": "0,480 300,270 0,60",
}

NAMES = {character: f"uni{ord(character):04X}" for character in GLYPHS}

Corner = tuple[float, float, float]


def corners(stroke: str) -> tuple[list[Corner], bool]:
    """The corners of one stroke, and whether it closes."""
    words = stroke.split()
    closed = words[-1] == "z"
    points = []
    for word in words[:-1] if closed else words:
        x, y, *radius = (float(part) for part in word.split(","))
        points.append((x, y, radius[0] if radius else 0.0))
    return points, closed


def trace(stroke: str, path: pathops.Path) -> None:
    """Add one stroke's middle line to the path: a line between corners, an arc around each rounded one."""
    points, closed = corners(stroke)
    if closed:  # start and end in the middle of the first side, where no arc begins
        (ax, ay, _), (bx, by, _) = points[0], points[1]
        middle = ((ax + bx) / 2, (ay + by) / 2, 0.0)
        points = [middle, *points[1:], points[0], middle]
    path.moveTo(*points[0][:2])
    for before, (x, y, radius), after in zip(points, points[1:], points[2:], strict=False):
        if radius:
            turn(path, before, (x, y, radius), after)
        else:
            path.lineTo(x, y)
    if closed:
        path.close()
    else:
        path.lineTo(*points[-1][:2])


def turn(path: pathops.Path, before: Corner, corner: Corner, after: Corner) -> None:
    """The arc around a right-angled corner."""
    x, y, radius = corner
    ends = []
    for px, py, other in (before, after):
        length = hypot(px - x, py - y)
        reach = radius * min(1.0, length / (radius + other))
        ends.append((x + (px - x) * reach / length, y + (py - y) * reach / length))
    (ax, ay), (bx, by) = ends
    path.lineTo(ax, ay)
    path.cubicTo(ax + (x - ax) * ROUND, ay + (y - ay) * ROUND, bx + (x - bx) * ROUND, by + (y - by) * ROUND, bx, by)


def disc(point: str, path: pathops.Path) -> None:
    """A dot, of eight curves."""
    (x, y, _), radius, eighth = corners(point)[0][0], DOT / 2, pi / 4
    path.moveTo(x + radius, y)
    for number in range(8):
        handle, end = (number + 0.5) * eighth, (number + 1) * eighth
        far = radius / cos(eighth / 2)
        path.quadTo(x + far * cos(handle), y + far * sin(handle), x + radius * cos(end), y + radius * sin(end))
    path.close()


def outline(strokes: str) -> pathops.Path:
    """The shape that a round pen leaves along the strokes."""
    whole = pathops.Path()
    for stroke in strokes.split(";"):
        inked = pathops.Path()
        if " " in stroke.strip():
            trace(stroke.strip(), inked)
            inked.stroke(PEN, pathops.LineCap.ROUND_CAP, pathops.LineJoin.ROUND_JOIN, 4)
            inked.convertConicsToQuads(0.25)
        else:
            disc(stroke, inked)
        whole.addPath(inked)
    whole.simplify(fix_winding=True, keep_starting_points=False, clockwise=True)
    return whole


def shifted(path: pathops.Path, dx: float, dy: float) -> pathops.Path:
    return path.transform(1, 0, 0, 1, dx, dy)


def build() -> FontBuilder:
    """The font, in memory."""
    builder = FontBuilder(1000, isTTF=True)
    glyphs = {".notdef": TTGlyphPen(None).glyph(), "space": TTGlyphPen(None).glyph()}
    metrics = {".notdef": (500, 0), "space": (250, 0)}
    for character, strokes in GLYPHS.items():
        shape = outline(strokes)
        left, _, right, _ = shape.bounds
        placed = shifted(shape, SIDE - left, PEN / 2)
        pen = TTGlyphPen(None)
        placed.draw(pen)
        glyphs[NAMES[character]] = pen.glyph(round=round)
        metrics[NAMES[character]] = (round(right - left + 2 * SIDE), SIDE)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({32: "space", 160: "space"} | {ord(c): name for c, name in NAMES.items()})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(metrics)
    builder.setupHorizontalHeader(ascent=840, descent=-240)
    builder.setupNameTable(
        {
            "familyName": "Turnstile",
            "styleName": "Regular",
            "copyright": "Copyright 2026 The allcomers authors",
            "licenseDescription": "MIT License",
            "version": "Version 1.000",
        }
    )
    builder.setupOS2(
        sTypoAscender=840, sTypoDescender=-240, usWinAscent=840, usWinDescent=240, sxHeight=534, sCapHeight=714
    )
    builder.setupPost()
    kern(builder)
    # A fixed date, so that the same letters give the same file.
    builder.updateHead(created=3_849_984_000, modified=3_849_984_000)
    builder.font.recalcTimestamp = False
    return builder


KERNING = {"To": -70, "Ta": -70, "Te": -70, "LT": -90, "AT": -60, "TA": -60, "AV": -60, "VA": -60, "Wa": -30}
KERNING |= {"Yo": -60, "r.": -60, "y.": -50, "rt": 10, "ft": -20, "tt": -20, "P.": -90, "T.": -80, "F.": -80}
KERNING |= {"ro": -25, "re": -25, "ra": -15, "ly": -25, "Wh": -5, "vi": -5, "lt": -10, "ll": -12, "lc": -25}


def kern(builder: FontBuilder) -> None:
    pairs = [f"pos {NAMES[a]} {NAMES[b]} {value};" for (a, b), value in KERNING.items()]
    builder.addOpenTypeFeatures("feature kern {" + "\n".join(pairs) + "} kern;")


def save(woff2: Path, ttf: Path) -> None:
    """Write the font for the web, and as plain TrueType for the programs that draw pictures with it."""
    builder = build()
    builder.font.save(ttf)
    builder.font.flavor = "woff2"
    builder.font.save(woff2)
