"""Files of variables, NAME=VALUE on each line, as python-dotenv reads them, without its interpolation."""

from __future__ import annotations

import re
from typing import Final

from allcomers.config.trusted_files import read
from allcomers.errors import ConfigError

_LINE: Final = re.compile(
    r"""(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_.]*)\s*=\s*
    (?:'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<plain>[^'"\s].*?)?)(?:\s+\#.*|\s*)""",
    re.VERBOSE,
)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


def variables(name: str) -> dict[str, str]:
    """Return the variables of the file `name`. Raises ConfigError for a line of another form."""
    try:
        text = read(name).decode("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {name!r}: {getattr(error, 'strerror', None) or error}") from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            match = _LINE.fullmatch(line)
            if match is None or "\0" in line:
                raise ConfigError(f"{name}, line {number}: it is not NAME=VALUE")
            found[match["name"]] = _value(match)
    return found


def _value(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), match["double"])
    return match["single"] or match["plain"] or ""
