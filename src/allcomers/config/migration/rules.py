"""Rules for a flag that is not ours: translate it, ignore it, refuse it, or keep it until all flags are read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final, TypeAlias

from allcomers.config import checks
from allcomers.config.migration.result import Reading, typed
from allcomers.errors import ConfigError

Rule: TypeAlias = Callable[[Reading, str, str], None]
"""Called with (the state of reading, the flag as it was given, its value or "")."""


def to(ours: str, fixed: str = "") -> Rule:
    """Return a rule that translates a flag to one of ours, with the same value or a fixed one."""

    def rule(reading: Reading, flag: str, value: str) -> None:
        given = fixed or value
        reading.ours[ours] = given
        reading.add(ours, given)
        reading.report(f"{typed(flag, value)}: taken as {typed(ours, given)}")

    return rule


def no_need(reason: str) -> Rule:
    """Return a rule that ignores a flag, for this reason."""

    def rule(reading: Reading, flag: str, value: str) -> None:
        reading.report(f"{typed(flag, value)}: ignored, {reason}")

    return rule


def instead(alternative: str) -> Rule:
    """Return a rule that refuses a flag, and names an alternative."""

    def rule(reading: Reading, flag: str, value: str) -> None:
        raise ConfigError(f"{flag}: {alternative}")

    return rule


def only(default: str, otherwise: str) -> Rule:
    """Return a rule that ignores a flag with the value `default`, and refuses any other."""

    def rule(reading: Reading, flag: str, value: str) -> None:
        if value != default:
            raise ConfigError(f"{typed(flag, value)}: {otherwise}")
        reading.report(f"{typed(flag, value)}: ignored, that is always so")

    return rule


def keep(reading: Reading, flag: str, value: str) -> None:
    """Keep the value for the rules in `combined`."""
    reading.given[flag] = value


def deflate(reading: Reading, flag: str, value: str) -> None:
    try:
        is_on = checks.flag(value)
    except ConfigError as error:
        raise ConfigError(f"{flag}: {error}") from None
    to("--ws-deflate")(reading, flag, "on" if is_on else "off")


def disconnect_grace(reading: Reading, flag: str, value: str) -> None:
    """Translate gunicorn's grace period, in which 0 is at once; ours is then never."""
    to("--disconnect-grace")(reading, flag, "0.001" if value.strip() == "0" else value)


def http_parser(reading: Reading, flag: str, value: str) -> None:
    """Ignore the name of one of uvicorn's parsers; ours, the versions of HTTP, stay."""
    rule = to("--http") if value in ("1.1", "2") else no_need("there is one parser")
    rule(reading, flag, value)


_VERSIONS: Final = {"h1": "1.1", "h2": "2", "h1,h2": "auto"}


def http_protocols(reading: Reading, flag: str, value: str) -> None:
    """Translate gunicorn's list of protocols, in any order."""
    version = _VERSIONS.get(",".join(sorted(word.strip() for word in value.split(","))))
    if version is None:
        raise ConfigError(f"{typed(flag, value)}: of h1 and h2; a proxy in front speaks HTTP/3 (docs/http2.md)")
    to("--http", version)(reading, flag, value)


def keep_alive(reading: Reading, flag: str, value: str) -> None:
    """Translate the seconds of an idle connection; with 0 each response ends it."""
    rule = to("--max-requests-per-connection", "1") if value.strip() == "0" else to("--keep-alive")
    rule(reading, flag, value)


def proxy_headers(reading: Reading, flag: str, value: str) -> None:
    local = "127.0.0.1,::1"  # uvicorn's default
    reading.translation.weak["forwarded_allow_ips"] = (local, flag)
    reading.report(f"{flag}: taken as --forwarded-allow-ips {local}, unless you name other proxies")


def no_proxy_headers(reading: Reading, flag: str, value: str) -> None:
    reading.translation.arguments.append("--forwarded-allow-ips=")
    reading.report(f"{flag}: taken as --forwarded-allow-ips '': no proxy is trusted")


def environment(reading: Reading, flag: str, value: str) -> None:
    name, equals, text = value.partition("=")
    if not name or not equals:
        raise ConfigError(f"{typed(flag, value)}: it is not NAME=VALUE")
    reading.translation.environment[name] = text
    reading.report(f"{flag} {name}=...: set in the environment")


def colours(variable: str) -> Rule:
    """Return a rule that translates a flag to an environment variable, which other programs have, too."""

    def rule(reading: Reading, flag: str, value: str) -> None:
        reading.translation.environment[variable] = "1"
        reading.report(f"{flag}: taken as {variable}=1 in the environment")

    return rule


def env_file(reading: Reading, flag: str, value: str) -> None:
    reading.translation.env_files.append(value)
    reading.report(f"{flag} {value}: its variables are set in the environment, unless they are set already")


def python_path(reading: Reading, flag: str, value: str) -> None:
    paths = [path for path in value.split(",") if path] if flag == "--pythonpath" else [value]
    reading.translation.paths += paths
    reading.report(f"{typed(flag, value)}: taken as PYTHONPATH={os.pathsep.join(paths)}")


def umask(reading: Reading, flag: str, value: str) -> None:
    try:
        mask = int(re.sub(r"^0(?=\d)", "0o", value), 0)
        if not 0 <= mask <= 0o777:
            raise ValueError
    except ValueError:
        raise ConfigError(f"{typed(flag, value)}: it is not a mask from 0 to 0777") from None
    reading.add("--umask", f"{mask:04o}")
    reading.report(f"{typed(flag, value)}: taken as --umask {mask:04o}")


_STANDARD: Final = re.compile(r"/dev/(?:std(out|err)|fd/([12]))|/proc/self/fd/([12])")
"""Names of this process's standard output and error."""


def error_log(reading: Reading, flag: str, value: str) -> None:
    """Translate the place of gunicorn's log: ours is standard error, which can be joined to standard output."""
    found = _STANDARD.fullmatch(value)
    if value == "-" or (found is not None and ("err" in found.groups() or "2" in found.groups())):
        reading.report(f"{typed(flag, value)}: ignored, the log always goes to standard error")
    elif found is not None:
        reading.translation.joins_output = True
        reading.report(f"{typed(flag, value)}: taken as 2>&1, standard error goes where standard output goes")
    else:
        raise ConfigError(
            f"{typed(flag, value)}: the log goes to standard error: write 2>>{value} in a shell, or"
            f" StandardError=append:{value} for systemd"
        )
