"""The shape of the source: one layer a folder, arrows one way, and counts that hold for code that comes later, too.

    errors ← config ← protocol ← system ← connection ← apps ← calls ← models ← server ← commands

An import within a function or for types alone is an arrow like any other. `tools/house --all` shows each count.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from support import source
from support.source import FILES, imports_of

LAYERS = ("errors", "config", "protocol", "system", "connection", "apps", "calls", "models", "server", "commands")
"""From below: each imports only what stands before it, and its own."""

TOP = ("allcomers", "__main__")
"""What apps import from, and the command."""

DRIVERS_ONLY = {"socket", "select", "selectors", "asyncio", "threading", "time", "signal", "subprocess", "concurrent"}
"""What protocol and connection never import: bytes and `now` go in, values come out."""


def layer_of(module: str) -> str:
    top = module.partition(".")[0]
    assert top in LAYERS, f"{module} stands in no layer: there are {', '.join(LAYERS)}"
    return top


@pytest.mark.parametrize("module", [name for name in FILES if name not in TOP])
def test_no_arrow_runs_back(module: str) -> None:
    height = LAYERS.index(layer_of(module))
    for other in imports_of(module)[0] - {"allcomers"}:
        assert LAYERS.index(layer_of(other)) <= height, f"{module} imports {other}, which stands above it"


@pytest.mark.parametrize("module", [name for name in FILES if name.startswith(("protocol", "connection"))])
def test_what_is_pure_knows_no_socket_no_clock_no_thread(module: str) -> None:
    assert not imports_of(module)[1] & DRIVERS_ONLY - ({"time"} if module == "protocol.dates" else set())  # gmtime()


def test_no_circle_of_modules() -> None:
    try:
        TopologicalSorter(source.graph()).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


def test_no_circle_of_folders() -> None:
    try:
        TopologicalSorter(source.folder_graph()).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


def test_the_top_has_twelve_entries_and_no_folder_more_files() -> None:
    assert len(source.entries()) <= 12
    assert {folder: count for folder, count in source.files_in_folders().items() if count > 12} == {}


def test_the_test_sees_imports_of_every_kind() -> None:
    assert "protocol.head" in imports_of("connection.http.endpoint")[0]
    assert "connection.tls" in imports_of("connection.base")[0]  # within a function
    assert "server.access_log" in imports_of("server.endpoint")[0]  # for types
    assert "apps.static.tree" in imports_of("apps.static.listing")[0]
    assert "models.fastpath._http" in imports_of("models.fastpath.setup")[0]  # compiled
    assert "socket" in imports_of("system.sockets")[1]


def test_no_chain_of_imports_is_long() -> None:
    """A chain of modules is what must be read to know one of them."""
    chain = source.longest_chain()
    assert len(chain) <= 16, " → ".join(chain)


@pytest.mark.parametrize("module", FILES)
def test_nothing_is_too_long(module: str) -> None:
    assert source.lines_of(FILES[module]) <= 400, "cut it: a module has at most 400 lines"
    for function in source.functions(module):
        assert source.code_length(function) <= 40, f"cut {function.name}(): a function has at most 40 lines"
    for node in source.classes(module) if source.is_core(module) else ():
        assert source.length(node) <= 300, f"cut {node.name}: a class has at most 300 lines"
        assert source.methods(node) <= 25, f"cut {node.name}: a class has at most 25 methods"
        states = source.state_booleans(node)
        assert len(states) <= 2, f"{node.name} has its state in {', '.join(sorted(states))}: make it one enum"


@pytest.mark.parametrize("path", sorted((source.ROOT / "tests" / "support").rglob("*.py")), ids=lambda path: path.name)
def test_no_helper_of_tests_is_too_long(path: Path) -> None:
    assert source.lines_of(path) <= 400


def test_no_two_classes_of_the_core_have_one_name() -> None:
    assert source.names_used_twice() == {}


def test_docstrings_are_sentences() -> None:
    """At most 3 % open with a pronoun, a preposition or a question word; none is a question (tools/house --all)."""
    docs = list(source.docstrings())
    odd = [f"{module}.{function.name}: {text}" for module, function, text in docs if source.opens_oddly(function, text)]
    assert len(odd) <= 0.03 * len(docs), "\n".join(odd)
    assert [f"{module}.{function.name}: {text}" for module, function, text in docs if source.asks(text)] == []
