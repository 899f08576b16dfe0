"""The verdict as a picture, for people to show to others: a file of its own, and to download from the page."""

from __future__ import annotations

import base64
from typing import Final

from allcomers.commands.lab.analysis import wording
from allcomers.commands.lab.analysis.results import Results
from allcomers.commands.lab.analysis.standing import Ranked, Standing
from allcomers.commands.lab.report import board
from allcomers.server.charts.chart import Axis, Row, Rows
from allcomers.server.charts.picture import picture

_MOST: Final = 10
"""Candidates in the picture."""

STYLE: Final = """
.share { margin: 12px 0 0; display: flex; flex-wrap: wrap; gap: 4px 14px; align-items: baseline; font-size: .9rem }
.share button { font: inherit; color: inherit; background: none; border: 1px solid var(--rule); border-radius: 8px }
.share button { cursor: pointer; padding: 0 10px }
"""

SCRIPT: Final = """
document.getElementById("verdict-png").addEventListener("click", () => {
  const image = new Image();
  image.onload = () => {
    const [width, height] = [2 * image.width, 2 * image.height];
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    canvas.getContext("2d").drawImage(image, 0, 0, width, height);
    canvas.toBlob((blob) => {
      Object.assign(document.createElement("a"), { download: "verdict.png", href: URL.createObjectURL(blob) }).click();
    });
  };
  image.src = document.getElementById("verdict-svg").href;
});
"""
"""Makes a PNG of the picture: many sites show no SVG."""


def svg(results: Results, chosen: Ranked) -> str:
    """Return the picture as SVG."""
    one, place = chosen.standing, results.place
    able = [each for each in results.standings if each.capacity.count and not each.missed]
    shown = [one, *(each for each in able if each is not one)][:_MOST]
    quickly = f"p99 {wording.seconds(one.p99(one.clients))} with {wording.many(one.clients, 'client')}"
    return picture(
        Rows(
            title=f"{results.target}: run {one.candidate.name}",
            notes=(
                f"{wording.spread(one.capacity)} requests/s within {results.goal}",
                f"{quickly}; {wording.seconds(one.cpu.value)} of CPU a request",
                f"{place['cpu']}, server on {wording.many(results.cores, 'core')}; Python {place['python']},"
                f" allcomers {place['allcomers']}, {place['when']}",
            ),
            axis=Axis(title="requests/s, 95 %", unit="rate", low=0.0),
            rows=[_row(results, each) for each in sorted(shown, key=results.standings.index)],
        )
    )


def _row(results: Results, one: Standing) -> Row:
    rate = one.capacity
    return Row(
        name=one.candidate.name,
        colour=board.colour(results, one),
        value=rate.value,
        low=rate.low,
        high=rate.high,
        label=("≈ " if one.limited else "") + wording.rate(rate.value),
    )


def links(results: Results, chosen: Ranked) -> str:
    """Return the picture as files to download: SVG without a script, PNG by one."""
    data = f"data:image/svg+xml;base64,{base64.b64encode(svg(results, chosen).encode()).decode()}"
    return (
        f'<p class="share"><a id="verdict-svg" download="verdict.svg" href="{data}">Picture of the verdict (SVG)</a>'
        ' <button type="button" id="verdict-png">as PNG</button></p>'
    )
