"""Arrows go one way: what each file imports, read from its source, against the layers of the design.

    protocol  ←  connection  ←  models, calls  ←  worker  ←  supervisor  ←  cli
    handlers stand beside the connections: neither knows of the other, `endpoint` joins them

An import within a function or for types alone is an arrow like any other. A new file needs a line in LAYERS.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "allcomers"

LAYERS = {
    "errors": "errors",
    "config": "checks localtime logformat config settings",
    "moving": "moving.*",
    "protocol": "protocol.*",
    "stats": "stats",
    "connection": "signs codec tls connection streams http_calls answers http_connection records service_connection"
    " websocket_connection detached_connection announced",
    "handlers": "handlers.*",
    "parts": "sockets deadlines inbox orders lifeline tally accesslog errorlog target clock systemd identity"
    " asyncio_loops",
    "asgi": "asgi.*",
    "calls": "calls.*",
    "models": "models.*",
    "endpoint": "endpoint interface",
    "worker": "worker wear",
    "admin": "admin.*",
    "supervisor": "supervisor staff pulse listeners successor pidfile reloader office",
    "doctor": "doctor.*",
    "load": "load.*",
    "lab": "lab.*",
    "top": "top.*",
    "cli": "cli __main__",
    "public": "allcomers",
}
"""The modules of each layer, by their names below `allcomers`; `allcomers` itself is what apps import from."""

_BELOW_MODELS = {"errors", "config", "stats", "protocol", "connection", "parts"}

MAY_IMPORT = {
    "errors": set(),
    "config": {"errors"},
    "moving": {"errors", "config"},
    "protocol": {"errors", "config"},
    "stats": {"protocol"},
    "connection": {"errors", "config", "protocol", "stats"},
    "handlers": {"errors", "config", "protocol"},
    "parts": {"errors", "config", "stats", "protocol", "handlers"},
    "asgi": _BELOW_MODELS,
    "calls": _BELOW_MODELS,
    "models": _BELOW_MODELS | {"calls"},
    "endpoint": _BELOW_MODELS | {"handlers", "asgi", "calls", "models"},
    "worker": _BELOW_MODELS | {"calls", "models", "endpoint"},
    "admin": {"errors", "config", "stats", "protocol", "parts", "handlers", "models", "public"},
    "supervisor": _BELOW_MODELS | {"worker", "admin"},
    "doctor": _BELOW_MODELS | {"models", "endpoint", "public"},
    "load": {"errors", "config", "protocol", "parts", "public"},
    "top": {"errors", "parts", "load"},
    "lab": {"errors", "config", "protocol", "models", "load", "public"},
    "cli": _BELOW_MODELS
    | {
        "moving",
        "handlers",
        "models",
        "endpoint",
        "worker",
        "admin",
        "supervisor",
        "doctor",
        "load",
        "lab",
        "top",
        "public",
    },
    "public": {"errors", "protocol", "handlers"},
}
"""Beside a layer's own files. Of `parts`, only the clock looks at a handler, for how HTTP writes a date."""

DRIVERS_ONLY = {"socket", "select", "selectors", "asyncio", "threading", "time", "signal", "subprocess", "concurrent"}
"""What protocol and connection never import: bytes and `now` go in, values come out."""


def name_of(path: Path) -> str:
    """protocol/head.py → "protocol.head"; a package's __init__.py → the package; the topmost → "allcomers"."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts) or "allcomers"


FILES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}
COMPILED = {name_of(path) for path in SOURCE.rglob("*.pyx")}  # they import nothing of ours


def layer_of(module: str) -> str:
    found = [
        layer
        for layer, names in LAYERS.items()
        for name in names.split()
        if module == name or (name.endswith(".*") and (module + ".").startswith(name[:-1]))
    ]
    assert len(found) == 1, f"{module} belongs to {found or 'no layer'}: give it one line in LAYERS"
    return found[0]


def imports_of(module: str) -> tuple[set[str], set[str]]:
    """(modules of ours, top-level modules of others) that the file of `module` imports, wherever in it."""
    ours: set[str] = set()
    others: set[str] = set()
    path = FILES[module]
    package = ["allcomers", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{whole}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if top != "allcomers":
                others.add(top)
                continue
            if rest.rpartition(".")[0] in COMPILED:
                continue
            while rest and rest not in FILES:  # a name in a module, not a module
                rest = rest.rpartition(".")[0]
            ours.add(rest or "allcomers")
    return ours - {module}, others


@pytest.mark.parametrize("module", FILES)
def test_no_arrow_runs_back(module: str) -> None:
    layer = layer_of(module)
    for other in imports_of(module)[0]:
        to = layer_of(other)
        assert to == layer or to in MAY_IMPORT[layer], f"{module} ({layer}) imports {other} ({to})"


@pytest.mark.parametrize("module", [name for name in FILES if layer_of(name) in ("protocol", "connection")])
def test_what_is_pure_knows_no_socket_no_clock_no_thread(module: str) -> None:
    assert not imports_of(module)[1] & DRIVERS_ONLY


def test_nothing_goes_in_a_circle() -> None:
    graph = {module: imports_of(module)[0] for module in FILES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


def test_layers_are_in_order() -> None:
    """What a layer may import stands above it in the table: the table itself has no arrow back."""
    order = list(LAYERS)
    for layer, below in MAY_IMPORT.items():
        late = {other for other in below if order.index(other) >= order.index(layer)}
        assert late <= {"public"}, f"{layer} may import {late}"


def test_every_layer_has_a_file() -> None:
    assert {layer_of(module) for module in FILES} == set(LAYERS) == set(MAY_IMPORT)


def test_the_test_sees_an_arrow_that_runs_back() -> None:
    assert "protocol.head" in imports_of("http_connection")[0]
    assert "tls" in imports_of("connection")[0]  # within a function
    assert "accesslog" in imports_of("endpoint")[0]  # for types
    assert "handlers.web" in imports_of("handlers.routes")[0]  # relative
    assert "socket" in imports_of("sockets")[1]


@pytest.mark.parametrize("module", FILES)
def test_no_module_is_too_long(module: str) -> None:
    assert len(FILES[module].read_text().splitlines()) <= 450, "a module is at most about 400 lines"
