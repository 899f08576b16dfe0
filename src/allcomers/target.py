"""Targets: from `module:attribute` or `path/file.py:attribute` to what serves it.

What cannot be loaded is an AppError that says which part of the target is wrong; an import that raises shows the app's
own part of the traceback and nothing of ours.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from allcomers.errors import AppError, ConfigError


def load(target: str) -> Any:
    """The object that `target` names. Raises AppError; ConfigError where it is not of that form."""
    place, colon, attribute = target.rpartition(":")
    if not colon or not place or not attribute:
        raise ConfigError(f"TARGET {target!r} is not MODULE:ATTRIBUTE or FILE.py:ATTRIBUTE, as in app.py:Hello")
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            names = sorted(name for name in vars(module) if not name.startswith("_"))
            raise AppError(f"{place} has no {attribute!r}; it has: {', '.join(names) or 'nothing'}") from None
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
        raise AppError(f"importing {name} failed: {error}", _own_traceback(error)) from None
    except BaseException as error:
        raise AppError(f"importing {name} failed: {_summary(error)}", _own_traceback(error)) from None


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
        raise AppError(f"importing {path} failed: {_summary(error)}", _own_traceback(error)) from None
    return module


def _summary(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def _own_traceback(error: BaseException) -> str:
    """From the app's first line on: what the import system and we did before is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__ and not frame.filename.startswith("<frozen")]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(_after_importlib(own))]
    return "".join([*lines, *traceback.format_exception_only(error)])


def _after_importlib(frames: list[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    return [frame for frame in frames if not frame.filename.endswith("importlib/__init__.py")]
