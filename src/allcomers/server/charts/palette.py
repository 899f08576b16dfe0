"""The colours of every page and picture, as CSS: light, dark where the reader's system is, light on paper.

They mean the same everywhere: --serve is what is answered, --wait what waits, --costs what fails or is slow. Series
have --c0 to --c9; the first three are those.
"""

from __future__ import annotations

from typing import Final

_LIGHT: Final = (
    "#0a7a73",
    "#b8224a",
    "#b87400",
    "#0b62d6",
    "#7a3fc4",
    "#8c5a3c",
    "#5f7a00",
    "#59636e",
    "#c2569b",
    "#12805c",
)
_DARK: Final = (
    "#3cc9ba",
    "#ff6f8f",
    "#f2b134",
    "#58a6ff",
    "#bc8cff",
    "#d9a68a",
    "#bccf4a",
    "#9aa7b5",
    "#f59ad4",
    "#6fd66f",
)

COLOURS: Final = len(_LIGHT)


def _series(colours: tuple[str, ...]) -> str:
    return " ".join(f"--c{number}: {colour};" for number, colour in enumerate(colours))


_DAY: Final = (
    "--ink: #12232e; --soft: #4a5c68; --rule: #dbe3e6; --paper: #ffffff; --back: #f4f7f7; --pale: #d5eeeb;"
    f" --serve: #0a7a73; --wait: #d98600; --costs: #b8224a; {_series(_LIGHT)}"
)
_NIGHT: Final = (
    "--ink: #e8eff3; --soft: #a3b4bf; --rule: #263743; --paper: #14212b; --back: #0d161d; --pale: #1d4a47;"
    f" --serve: #3cc9ba; --wait: #f2b134; --costs: #ff6f8f; {_series(_DARK)}"
)

PALETTE: Final = f":root {{ {_DAY} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {_NIGHT} }} }}\n"
