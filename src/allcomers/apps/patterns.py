"""Keys of routes with parameters: "/users/{id:int}/posts/{slug}".

A parameter stands for a whole segment of the path, and a handler finds it in `request.params`:

    {slug}       str, of at least one character
    {id:int}     int, of 1 to 18 digits
    {key:uuid}   uuid.UUID, in its usual form of 36 characters
    {file:path}  str, all that is left, with its slashes, of at least one character; only at the end of a key

The keys are a tree of segments. From the left, a literal segment comes before an int, that before a uuid, that before a
str; where no key goes on, a path or a key that ends in "/" takes what is left, the longest first. So the order of the
table decides nothing, and two keys that only differ in the names of their parameters are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from allcomers.errors import ConfigError
from allcomers.protocol.message import Handler, Request

_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([a-z]+))?\}")

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_MOST_DIGITS: Final = 18  # so a number fits into 64 bits, as databases have them


class Route(NamedTuple):
    """A key and its handler, with the names of its parameters."""

    key: str
    handler: Handler
    names: tuple[str, ...]


class Match(NamedTuple):
    """The route of a path, and the values of its parameters in their order.

    above  of a key that ends in "/", the number of segments above the rest; None for another
    """

    route: Route
    values: tuple[Any, ...]
    above: int | None


class Node:
    """What may follow some segments.

    literals    the next segment to its node
    parameters  the type of the next segment to its node
    exact, tree, path  the routes whose keys end here: as they are, with "/", with a {…:path}
    """

    __slots__ = ("exact", "literals", "parameters", "path", "tree")

    def __init__(self) -> None:
        self.literals: dict[str, Node] = {}
        self.parameters: dict[str, Node] = {}
        self.exact: Route | None = None
        self.tree: Route | None = None
        self.path: Route | None = None

    def add(self, key: str, handler: Handler) -> None:
        """Add a key. Raises ConfigError for one that is no pattern, or matches the paths of another."""
        node, end = self, "exact"
        names: list[str] = []
        segments = key.split("/")[1:]
        for at, segment in enumerate(segments):
            name, of_type = _parsed(key, segment)
            if name in names:
                raise ConfigError(f"routes: the path {key!r} has two parameters called {name!r}")
            if name:
                names.append(name)
            if segment == "":  # the last: the key ends in "/"
                end = "tree"
            elif of_type != "path":
                node = (node.parameters if name else node.literals).setdefault(of_type or segment, Node())
            elif at + 1 < len(segments):
                raise ConfigError(f"routes: the path {key!r} goes on after a parameter of the type path")
            else:
                end = "path"
        if (other := getattr(node, end)) is not None:
            raise ConfigError(f"routes: {key!r} and {other.key!r} match the same paths")
        setattr(node, end, Route(key, handler, tuple(names)))

    def match(self, segments: list[str], at: int = 0, values: tuple[Any, ...] = ()) -> Match | None:
        """Return the match of the path that `segments` are of, from index `at` on; None for none.

        Each node is looked at once, for it stands at one index: this takes no longer than there are keys.
        """
        if at == len(segments):
            return Match(self.exact, values, None) if self.exact else None
        segment = segments[at]
        if (child := self.literals.get(segment)) and (found := child.match(segments, at + 1, values)):
            return found
        for of_type, child in self.parameters.items():
            value = _TYPES[of_type](segment)
            if value is not None and (found := child.match(segments, at + 1, (*values, value))):
                return found
        if self.path and (rest := "/".join(segments[at:])):
            return Match(self.path, (*values, rest), None)
        return Match(self.tree, values, at) if self.tree else None

    def settle(self) -> int:
        """Sort the parameters by what comes first; return the most segments that a key has below this."""
        self.parameters = {name: self.parameters[name] for name in _TYPES if name in self.parameters}
        children = [*self.literals.values(), *self.parameters.values()]
        return max((1 + child.settle() for child in children), default=0)


class Patterns:
    """All keys of a table of which some have parameters."""

    __slots__ = ("_root", "_splits")

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        """Make the tree. Raises ConfigError for two keys that match the same paths, and for a bad parameter."""
        self._root = Node()
        for key, handler in handlers.items():
            self._root.add(key, handler)
        self._splits = self._root.settle() + 2  # so that no segment which a key can match has a "/" in it

    def find(self, request: Request) -> Handler | None:
        """Return the handler of a request, which gets its `params`, and its `prefix` and `path` changed below a key
        that ends in "/". None where no key matches."""
        segments = request.path.split("/", self._splits)[1:]
        found = self._root.match(segments)
        if found is None:
            return None
        names = found.route.names
        if names:
            request.params = {**request.params, **dict(zip(names, found.values, strict=True))}
            request.route = request.prefix + found.route.key
        if found.above is not None:
            request.prefix += "".join(f"/{segment}" for segment in segments[: found.above])
            request.path = "/" + "/".join(segments[found.above :])
        return found.route.handler

    def has_folder(self, path: str) -> bool:
        """Return whether `path` with a "/" at its end is that of a key, and `path` itself of none but one above it."""
        segments = path.split("/", self._splits)[1:]
        found = self._root.match(segments)
        below = self._root.match([*segments, ""]) if found is None or found.above is not None else None
        return below is not None and below.above == len(segments)


def _parsed(key: str, segment: str) -> tuple[str, str]:
    """Return the name and the type of a parameter; ("", "") for a literal segment. Raises ConfigError."""
    if "{" not in segment and "}" not in segment:
        return "", ""
    found = _PARAMETER.fullmatch(segment)
    if found is None:
        raise ConfigError(f"routes: the path {key!r}: a parameter is a whole segment, {{name}} or {{name:int}}")
    name, of_type = found[1], found[2] or "str"
    if of_type not in _TYPES and of_type != "path":
        raise ConfigError(f"routes: the path {key!r}: a parameter's type is {', '.join(_TYPES)} or path, not {of_type}")
    return name, of_type


def _int(segment: str) -> int | None:
    is_number = segment.isascii() and segment.isdigit() and len(segment) <= _MOST_DIGITS
    return int(segment) if is_number else None


def _uuid(segment: str) -> Any:
    if not _UUID.fullmatch(segment):
        return None
    from uuid import UUID  # late: it takes 3 ms

    return UUID(segment)


def _str(segment: str) -> str | None:
    return segment or None


_TYPES: Final[dict[str, Callable[[str], Any]]] = {"int": _int, "uuid": _uuid, "str": _str}
"""The types of one segment, in the order in which they are tried: the value, or None where a segment is none."""
