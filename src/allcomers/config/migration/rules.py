"""What can be done with a flag that is not ours: taken for one of ours, ignored, refused, kept until all is read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final, TypeAlias

from allcomers.config import checks
from allcomers.config.migration.result import Reading, typed
from allcomers.errors import ConfigError

Rule: TypeAlias = Callable[[Reading, str, str], None]
"""(what was read so far, the flag as it was given, its value or "")."""


def to(ours: str) -> Rule:
    """Taken as a flag of ours, with the same value."""

    def rule(reading: Reading, flag: str, value: str) -> None:
        reading.ours[ours] = value
        reading.add(ours, value)
        reading.say(f"{typed(flag, value)}: taken as {typed(ours, value)}")

    return rule


def no_need(why: str) -> Rule:
    def rule(reading: Reading, flag: str, value: str) -> None:
        reading.say(f"{typed(flag, value)}: ignored, {why}")

    return rule


def instead(what: str) -> Rule:
    """Refused, with what to do."""

    def rule(reading: Reading, flag: str, value: str) -> None:
        raise ConfigError(f"{flag}: {what}")

    return rule


def only(default: str, otherwise: str) -> Rule:
    """A flag of which one value asks for nothing: others are refused."""

    def rule(reading: Reading, flag: str, value: str) -> None:
        if value != default:
            raise ConfigError(f"{typed(flag, value)}: {otherwise}")
        reading.say(f"{typed(flag, value)}: ignored, it is so in any case")

    return rule


def keep(reading: Reading, flag: str, value: str) -> None:
    """To be looked at when all is read."""
    reading.given[flag] = value


def deflate(reading: Reading, flag: str, value: str) -> None:
    try:
        is_on = checks.flag(value)
    except ConfigError as error:
        raise ConfigError(f"{flag}: {error}") from None
    to("--ws-deflate")(reading, flag, "on" if is_on else "off")


def disconnect_grace(reading: Reading, flag: str, value: str) -> None:
    """0 is at once for gunicorn, and never here."""
    to("--disconnect-grace")(reading, flag, "0.001" if value.strip() == "0" else value)


def no_access_log(reading: Reading, flag: str, value: str) -> None:
    reading.add("--access-log", "off")
    reading.say(f"{flag}: taken as --access-log off")


def proxy_headers(reading: Reading, flag: str, value: str) -> None:
    local = "127.0.0.1,::1"  # uvicorn's default
    reading.moved.weak["forwarded_allow_ips"] = (local, flag)
    reading.say(f"{flag}: taken as --forwarded-allow-ips {local}, unless you say who else is to be believed")


def no_proxy_headers(reading: Reading, flag: str, value: str) -> None:
    reading.moved.arguments.append("--forwarded-allow-ips=")
    reading.say(f"{flag}: taken as --forwarded-allow-ips '': nobody is believed")


def environment(reading: Reading, flag: str, value: str) -> None:
    name, equals, text = value.partition("=")
    if not name or not equals:
        raise ConfigError(f"{typed(flag, value)}: it is not NAME=VALUE")
    reading.moved.environment[name] = text
    reading.say(f"{flag} {name}=...: set in the environment")


def env_file(reading: Reading, flag: str, value: str) -> None:
    reading.moved.env_files.append(value)
    reading.say(f"{flag} {value}: what it has is set in the environment, unless it is set already")


def python_path(reading: Reading, flag: str, value: str) -> None:
    paths = [path for path in value.split(",") if path] if flag == "--pythonpath" else [value]
    reading.moved.paths += paths
    reading.say(f"{typed(flag, value)}: taken as PYTHONPATH={os.pathsep.join(paths)}")


def umask(reading: Reading, flag: str, value: str) -> None:
    try:
        mask = int(re.sub(r"^0(?=\d)", "0o", value), 0)
        if not 0 <= mask <= 0o777:
            raise ValueError
    except ValueError:
        raise ConfigError(f"{typed(flag, value)}: it is no mask from 0 to 0777") from None
    reading.moved.umask = mask
    reading.say(f"{typed(flag, value)}: the process's umask is set to {mask:04o}")


_STANDARD: Final = re.compile(r"/dev/(?:std(out|err)|fd/([12]))|/proc/self/fd/([12])")
"""Names of this process's standard output and error."""


def error_log(reading: Reading, flag: str, value: str) -> None:
    """Where gunicorn's own log goes: standard error is where ours is; to standard output it can be led."""
    found = _STANDARD.fullmatch(value)
    if value == "-" or (found is not None and ("err" in found.groups() or "2" in found.groups())):
        reading.say(f"{typed(flag, value)}: ignored, the log goes to standard error in any case")
    elif found is not None:
        reading.moved.joins_output = True
        reading.say(f"{typed(flag, value)}: taken as 2>&1, standard error goes where standard output goes")
    else:
        raise ConfigError(
            f"{typed(flag, value)}: the log goes to standard error: write 2>>{value} in a shell, or"
            f" StandardError=append:{value} for systemd"
        )
