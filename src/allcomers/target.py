"""Targets: from `module:attribute` or `path/file.py:attribute` to what serves it.

What cannot be loaded is an AppError that says which part of the target is wrong; an import that raises shows the app's
own part of the traceback and nothing of ours.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from allcomers.errors import AppError, ConfigError, OperatorError

_HERE = str(Path(__file__).parent) + os.sep
_IMPORTLIB = str(Path(importlib.__file__).parent) + os.sep


def load(target: str) -> Any:
    """The object that `target` names. Raises AppError; ConfigError where it is not of that form."""
    place, colon, attribute = target.rpartition(":")
    is_file = place.endswith(".py")
    if not colon or not place or not attribute or (place.startswith(".") and not is_file):
        raise ConfigError(f"TARGET {target!r} is not MODULE:ATTRIBUTE or FILE.py:ATTRIBUTE, as in app.py:Hello")
    module = _load_file(Path(place)) if is_file else _load_module(place)
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            names = sorted(name for name in vars(module) if not name.startswith("_"))
            raise AppError(f"{place} has no {attribute!r}; it has: {', '.join(names) or 'nothing'}") from None
        except BaseException as error:
            raise failure(f"getting {attribute} of {place}", error) from None
    return found


def _load_module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise AppError(f"there is no module {error.name!r} here (in {here}) or among those installed") from None
        raise failure(f"importing {name}", error) from None
    except BaseException as error:
        raise failure(f"importing {name}", error) from None


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise AppError(f"there is no file {str(path)!r}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        raise failure(f"importing {path}", error) from None
    return module


def failure(what: str, error: BaseException) -> AppError:
    """The error to be raised when the app's code has raised `error` before it could serve."""
    said = str(error).strip().splitlines()
    summary = said[0] if said and isinstance(error, OperatorError) else ": ".join([type(error).__name__, *said[:1]])
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
