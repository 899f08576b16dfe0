"""The pictures of docs/design.md: the folders of the source, and a request's way through them.

This file knows what the pictures show and how they look; they follow the reader's light or dark setting by themselves.
It needs nothing but Python: `make.py design` writes them again, `make.py check` reports one that is stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH = 960

STYLE = """
:root{--paper:#ffffff;--ink:#12232e;--soft:#4a5c68;--line:#c3ced5;--serve:#0a7a73;--on:#ffffff;--wait:#d98600;--pale:#e3f2f0;--chip:#f2f5f7}
@media (prefers-color-scheme:dark){
:root{--paper:#101c24;--ink:#e8eff3;--soft:#a3b4bf;--line:#33464f;--serve:#3cc9ba;--on:#08211f;--wait:#f2b134;--pale:#163a38;--chip:#1a2a34}}
text{font:14px system-ui,"Segoe UI",Roboto,"Noto Sans",sans-serif;fill:var(--ink)}
.name,.code{font-family:ui-monospace,"Cascadia Mono","DejaVu Sans Mono",Consolas,monospace}
.name{font-weight:600;fill:var(--serve)}.code{font-size:12px;fill:var(--soft)}.note{font-size:13px;fill:var(--soft)}
.mid{text-anchor:middle}.end{text-anchor:end}.b{font-weight:600}
.back{fill:var(--paper)}.card{fill:var(--paper);stroke:var(--line);stroke-width:1.5}.pure{fill:var(--pale);stroke:var(--serve)}
.chip{fill:var(--chip);stroke:var(--line)}
.there{stroke:var(--serve)}.back-again{stroke:var(--wait)}.there,.back-again{stroke-width:2;fill:none}
.there-dot{fill:var(--serve)}.back-dot{fill:var(--wait)}
.number{fill:var(--on);font-size:12px;font-weight:600;text-anchor:middle}
.wire{stroke:var(--soft);stroke-width:1.5;fill:none}
.short{stroke:var(--soft);stroke-width:1.5;stroke-dasharray:5 4;fill:none}
.tip{fill:var(--soft)}.there-tip{fill:var(--serve)}.back-tip{fill:var(--wait)}
"""


class Folder(NamedTuple):
    """A folder of src/allcomers, or `errors.py`.

    within   its folders, and after "·" what else stands in it
    is_pure  bool: it imports no socket, no clock and no thread
    """

    name: str
    what: str
    within: tuple[str, ...] = ()
    is_pure: bool = False


FOLDERS = (
    Folder("commands/", "what the command line offers", ("load/", "lab/", "doctor/", "top/", "shell/")),
    Folder(
        "server/",
        "processes",
        ("supervisor/", "admin/", "diagnostics/", "embedded/", "hooks/", "interfaces/", "logs/", "charts/"),
    ),
    Folder("models/", "who waits for the sockets: a page each", ("driver/", "fastpath/", "greenlets/")),
    Folder("calls/", "where app code runs", ("overload/",)),
    Folder("apps/", "what answers requests", ("static/", "wsgi/", "asgi/", "compression/", "by_route/")),
    Folder("connection/", "one peer, its phases and deadlines", ("http/",), is_pure=True),
    Folder("system/", "what is asked of the kernel", ("listening/", "memory/", "native/", "processes/")),
    Folder(
        "protocol/",
        "bytes to messages and back",
        ("http2/", "hpack/", "websocket/", "fields/", "proxy/", "tls/"),
        is_pure=True,
    ),
    Folder("config/", "every option, once", ("migration/",)),
    Folder("errors.py", "every error"),
)
"""From above: each imports only what stands below it, and its own."""


class Stop(NamedTuple):
    name: str
    folder: str
    what: tuple[str, str]


STOPS = (
    Stop("socket", "the kernel", ("a client's", "bytes")),
    Stop("driver", "models/", ("waits, reads,", "writes")),
    Stop("connection", "connection/", ("cuts requests,", "has deadlines")),
    Stop("exchange", "… /http/", ("one request,", "its response")),
    Stop("call", "calls/", ("here, or in", "a thread")),
    Stop("app", "apps/", ("your code,", "a framework")),
)

THERE = ("recv(2)", "received()", "head, body", "take_call()", "handler()")
BACK = ("send(2)", "output(), sent()", "segments", "answered()", "Response")


def document(height: int, title: str, description: str, parts: Iterator[str]) -> str:
    lines = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-labelledby="t d">',
        f'<title id="t">{escape(title)}</title>',
        f'<desc id="d">{escape(description)}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}" rx="14"/>',
        *parts,
        "</svg>\n",
    )
    return "\n".join(lines)


def text(kind: str, x: float, y: float, words: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(words)}</text>'


def box(kind: str, x: float, y: float, width: float, height: float, round_: float = 10) -> str:
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{round_:g}"/>'


def arrow(kind: str, tip: str, x1: float, x2: float, y: float) -> str:
    """A level arrow from x1 to x2."""
    back = 7 if x2 > x1 else -7
    return (
        f'<path class="{kind}" d="M{x1:g} {y:g}H{x2 - back:g}"/>'
        f'<path class="{tip}" d="M{x2:g} {y:g}l{-back:g} -4.5v9z"/>'
    )


def folders() -> str:
    """A floor for each folder, the command line on top; arrows of imports run down."""
    left, width, floor, gap = 60, 886, 46, 8
    height = 14 + len(FOLDERS) * (floor + gap) + 42

    def parts() -> Iterator[str]:
        bottom = 14 + len(FOLDERS) * (floor + gap) - gap
        yield f'<path class="wire" d="M30 22V{bottom - 8}"/><path class="tip" d="M30 {bottom}l-5 -9h10z"/>'
        middle = (22 + bottom) / 2
        yield (
            f'<text class="note mid" transform="rotate(-90 20 {middle:g})" x="20" y="{middle:g}">'
            "imports run down, and only down</text>"
        )
        for number, folder in enumerate(FOLDERS):
            y = 14 + number * (floor + gap)
            yield box("card pure" if folder.is_pure else "card", left, y, width, floor)
            yield text("name", left + 16, y + 28, folder.name)
            yield text("", left + 140, y + 28, folder.what)
            widths = [7.4 * len(name) + 14 for name in folder.within]
            x = min(left + 436.0, left + width - 10 + 8 - sum(widths) - 8 * len(widths))  # many end where the card does
            for name, wide in zip(folder.within, widths, strict=True):
                yield box("chip", x, y + 10, wide, 26, 13)
                yield text("code mid", x + wide / 2, y + 27, name)
                x += wide + 8
        y = bottom + 18
        yield box("pure", left, y, 22, 16, 4)
        words = "pure: no socket, no clock, no thread. Bytes and the time go in, values come out."
        yield text("note", left + 32, y + 13, words)

    names = ", ".join(folder.name for folder in FOLDERS)
    description = f"From above: {names}. Each imports only what stands below it. connection/ and protocol/ are pure."
    return document(height, "The folders of src/allcomers", description, parts())


def request() -> str:
    """The six stops of a request, the way there above and the way back below."""
    wide, gap, left, top, tall = 112.0, 52.0, 14.0, 84.0, 128.0

    def at(stop: int) -> float:
        return left + stop * (wide + gap)

    def badge(kind: str, x: float, y: float, number: int) -> str:
        return f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="9"/>' + text("number", x, y + 4.2, str(number))

    def parts() -> Iterator[str]:
        yield text("note", left, 30, "A request")
        yield arrow("there", "there-tip", left + 70, left + 118, 25.5)
        yield text("note", left + 134, 30, "and its response")
        yield arrow("back-again", "back-tip", left + 296, left + 248, 25.5)
        for number, stop in enumerate(STOPS):
            x = at(number)
            yield box("card pure" if number in (2, 3) else "card", x, top, wide, tall)
            yield text("b mid", x + wide / 2, top + 42, stop.name)
            yield text("code mid", x + wide / 2, top + 62, stop.folder)
            yield text("note mid", x + wide / 2, top + 88, stop.what[0])
            yield text("note mid", x + wide / 2, top + 105, stop.what[1])
        steps = len(STOPS) - 1
        for number in range(steps):
            x, middle = at(number) + wide, at(number) + wide + gap / 2
            yield arrow("there", "there-tip", x + 2, x + gap - 2, top + 18)
            yield arrow("back-again", "back-tip", x + gap - 2, x + 2, top + tall - 18)
            yield badge("there-dot", middle, top - 8, number + 1)
            yield text("code mid", middle, top - 24, THERE[number])
            yield badge("back-dot", middle, top + tall + 8, 2 * steps - number)
            yield text("code mid", middle, top + tall + 34, BACK[number])
        y, x1, x2 = top + tall + 46, at(1) + wide / 2, at(4) + wide / 2
        yield (
            f'<path class="short" d="M{x1:g} {top + tall + 2:g}V{y + 16:g}Q{x1:g} {y + 26:g} {x1 + 10:g} {y + 26:g}'
            f'H{x2 - 10:g}Q{x2:g} {y + 26:g} {x2:g} {y + 16:g}V{top + tall + 9:g}"/>'
            f'<path class="tip" d="M{x2:g} {top + tall + 2:g}l-5 9h10z"/>'
        )
        words = "the fast path (compiled): a small whole request of an idle peer, without its connection"
        yield text("note mid", (x1 + x2) / 2, y + 46, words)

    names = ", ".join(stop.name for stop in STOPS)
    description = (
        f"{names}. There: {', '.join(THERE)}. Back: {', '.join(reversed(BACK))}. "
        "Connection and exchange have no socket, no clock and no thread. "
        "The compiled fast path leads from the driver to the call and leaves the connection out."
    )
    return document(324, "A request's way, and its response's", description, parts())


PICTURES = {"folders.svg": folders, "request.svg": request}


def save(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        (folder / name).write_text(draw(), encoding="utf-8")


def stale(folder: Path) -> list[str]:
    """Return the names of pictures that are not as this file draws them."""
    return [
        name
        for name, draw in PICTURES.items()
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != draw()
    ]
