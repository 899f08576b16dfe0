"""Counts of the source of allcomers, read from its syntax trees: imports, lengths, docstrings, names."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "allcomers"
CORE = ("commands.load", "commands.lab", "commands.doctor")
"""Folders that the core does not include."""


def name_of(path: Path) -> str:
    """Return the module of a file: protocol/head.py → "protocol.head"; the package itself → "allcomers"."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts) or "allcomers"


FILES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}
COMPILED = {name_of(path) for path in SOURCE.rglob("*.pyx")}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def is_core(module: str) -> bool:
    """Whether the module belongs to the core: all but load, lab and doctor."""
    return not module.startswith(CORE)


# ---------------------------------------------------------------- imports


@cache
def imports_of(module: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return (modules of allcomers, top-level modules of others) that a module imports, wherever in it."""
    ours: set[str] = set()
    others: set[str] = set()
    package = ["allcomers", *FILES[module].relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(tree_of(module)):
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
                ours.add(rest.rpartition(".")[0])
                continue
            while rest and rest not in FILES:  # a name in a module, not a module
                rest = rest.rpartition(".")[0]
            ours.add(rest or "allcomers")
    return frozenset(ours - {module}), frozenset(others)


def graph() -> dict[str, set[str]]:
    """Return the imports of each module, for types too; without compiled modules, which import nothing here, and those
    of the package itself: it is a table of names, each loaded when it is used."""
    return {module: set(imports_of(module)[0]) & FILES.keys() if module != "allcomers" else set() for module in FILES}


def folder_of(module: str) -> str:
    """Return the folder of a module, with dots: "connection.http"; "" for the top."""
    if module in COMPILED:
        return module.rpartition(".")[0]
    return ".".join(FILES[module].relative_to(SOURCE).parts[:-1])


def folder_graph() -> dict[str, set[str]]:
    """Return which folders import from which. The top is left out: it hands on what apps import."""
    found: dict[str, set[str]] = {}
    for module in FILES:
        for other in imports_of(module)[0]:
            one, two = folder_of(module), folder_of(other)
            if one and two and one != two:
                found.setdefault(one, set()).add(two)
    return found


def longest_chain() -> list[str]:
    """Return the longest chain of imports between modules. Raises graphlib.CycleError."""
    imports = graph()
    best: dict[str, list[str]] = {}
    for module in TopologicalSorter(imports).static_order():
        best[module] = [module, *max((best[other] for other in imports[module]), key=len, default=[])]
    return max(best.values(), key=len)


def entries() -> set[str]:
    """Return the modules and the folders of modules at the top level."""
    return {path.relative_to(SOURCE).parts[0] for path in FILES.values()}


def files_in_folders() -> dict[str, int]:
    """Return the number of .py files in each folder."""
    return dict(Counter(str(path.parent.relative_to(SOURCE)) for path in FILES.values()))


# ---------------------------------------------------------------- lengths


def classes(module: str) -> Iterator[ast.ClassDef]:
    yield from (node for node in ast.walk(tree_of(module)) if isinstance(node, ast.ClassDef))


def functions(module: str) -> Iterator[Function]:
    yield from (node for node in ast.walk(tree_of(module)) if isinstance(node, Function))


def length(node: ast.AST) -> int:
    """Return the lines of a class or a function, its docstring included."""
    return node.end_lineno - node.lineno + 1  # type: ignore[attr-defined, no-any-return]


def code_length(function: Function) -> int:
    """Return the lines of a function without its docstring."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return function.end_lineno - body[0].lineno + 2 if body and function.end_lineno else 0


def methods(node: ast.ClassDef) -> int:
    return sum(isinstance(member, Function) for member in node.body)


def state_booleans(node: ast.ClassDef) -> set[str]:
    """Return the attributes that methods of a class set to True or to False: both, so they are state."""
    values: dict[str, set[bool]] = {}
    for part in ast.walk(node):
        if isinstance(part, ast.Assign) and isinstance(part.value, ast.Constant) and isinstance(part.value.value, bool):
            for target in part.targets:
                if (
                    isinstance(target, ast.Attribute)
                    and isinstance(target.value, ast.Name)
                    and target.value.id == "self"
                ):
                    values.setdefault(target.attr, set()).add(part.value.value)
    return {name for name, found in values.items() if len(found) == 2}


def names_used_twice() -> dict[str, list[str]]:
    """Return the names that more than one class of the core has, with their modules."""
    where: dict[str, list[str]] = {}
    for module in filter(is_core, FILES):
        for node in tree_of(module).body:
            if isinstance(node, ast.ClassDef):
                where.setdefault(node.name, []).append(module)
    return {name: modules for name, modules in where.items() if len(modules) > 1}


# ---------------------------------------------------------------- docstrings

ODD = re.compile(
    "i|he|she|it|we|they|you|me|him|her|us|them|its|his|their|our|your|my|this|that|these|those|one"
    "|who|whom|whose|what|which|where|when|why|how|whether"
    "|of|in|on|at|by|for|from|to|with|without|within|into|onto|over|under|after|before|until|till|since|as|if|about"
    "|against|among|between|beside|besides|during|per|through|upon|like"
    "|is|are|was|were|has|have|had|does|do|did|may|must|can|could|should|would|will|shall",
    re.IGNORECASE,
)
"""Words that open a docstring which is no sentence in the imperative: pronouns, prepositions, question words, and verbs
that ask. "Whether" may open that of a bool property."""


def docstrings() -> Iterator[tuple[str, Function, str]]:
    """Yield (module, function, its docstring) of all functions that have one."""
    for module in FILES:
        for function in functions(module):
            text = ast.get_docstring(function)
            if text:
                yield module, function, text


def opens_oddly(function: Function, text: str) -> bool:
    """Whether a docstring opens with a pronoun, a preposition or a question word."""
    word = text.split(maxsplit=1)[0].strip("`(\"'.,:;?")
    return bool(ODD.fullmatch(word)) and not (word == "Whether" and returns_bool(function))


def returns_bool(function: Function) -> bool:
    return function.returns is not None and ast.unparse(function.returns) == "bool"


def asks(text: str) -> bool:
    """Whether the first sentence of a docstring is a question."""
    first = text.split("\n\n")[0].replace("\n", " ")
    end = min((place for place in (first.find(mark + " ") for mark in ".:;") if place >= 0), default=len(first))
    return "?" in first[: end + 1] and "`" not in first
