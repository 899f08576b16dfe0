"""The film of video.html: six clients, served by one model after another, drawn frame by frame and coded by ffmpeg.

This file knows how a moment of a `scenes.Scene` looks. It needs skia-python to draw and ffmpeg to code, and writes the
film, its captions, its chapters and its poster.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from math import cos, pi, sin
from pathlib import Path

import scenes
import skia
from scenes import TICK, Scene, Span

WIDTH, HEIGHT, RATE = 1280, 720, 30
SPEED = 3.3
"""Units of a scene's time that pass in one second of film."""
OPENING, HOLD, FINALE = 3.4, 1.1, 4.2

PAPER, INK, SOFT, LINE = 0xFF0D161D, 0xFFE8EFF3, 0xFFA3B4BF, 0xFF2B3C48
SERVE, WAIT, BIRTH, PALE = 0xFF3CC9BA, 0xFFF2B134, 0xFFFF6F8F, 0xFF1D4A47


@dataclass(frozen=True)
class Act:
    model: str
    title: str
    caption: str


ACTS = (
    Act("iterative", "iterative", "One process, one client at a time: while A pauses, everybody else waits."),
    Act(
        "thread-pool", "thread-pool, 2 threads", "Two threads hold A and B; C to F wait for a thread, not for the core."
    ),
    Act("thread", "thread", "A thread for each client: each one waits for its own, and nobody for a thread."),
    Act("epoll", "epoll", "One thread waits for all clients at once, and serves whoever is ready."),
)
LAST_WORDS = "Added up: the less the server waits for one, the less the others wait for it."
SHAPES = {"A": 0, "B": 4, "C": 3, "D": -4, "E": 6, "F": 5}
"""Sides of each client's shape; 0 is a circle, -4 a square on its corner."""


def paint(
    color: int, *, stroke: float = 0.0, alpha: float = 1.0, dash: tuple[float, float] | None = None
) -> skia.Paint:
    made = skia.Paint(AntiAlias=True, Color=color)
    made.setAlphaf(alpha)
    if stroke:
        made.setStyle(skia.Paint.kStroke_Style)
        made.setStrokeWidth(stroke)
        made.setStrokeCap(skia.Paint.kRound_Cap)
    if dash:
        made.setPathEffect(skia.DashPathEffect.Make(list(dash), 0))
    return made


class Film:
    def __init__(self, face: Path) -> None:
        self.face = skia.Typeface.MakeFromFile(str(face))
        self.surface = skia.Surface(WIDTH, HEIGHT)
        self.canvas = self.surface.getCanvas()

    def text(self, words: str, x: float, y: float, size: float, color: int = INK, *, middle: bool = False) -> None:
        font = skia.Font(self.face, size)
        font.setSubpixel(True)
        if middle:
            x -= font.measureText(words) / 2
        self.canvas.drawString(words, x, y, font, paint(color))

    def shape(self, name: str, x: float, y: float, radius: float, style: skia.Paint) -> None:
        sides = SHAPES[name]
        if not sides:
            self.canvas.drawCircle(x, y, radius, style)
            return
        start = {4: pi / 4, 3: -pi / 2 + 0.0, -4: 0.0, 6: 0.0, 5: -pi / 2}[sides]
        grown = radius * {4: 1.2, 3: 1.3, -4: 1.2, 6: 1.08, 5: 1.12}[sides]
        shift = radius * 0.18 if sides == 3 else 0.0
        angles = [start + 2 * pi * i / abs(sides) for i in range(abs(sides))]
        corner = [skia.Point(x + grown * cos(angle), y + shift + grown * sin(angle)) for angle in angles]
        path = skia.Path()
        path.addPoly(corner, True)
        self.canvas.drawPath(path, style)

    def client(self, name: str, state: str, x: float, y: float, now: float) -> None:
        color = {"serve": SERVE, "wait": WAIT, "": LINE}.get(state, SOFT)
        self.shape(name, x, y, 21, paint(PAPER))
        self.shape(name, x, y, 21, paint(color, alpha=1.0 if state == "serve" else 0.22))
        self.shape(name, x, y, 21, paint(color, stroke=2.5))
        if state == "wait":
            for i in range(3):
                bright = 0.25 + 0.75 * max(0.0, sin(now * 6 - i * 0.9))
                self.canvas.drawCircle(x - 58 + i * 10, y, 3.2, paint(WAIT, alpha=bright))
        self.text(name, x, y + 8, 22, PAPER if state == "serve" else INK, middle=True)

    # One act: on the left who is joined to whom now, on the right what has been so far.

    def act(self, act: Act, scene: Scene, now: float) -> None:
        clients, server = scene.lanes()
        self.canvas.clear(PAPER)
        self.text(act.title, 60, 82, 50)
        self.joined(scene, now)
        self.lanes({**clients, **server}, len(clients), now, scene)

    def joined(self, scene: Scene, now: float) -> None:
        tick = min(int(now / TICK), len(scene.main_log) - 1)
        places = {seat.client.name: (130.0, 165 + 78.0 * i) for i, seat in enumerate(scene.seats)}
        hosts = self.host_places(scene)
        self.canvas.drawRoundRect(skia.Rect(330, 125, 520, 598), 18, 18, paint(LINE, stroke=2))
        self.text("server", 425, 622, 18, SOFT, middle=True)
        for seat in scene.seats:
            x, y = places[seat.client.name]
            state = seat.log[tick]
            end = self.end_of_line(scene, seat, tick, hosts, y)
            if state:
                held = end[0] > 340
                style = paint(SOFT if held else WAIT, stroke=2, alpha=0.8, dash=None if held else (2, 8))
                self.canvas.drawLine(x + 26, y, *end, style)
                self.packets(seat, tick, (x + 26, y), end)
            self.client(seat.client.name, state, x, y, now)
        for index, place in enumerate(hosts):
            log = scene.host_logs[index] if scene.model.slots else scene.main_log
            self.host(log[tick], place, now)

    @staticmethod
    def host_places(scene: Scene) -> list[tuple[float, float]]:
        count = len(scene.hosts) or 1
        if count == len(scene.seats):
            return [(425, 165 + 78.0 * i) for i in range(count)]
        return [(425, 360 + 120 * (i - (count - 1) / 2)) for i in range(count)]

    @staticmethod
    def end_of_line(
        scene: Scene, seat: scenes.Seat, tick: int, hosts: list[tuple[float, float]], y: float
    ) -> tuple[float, float]:
        """A client's line ends at its host; at the door where it has none yet."""
        if not scene.model.slots:
            return hosts[0][0] - 40, hosts[0][1] + (y - hosts[0][1]) * 0.1
        name = seat.client.name
        for index, log in enumerate(scene.host_logs):
            if log[tick].endswith(" " + name):
                return hosts[index][0] - 34, hosts[index][1]
        return 322, y + (360 - y) * 0.06

    def packets(self, seat: scenes.Seat, tick: int, start: tuple[float, float], end: tuple[float, float]) -> None:
        state = seat.log[tick]
        begun = tick
        while begun and seat.log[begun - 1] == state:
            begun -= 1
        age = (tick - begun) * TICK
        if state == "send":
            spots = [(age - i * 0.28) / 0.7 for i in range(3)]
            color = INK
        elif begun and seat.log[begun - 1] == "serve" and age < 0.8:
            spots = [1 - (age - i * 0.16) / 0.6 for i in range(2)]
            color = SERVE
        else:
            return
        for spot in spots:
            if 0 <= spot <= 1:
                x, y = (start[i] + (end[i] - start[i]) * spot for i in (0, 1))
                self.canvas.drawCircle(x, y, 5.5, paint(color))

    def host(self, text: str, place: tuple[float, float], now: float) -> None:
        state, _, whom = text.partition(" ")
        x, y = place
        if not state:
            return
        color = {"serve": SERVE, "birth": BIRTH, "ready": WAIT, "look": INK, "read": SERVE}.get(state, SOFT)
        if state == "serve":
            swell = 30 + 3 * sin(now * 9)
            self.canvas.drawCircle(x, y, swell + 9, paint(SERVE, alpha=0.18))
            self.canvas.drawCircle(x, y, 30, paint(SERVE))
            for i in range(3):  # the arms of a turnstile go round
                angle = now * 3 + i * 2 * pi / 3
                self.canvas.drawLine(x, y, x + 24 * cos(angle), y + 24 * sin(angle), paint(0xFF2AA598, stroke=7))
            self.text(whom, x, y + 10, 28, PAPER, middle=True)
            return
        dash = (6.0, 7.0) if state in ("sleep", "blocked") else None
        self.canvas.drawCircle(x, y, 30, paint(PAPER))
        self.canvas.drawCircle(x, y, 30, paint(color, stroke=2.5, dash=dash, alpha=0.55 if state == "sleep" else 1.0))
        words = {"sleep": "zzz", "blocked": f"{whom}?", "ready": f"{whom}!", "birth": "+", "look": "look", "read": whom}
        self.text(words.get(state, ""), x, y + 7, 20, color if state != "sleep" else SOFT, middle=True)

    def lanes(self, lanes: dict[str, list[Span]], border: int, now: float, scene: Scene) -> None:
        left, right, top, row = 690.0, 1230.0, 150.0, 32.0
        scale = (right - left) / 19.6
        for number, (name, spans) in enumerate(lanes.items()):
            y = top + number * row + (18 if number >= border else 0)
            font = skia.Font(self.face, 19)
            self.canvas.drawString(name, left - 16 - font.measureText(name), y + 6, font, paint(SOFT))
            for span in spans:
                if span.start < now:
                    self.span(span, left + span.start * scale, left + min(span.end, now) * scale, y)
        edge = top + border * row - 7
        self.canvas.drawLine(left - 120, edge, right, edge, paint(LINE, stroke=1.5))
        line = left + min(now, scene.lasted) * scale
        bottom = top + len(lanes) * row + 8
        self.canvas.drawLine(line, top - 22, line, bottom, paint(INK, stroke=1.5, alpha=0.6))

    def span(self, span: Span, left: float, right: float, y: float) -> None:
        box = skia.Rect(left, y - 10, max(right - 1, left + 1), y + 10)
        if span.state in ("think", "sleep"):
            self.canvas.drawLine(left + 3, y, max(right - 3, left + 3), y, paint(SOFT, stroke=2, dash=(1, 7)))
        elif span.state == "send":
            self.canvas.drawRoundRect(skia.Rect(left, y - 3, right, y + 3), 3, 3, paint(SOFT))
        elif span.state in ("wait", "ready"):
            self.hatched(box)
        elif span.state == "blocked":
            self.canvas.drawRoundRect(box, 4, 4, paint(SOFT, stroke=1.4, dash=(5, 4)))
        else:
            color = {"serve": SERVE, "birth": BIRTH, "look": INK}.get(span.state, PALE)
            self.canvas.drawRoundRect(box, 4, 4, paint(color))

    def hatched(self, box: skia.Rect) -> None:
        self.canvas.save()
        self.canvas.clipRect(box, True)
        at = box.left() - 24
        while at < box.right():
            self.canvas.drawLine(at, box.bottom() + 2, at + 24, box.top() - 2, paint(WAIT, stroke=2.4))
            at += 8
        self.canvas.restore()
        self.canvas.drawRoundRect(box, 4, 4, paint(WAIT, stroke=1.4))

    # The first and the last words.

    def opening(self, now: float) -> None:
        self.canvas.clear(PAPER)
        self.text("Six clients come.", 120, 230, 84)
        if now > 1.0:
            self.text("Who waits for whom?", 120, 340, 84, SERVE)
        for i, name in enumerate(SHAPES):
            came = min(1.0, max(0.0, now * 1.2 - i * 0.28))
            eased = 1 - (1 - came) ** 3
            self.client(name, "wait" if came >= 1 else "send", -60 + (220 + i * 130 + 60) * eased, 480, now)

    def finale(self, now: float, played: list[tuple[Act, Scene]]) -> None:
        self.canvas.clear(PAPER)
        self.text("The time they waited, added up", 60, 100, 50)
        sums = [waited(scene) for _, scene in played]
        for i, ((act, _), total) in enumerate(zip(played, sums, strict=True)):
            y = 200 + i * 92
            self.text(act.title, 60, y + 12, 30)
            grown = min(1.0, max(0.0, now * 0.9 - i * 0.25))
            width = 760 * total / max(sums) * (1 - (1 - grown) ** 3)
            if width > 2:
                self.hatched(skia.Rect(450, y - 22, 450 + width, y + 22))
        self.text("A drawing with costs chosen to be seen. Measure your own app.", 60, 585, 26, SOFT)

    def frame(self) -> bytes:
        return bytes(self.surface.toarray(colorType=skia.kRGBA_8888_ColorType).tobytes())


def waited(scene: Scene) -> float:
    """How long all clients together wanted the server and did not have it."""
    clients, _ = scene.lanes()
    return sum(span.end - span.start for lane in clients.values() for span in lane if span.state == "wait")


def clock(seconds: float) -> str:
    return f"{int(seconds // 60):02}:{seconds % 60:06.3f}"


def save(folder: Path, poster: Path, face: Path) -> None:
    """Write waiting.webm, captions.vtt, chapters.vtt and the poster."""
    folder.mkdir(parents=True, exist_ok=True)
    film = Film(face)
    played = [(act, scenes.play(act.model, scenes.SIX)) for act in ACTS]
    cues: list[tuple[float, float, str, str]] = [
        (0, OPENING, "Six clients come", "Six clients come at nearly the same time. Some of them take their time.")
    ]
    command = ["ffmpeg", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgba", "-s", f"{WIDTH}x{HEIGHT}"]
    command += ["-r", str(RATE), "-i", "-", "-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", "-crf", "20", "-b:v", "0"]
    command += ["-g", "60", "-row-mt", "1", "-deadline", "good", "-cpu-used", "2", "-bitexact"]
    with subprocess.Popen([*command, str(folder / "waiting.webm")], stdin=subprocess.PIPE) as coder:
        assert coder.stdin is not None
        for number in range(round(OPENING * RATE)):
            film.opening(number / RATE)
            coder.stdin.write(film.frame())
        at = OPENING
        for act, scene in played:
            seconds = scene.lasted / SPEED + HOLD
            for number in range(round(seconds * RATE)):
                film.act(act, scene, min(number / RATE * SPEED, scene.lasted))
                coder.stdin.write(film.frame())
            cues.append((at, at + seconds, act.title, act.caption))
            at += seconds
        cues.append((at, at + FINALE, "The sum", LAST_WORDS))
        for number in range(round(FINALE * RATE)):
            film.finale(number / RATE, played)
            coder.stdin.write(film.frame())
    if coder.returncode:
        raise SystemExit("ffmpeg failed")
    film.act(ACTS[3], played[3][1], 5.3)
    film.surface.makeImageSnapshot().save(str(poster), skia.kWEBP, 88)
    for name, column in (("chapters", 2), ("captions", 3)):
        blocks = [f"{clock(cue[0])} --> {clock(cue[1])}\n{cue[column]}\n" for cue in cues]
        (folder / f"{name}.vtt").write_text("WEBVTT\n\n" + "\n".join(blocks), encoding="utf-8")
