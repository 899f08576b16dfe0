"""The diagrams of models.html: one SVG a model, a lane for each client and each thread or process of the server.

This file knows shapes and colours; `scenes` has the events and their times. The pictures follow the reader's light or
dark setting by themselves and use one scale of time, so that they can be laid beside each other.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

import scenes
from scenes import Span

WIDTH = 480
LEFT = 74
RIGHT = 8
TIME = 13.8
ROW = 25
BAR = 17

STYLE = """
:root{--ink:#12232e;--soft:#4a5c68;--line:#c3ced5;--serve:#0a7a73;--on:#fff;--wait:#d98600;--birth:#b8224a;--pale:#bfe3df}
@media (prefers-color-scheme:dark){
:root{--ink:#e8eff3;--soft:#a3b4bf;--line:#33464f;--serve:#3cc9ba;--on:#08211f;--wait:#f2b134;--birth:#ff6f8f;--pale:#1d4a47}}
text{font:13px system-ui,"Segoe UI",Roboto,"Noto Sans",sans-serif;fill:var(--soft)}
.name{fill:var(--ink)}.in{font-weight:600;font-size:12px;text-anchor:middle}
.serve .in{fill:var(--on)}.grid{stroke:var(--line);stroke-width:1}
.serve rect{fill:var(--serve)}.wait rect{fill:url(#hatch);stroke:var(--wait);stroke-width:1.2}
.send rect{fill:var(--soft)}
.think path,.sleep path{stroke:var(--soft);stroke-width:2;stroke-dasharray:1 5;stroke-linecap:round}
.blocked rect{fill:none;stroke:var(--soft);stroke-width:1.2;stroke-dasharray:4 3}.blocked .in{fill:var(--soft)}
.ready rect{fill:url(#hatch);stroke:var(--wait);stroke-width:1.2}.ready .in,.wait .in{fill:var(--ink)}
.birth rect{fill:var(--birth)}.look rect{fill:var(--ink)}
.drain rect,.read rect{fill:var(--pale);stroke:var(--serve);stroke-width:1}
.away rect{fill:var(--pale)}.away .in{fill:var(--ink)}
"""

CAPTIONS = {
    "iterative": "One process serves A to the end, its pause included, while B and C wait for it.",
    "process": "Each connection gets a child process; each child waits for its own client.",
    "thread": "Each connection gets a thread; each thread waits for its own client.",
    "thread-pool": "Two threads serve A and B; C waits until one of them is free.",
    "select": "One loop waits for all clients and looks through every socket at each wake-up.",
    "poll": "One loop waits for all clients and looks through every socket at each wake-up.",
    "epoll": "One loop waits for all clients; the kernel hands it only those that are ready.",
    "epoll-et": "As epoll, and after each response the loop reads once more to find that nothing is left.",
    "kqueue": "One loop waits for all clients; the kernel hands it a list of events.",
    "asyncio": "One loop waits for all clients, and for what the app awaits: it serves others meanwhile.",
}


def x(time: float) -> float:
    return LEFT + time / TIME * (WIDTH - LEFT - RIGHT)


def bar(span: Span, middle: float, label: str) -> str:
    """Return a span as a shape on the lane whose middle is at that height."""
    left, right = x(span.start), x(span.end)
    if span.state in ("think", "sleep"):
        return f'<g class="{span.state}"><path d="M{left + 3:.1f} {middle}H{max(left + 3, right - 2):.1f}"/></g>'
    height = 6 if span.state == "send" else BAR
    inset = 0.6 if span.state in ("blocked", "ready", "wait", "drain", "read") else 0
    shape = (
        f'<rect x="{left + inset:.1f}" y="{middle - height / 2 + inset:.1f}" rx="{min(3, (right - left) / 3):.1f}"'
        f' width="{right - left - 2 * inset:.1f}" height="{height - 2 * inset:.1f}"/>'
    )
    text = label
    if span.state == "blocked" and right - left > 90:
        text = f"waits for {span.whom}"
    if span.state == "away" and label and right - left > 60:
        text = "awaits"
    if text and right - left > 13:
        shape += f'<text class="in" x="{(left + right) / 2:.1f}" y="{middle + 4.3:.1f}">{text}</text>'
    return f'<g class="{span.state}">{shape}</g>'


def lane(name: str, spans: list[Span], middle: float, owner: str) -> list[str]:
    parts = [f'<text class="name" x="{LEFT - 8}" y="{middle + 4.5:.1f}" text-anchor="end">{escape(name)}</text>']
    for span in spans:
        whom = span.whom if span.state in ("serve", "blocked", "ready", "drain", "away") else ""
        label = whom or (owner if span.state in ("serve", "away") else "")
        parts.append(bar(span, middle, "" if span.state in ("drain", "read") else label))
    return parts


def svg(name: str) -> str:
    clients, server = scenes.play(name).lanes()
    parts: list[str] = []
    height = 14.0
    for client, spans in clients.items():
        parts += lane(client, spans, height, client)
        height += ROW
    rule = height - 5
    parts.append(f'<path class="grid" d="M0 {rule}H{WIDTH}"/>')
    height += 9
    for host, spans in server.items():
        parts += lane(host, spans, height, "")
        height += ROW
    height += 2
    title = escape(f"{name}: who waits for what")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}"'
            f' height="{height:.0f}" role="img">',
            f"<title>{title}</title>",
            f"<desc>{escape(CAPTIONS[name])}</desc>",
            f"<style>{STYLE}</style>",
            '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse"'
            ' patternTransform="rotate(45)"><path d="M1 0V6" stroke="var(--wait)" stroke-width="2"/></pattern></defs>',
            *parts,
            "</svg>",
            "",
        ]
    )


def save(folder: Path) -> None:
    """Write one file for each model."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in scenes.MODELS:
        (folder / f"{name}.svg").write_text(svg(name), encoding="utf-8")
