"""Targets: from `module:attribute` or `path/file.py:attribute` to what serves it.

    module            its `application`, or its `app`
    module:name.name  what is found there
    module:name('x')  what name returns when it is called with these arguments: literals, nothing else is evaluated

What cannot be loaded is an AppError that says which part of the target is wrong; an import that raises shows the app's
own part of the traceback and nothing of ours.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

from allcomers.errors import AppError, ConfigError, OperatorError

_HERE = str(Path(__file__).parents[1]) + os.sep
_IMPORTLIB = str(Path(importlib.__file__).parent) + os.sep

_logger = logging.getLogger("allcomers.app")

_MOST_SHOWN: Final = 20
"""Names that an error lists."""

USUAL: Final = ("application", "app")
"""What a target without a name stands for, the first there is. gunicorn, uWSGI and mod_wsgi look for `application`,
`app` is what most people write; where a module has both, the one is most often the other with something around it."""


class TargetCall(NamedTuple):
    """The arguments that a target gives: `create_app('test', debug=True)`."""

    arguments: list[Any]
    keywords: dict[str, Any]


class Target(NamedTuple):
    """A target, taken apart.

    place  the module, or the file if that ends in ".py"
    names  what is looked up there, one in the other; empty where nothing is named
    call   what that is called with; None where it is not called
    """

    place: str
    names: list[str]
    call: TargetCall | None

    @property
    def is_file(self) -> bool:
        return self.place.endswith(".py")


def load(target: str) -> Any:
    """The object that `target` names. Raises AppError; ConfigError where it is not of that form."""
    wanted = parse(target)
    place = wanted.place
    module = _load_file(Path(place)) if wanted.is_file else _load_module(place)
    if not wanted.names:
        return _usual(module, place)
    found = _look_up(module, wanted)
    return found if wanted.call is None else _call(found, wanted, wanted.call)


# ---------------------------------------------------------------- its form


def parse(target: str) -> Target:
    """`target`, taken apart. Raises ConfigError."""
    at = -1
    while (at := target.find(":", at + 1)) >= 0:  # a path may have a colon, and so may an argument
        named = _parse_name(target[at + 1 :])
        if named is not None:
            return Target(_checked_place(target[:at], target), *named)
    if ":" in target.removesuffix(".py"):
        raise _malformed(target, "what follows the colon is neither a name nor a call with plain values")
    return Target(_checked_place(target, target), [], None)


def _malformed(target: str, why: str) -> ConfigError:
    return ConfigError(f"TARGET {target!r} is not MODULE:ATTRIBUTE or FILE.py:ATTRIBUTE, as in app.py:Hello: {why}")


def _checked_place(place: str, target: str) -> str:
    if place.endswith(".py"):
        return place
    if not place:
        raise _malformed(target, "the module is missing")
    if os.sep in place:
        raise _malformed(target, f"{place!r} is a path, but not of a .py file")
    if not all(part.isidentifier() for part in place.split(".")):
        raise _malformed(target, f"{place!r} is no module's name")
    return place


def _parse_name(text: str) -> tuple[list[str], TargetCall | None] | None:
    """`text` as names and the call behind them; None where it is nothing of that kind."""
    name, bracket, _ = text.partition("(")
    names = name.split(".")
    if not all(part.isidentifier() for part in names):
        return None
    if not bracket:
        return names, None
    call = _parse_call(text, name)
    return None if call is None else (names, call)


def _parse_call(text: str, name: str) -> TargetCall | None:
    """The arguments in `text`, a call of `name`; None where it is another expression, or they are no literals."""
    import ast  # late: few targets have a call

    try:
        tree = ast.parse(text, mode="eval").body
        if not isinstance(tree, ast.Call) or ast.unparse(tree.func) != name:
            return None
        keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in tree.keywords if keyword.arg}
        if len(keywords) < len(tree.keywords):  # **more
            return None
        return TargetCall([ast.literal_eval(argument) for argument in tree.args], keywords)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None


# ---------------------------------------------------------------- what it names


def _usual(module: ModuleType, place: str) -> Any:
    """What a module serves that was named without a name."""
    for name in USUAL:
        found = getattr(module, name, None)
        if found is not None and not isinstance(found, ModuleType):  # a package's `app` may be a module of it
            _logger.debug("%s names nothing in it: its %s is taken", place, name)
            return found
    makers = [name for name in ("create_app", "make_app") if callable(getattr(module, name, None))]
    how = f"{place}:{makers[0]}()" if makers else f"{place}:NAME"
    raise AppError(f"{place} has neither {' nor '.join(USUAL)}: say {how}; {_has(vars(module))}")


def _look_up(module: ModuleType, wanted: Target) -> Any:
    found: Any = module
    whole = ".".join(wanted.names)
    for part in wanted.names:
        try:
            found = getattr(found, part)
        except AttributeError:
            raise AppError(f"{wanted.place} has no {whole!r}; {_hint(part, found)}") from None
        except BaseException as error:
            raise failure(f"getting {whole} of {wanted.place}", error) from None
    return found


def _hint(name: str, holder: Any) -> str:
    """What `holder` has instead of `name`."""
    import difflib

    names = [known for known in dir(holder) if not known.startswith("__")]
    close = difflib.get_close_matches(name, names)
    return f"did you mean {' or '.join(close)}?" if close else _has(names)


def _has(names: Iterable[str]) -> str:
    public = sorted(name for name in names if not name.startswith("_"))
    shown = ", ".join(public[:_MOST_SHOWN]) + (", ..." if len(public) > _MOST_SHOWN else "")
    return f"it has: {shown or 'nothing'}"


def _call(function: Any, wanted: Target, call: TargetCall) -> Any:
    name = ".".join(wanted.names)
    if not callable(function):
        raise AppError(f"{wanted.place} has {name}, but it cannot be called: leave the brackets out")
    try:
        return function(*call.arguments, **call.keywords)
    except BaseException as error:
        if isinstance(error, TypeError) and (why := _misfit(function, call)):
            raise AppError(f"{name} of {wanted.place} does not take what it is given: {why}") from None
        raise failure(f"calling {name} of {wanted.place}", error) from None


def _misfit(function: Any, call: TargetCall) -> str:
    """Why `function` does not take these arguments; empty if it does, or nobody can tell."""
    import inspect

    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return ""
    try:
        signature.bind(*call.arguments, **call.keywords)
    except TypeError as error:
        return str(error)
    return ""


# ---------------------------------------------------------------- where that is


def _load_module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise AppError(
                f"there is no module {error.name!r} here (in {here}) or among those installed{_meant(error.name)}"
            ) from None
        raise failure(f"importing {name}", error) from None
    except BaseException as error:
        raise failure(f"importing {name}", error) from None


def _meant(name: str) -> str:
    """The module in this folder that `name` may be a slip of."""
    import difflib

    here = [path.stem for path in Path.cwd().glob("*.py")]
    here += [path.parent.name for path in Path.cwd().glob("*/__init__.py")]
    close = difflib.get_close_matches(name, here, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise AppError(f"there is no file {str(path)!r}")
    folder, name = _as_module(path.resolve())
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        if "." in name:
            return importlib.import_module(name)
        return _run_file(path, name)
    except BaseException as error:
        raise failure(f"importing {path}", error) from None


def _as_module(path: Path) -> tuple[Path, str]:
    """(the folder to import it from, its name): of a file in a package, as Django's wsgi.py is, with the package's."""
    parts = [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts).removesuffix(".__init__")


def _run_file(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def failure(what: str, error: BaseException) -> AppError:
    """The error to be raised when the app's code has raised `error` before it could serve."""
    said = str(error).strip().splitlines()
    summary = said[0] if said and isinstance(error, OperatorError) else ": ".join([type(error).__name__, *said[:1]])
    if isinstance(error, SystemExit | KeyboardInterrupt):
        summary += " (what only a script does belongs under `if __name__ == '__main__':`)"
    return AppError(f"{what} failed: {summary}", _own_traceback(error))


def _own_traceback(error: BaseException) -> str:
    """The app's own part, of its causes too: what the import system and we did is left out."""
    whole = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = whole
    while part is not None:
        part.stack = traceback.StackSummary.from_list([frame for frame in part.stack if _is_own(frame)])
        part = part.__cause__ or part.__context__
    return "".join(whole.format()) if whole.stack or isinstance(error, SyntaxError) else ""


def _is_own(frame: traceback.FrameSummary) -> bool:
    return not frame.filename.startswith((_HERE, "<frozen", _IMPORTLIB))
