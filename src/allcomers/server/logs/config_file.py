"""The operator's configuration of logging (--log-config): a dictionary for logging.config.dictConfig in TOML, JSON or
YAML, or an INI file for fileConfig, as gunicorn and uvicorn take them."""

from __future__ import annotations

import logging.config
from typing import Any, Final

from allcomers.config import trusted_files
from allcomers.errors import ConfigError

_PACKAGE: Final = "--log-config: a YAML file needs PyYAML: pip install pyyaml; or write it as TOML or JSON"


def apply(path: str) -> None:
    """Configure logging by the file at `path`. Loggers that it does not name stay enabled, unless it says otherwise.

    Raises ConfigError.
    """
    try:
        text = trusted_files.read(path).decode()
    except (OSError, ValueError) as error:
        raise ConfigError(f"--log-config {path!r}: {getattr(error, 'strerror', None) or error}") from None
    try:
        _apply(path.rpartition(".")[2].lower(), text)
    except ConfigError:
        raise
    except Exception as error:  # of a class that the file names, too
        cause = f": {error.__cause__}" if error.__cause__ is not None else ""
        raise ConfigError(f"--log-config {path!r}: {error!s}{cause}".replace("\n", " ")) from None


def _apply(kind: str, text: str) -> None:
    if kind not in ("toml", "json", "yaml", "yml"):
        _apply_ini(text)
        return
    table = _table(kind, text)
    if not isinstance(table, dict):
        raise ConfigError(f"--log-config: the {kind} file has no table at its top")
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, **table})


def _apply_ini(text: str) -> None:
    from configparser import RawConfigParser

    parser = RawConfigParser()
    parser.read_string(text)
    if not parser.has_section("loggers"):
        raise ConfigError("--log-config: an INI file has the section [loggers]; others end in .toml, .json or .yaml")
    logging.config.fileConfig(parser, disable_existing_loggers=False)


def _table(kind: str, text: str) -> Any:
    if kind == "toml":
        import tomllib

        return tomllib.loads(text)
    if kind == "json":
        import json

        return json.loads(text)
    try:
        import yaml  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise ConfigError(_PACKAGE) from None
    return yaml.safe_load(text)
