"""Targets: from `module:attribute` or `path/file.py:attribute` to the object that they name.

    module            its `application`, or its `app`
    module:name.name  the attribute of the attribute
    module:name('x')  the result of a call of name with these arguments: literals, nothing else is evaluated

A failure is an AppError that says which part of the target is wrong; for an import that raises it has the app's own
part of the traceback and nothing of ours.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

from allcomers.errors import AppError, ConfigError, OperatorError

_HERE = str(Path(__file__).parents[1]) + os.sep
_COMPILED = "src/allcomers/"  # of the frames of Cython, by their file's name as it was built
_IMPORTLIB = str(Path(importlib.__file__).parent) + os.sep

_logger = logging.getLogger("allcomers.app")

_MOST_SHOWN: Final = 20
"""Names that an error lists."""

USUAL: Final = ("application", "app")
"""The names for a target without one, the first that exists. gunicorn, uWSGI and mod_wsgi look for `application`, most
people write `app`; where a module has both, `application` is most often `app` in a wrapper."""


class TargetCall(NamedTuple):
    """The arguments that a target gives: `create_app('test', debug=True)`."""

    arguments: list[Any]
    keywords: dict[str, Any]


class Target(NamedTuple):
    """A target in its parts.

    place  the module, or the file if that ends in ".py"
    names  of the attributes, one in the other; empty where there is none
    call   the arguments of a call; None without a call
    """

    place: str
    names: list[str]
    call: TargetCall | None

    @property
    def is_file(self) -> bool:
        return self.place.endswith(".py")


def load(target: str, paths: Sequence[str] = ()) -> Any:
    """Return the object that `target` names. Raises AppError; ConfigError where it is malformed.

    paths  folders in which its modules are searched first
    """
    parts = parse(target)
    sys.path[:0] = [folder for folder in paths if folder not in sys.path]
    place = parts.place
    module = _load_file(Path(place)) if parts.is_file else _load_module(place)
    if not parts.names:
        return _default_app(module, place)
    found = _look_up(module, parts)
    return found if parts.call is None else _call(found, parts, parts.call)


# ---------------------------------------------------------------- parsing


def parse(target: str) -> Target:
    """Return the parts of `target`. Raises ConfigError."""
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
    """Return the names in `text`, and the call behind them; None for any other text."""
    name, bracket, _ = text.partition("(")
    names = name.split(".")
    if not all(part.isidentifier() for part in names):
        return None
    if not bracket:
        return names, None
    call = _parse_call(text, name)
    return None if call is None else (names, call)


def _parse_call(text: str, name: str) -> TargetCall | None:
    """Return the arguments in `text`, a call of `name`; None for another expression or other than literals."""
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


# ---------------------------------------------------------------- looking up


def _default_app(module: ModuleType, place: str) -> Any:
    """Return the app of a target without a name. Raises AppError."""
    for name in USUAL:
        found = getattr(module, name, None)
        if found is not None and not isinstance(found, ModuleType):  # a package's `app` may be a module of it
            _logger.debug("%s names nothing in it: its %s is used", place, name)
            return found
    makers = [name for name in ("create_app", "make_app") if callable(getattr(module, name, None))]
    example = f"{place}:{makers[0]}()" if makers else f"{place}:NAME"
    raise AppError(f"{place} has neither {' nor '.join(USUAL)}: say {example}; {_has(vars(module))}")


def _look_up(module: ModuleType, target: Target) -> Any:
    found: Any = module
    whole = ".".join(target.names)
    for name in target.names:
        try:
            found = getattr(found, name)
        except AttributeError:
            raise AppError(f"{target.place} has no {whole!r}; {_hint(name, found)}") from None
        except BaseException as error:
            raise failure(f"getting {whole} of {target.place}", error) from None
    return found


def _hint(name: str, holder: Any) -> str:
    """Return names of `holder` to suggest instead of `name`."""
    import difflib

    names = [known for known in dir(holder) if not known.startswith("__")]
    close = difflib.get_close_matches(name, names)
    return f"did you mean {' or '.join(close)}?" if close else _has(names)


def _has(names: Iterable[str]) -> str:
    public = sorted(name for name in names if not name.startswith("_"))
    shown = ", ".join(public[:_MOST_SHOWN]) + (", ..." if len(public) > _MOST_SHOWN else "")
    return f"it has: {shown or 'nothing'}"


def _call(function: Any, target: Target, call: TargetCall) -> Any:
    name = ".".join(target.names)
    if not callable(function):
        raise AppError(f"{target.place} has {name}, but it cannot be called: leave the brackets out")
    try:
        return function(*call.arguments, **call.keywords)
    except BaseException as error:
        if isinstance(error, TypeError) and (mismatch := _mismatch(function, call)):
            raise AppError(f"{name} of {target.place} does not take these arguments: {mismatch}") from None
        raise failure(f"calling {name} of {target.place}", error) from None


def _mismatch(function: Any, call: TargetCall) -> str:
    """Return the reason why `function` does not take these arguments; empty if it does, or has no signature."""
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


# ---------------------------------------------------------------- importing


def _load_module(name: str) -> ModuleType:
    try:
        here = str(Path.cwd())
    except OSError:
        raise AppError(f"the current folder is gone, so {name} cannot be imported from it") from None
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise AppError(
                f"there is no module {error.name!r} here (in {here}) or among those installed{_suggestion(error.name)}"
            ) from None
        raise failure(f"importing {name}", error) from None
    except BaseException as error:
        raise failure(f"importing {name}", error) from None


def _suggestion(name: str) -> str:
    """Return a suggestion of a module in this folder with a similar name; empty if there is none."""
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
    """Return (the folder to import it from, its name), with its packages' names, as for Django's wsgi.py."""
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


def failure(action: str, error: BaseException) -> AppError:
    """Return the AppError for an `error` that the app's code raised in this action, before it could serve."""
    lines = str(error).strip().splitlines()
    summary = lines[0] if lines and isinstance(error, OperatorError) else ": ".join([type(error).__name__, *lines[:1]])
    if isinstance(error, SystemExit | KeyboardInterrupt):
        summary += " (what only a script does belongs under `if __name__ == '__main__':`)"
    return AppError(f"{action} failed: {summary}", own_traceback(error))


def own_traceback(error: BaseException) -> str:
    """Return the app's own part of a traceback and of its causes, without our frames and the import system's."""
    whole = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = whole
    while part is not None:
        part.stack = traceback.StackSummary.from_list([frame for frame in part.stack if _is_own(frame)])
        part = part.__cause__ or part.__context__
    return "".join(whole.format()) if whole.stack or isinstance(error, SyntaxError) else ""


def _is_own(frame: traceback.FrameSummary) -> bool:
    return not frame.filename.startswith((_HERE, _COMPILED, "<frozen", _IMPORTLIB))
