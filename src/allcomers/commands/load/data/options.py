"""The options of `allcomers load`: argv to a Plan and its outputs."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from allcomers.commands.arguments import Parser, duration
from allcomers.commands.load.data.plan import HOSTILE, Plan, path_of
from allcomers.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files to write, "" for none, "-" for standard output; and what the result is judged by.

    slo        terms of a service level objective
    compare    the file of an earlier result
    tolerance  share by which a figure may be worse
    """

    json: str = ""
    csv: str = ""
    html: str = ""
    hgrm: str = ""
    markdown: str = ""
    slo: str = ""
    compare: str = ""
    tolerance: float = 0.05
    quiet: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        return self.json, self.csv, self.html, self.hgrm, self.markdown


_ABOUT: Final = """\
Load a server with many clients, and report how it answered. Ends with 0; 1 if nothing was
answered, 2 for a bad option, 4 if --slo is missed or --compare finds it worse. Ctrl-C ends the
run early and reports the result so far."""

_EPILOG: Final = """\
A client of a closed loop sends its next request after a response, so a slow server gets fewer. An
open loop (-r) sends each request when it is due, and response times run from then: users arrive
like that. docs/load.md has examples, and defines every word."""


def parser() -> argparse.ArgumentParser:
    made = Parser(
        "allcomers load", usage="allcomers load URL [OPTIONS]", description=_ABOUT, epilog=_EPILOG,
        argument_default=argparse.SUPPRESS,
    )  # fmt: skip
    _add_loads(made)
    _add_requests(made)
    _add_outputs(made)
    return made


def _add_loads(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("load")
    add = group.add_argument
    add("url", metavar="URL", help="http://, https://, tcp:// or tls://HOST:PORT, with a path where there is one")
    add("-c", "--clients", metavar="N", type=_whole, help="concurrent connections (10)")
    add("-t", "--threads", metavar="N", type=_whole, dest="processes", help="processes that share the clients (1)")
    add("-d", "--duration", metavar="TIME", type=duration, dest="seconds", help="30s, 5m, 1h (10s, or what -n takes)")
    add("-n", "--requests", metavar="N", type=_whole, help="total number of requests (no limit)")
    add("-r", "--rate", metavar="N", type=_number, help="open loop: requests per second in total, sent when due")
    add("--arrivals", metavar="HOW", help="constant or poisson (constant)")
    add("--think", metavar="TIME", type=duration, help="closed loop: time from a response to the next request (0)")
    add("--ramp", metavar="TIME", type=duration, help="time in which clients, or the rate, grow from 0 (0)")
    add("--connections-per-second", metavar="N", type=_number, help="at most so many are opened (no limit)")
    add("--no-keep-alive", action="store_false", dest="keep_alive", help="a connection for each request")
    add("--pipeline", metavar="N", type=_whole, help="requests in flight on a connection (1)")
    add("--http2", action="store_true", help="HTTP/2: by ALPN for https://, with prior knowledge for http://")
    add("--streams", metavar="N", type=_whole, help="HTTP/2: requests at once on a connection (1)")
    add("--timeout", metavar="TIME", type=duration, help="limit for a connection, and for a response (10s)")
    add("--hostile", metavar="KIND", help=f"clients that attack: {', '.join(HOSTILE)}")
    add("--seed", metavar="N", type=_whole, help="seed of the random numbers (1)")
    add(
        "--i-own-this-host",
        action="store_true",
        dest="own_host",
        help="load a host outside private networks",
    )


def _add_requests(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("requests").add_argument
    add("-m", "--method", metavar="NAME", help="GET, POST ... (GET)")
    add("-H", "--header", metavar="'NAME: VALUE'", action="append", dest="headers", help="may be repeated")
    add(
        "--body",
        metavar="TEXT",
        help="body, or @FILE; for tcp:// and tls:// the request, where \\n, \\r, \\t, \\0, \\xHH and \\\\ are bytes",
    )
    add("--browser", action="store_true", help="send the ten header fields of a browser")
    add("--urls", metavar="FILE", help="paths or URLs of this server, a line each: requested in turn")
    add("--expect", metavar="TEXT", help="the exact body of each response (tcp: the response), written as --body")
    add("--expect-size", metavar="N", type=_whole, help="its size in bytes")
    add("--expect-status", metavar="LIST", help="statuses that are no error: 200,3xx (all below 400)")
    add("--ca-certs", metavar="FILE", help="https, tls: trusted certificates (any certificate is accepted)")


def _add_outputs(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("output; FILE may be -").add_argument
    add("--json", metavar="FILE", help="all figures, for programs")
    add("--csv", metavar="FILE", help="a row for each second")
    add("--html", metavar="FILE", help="a page with plots, in one file")
    add("--hgrm", metavar="FILE", help="response times as HdrHistogram's percentile distribution")
    add("--markdown", metavar="FILE", help="a summary for a pull request")
    add("--slo", metavar="'TERMS'", help="as 'p99<50ms,errors<0.1%%,tps>1000': exit status 4 if missed")
    add("--compare", metavar="FILE", help="an earlier --json: exit status 4 if this result is worse")
    add("--tolerance", metavar="P%", type=_share, help="with --compare: worse by more than this (5%%)")
    add("-q", "--quiet", action="store_true", help="show no progress and no table")
    add("-h", "--help", action="help", help="show this help")


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _number(text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return float(text)


def _share(text: str) -> float:
    return _number(text.removesuffix("%")) / 100


def read(arguments: Sequence[str]) -> tuple[Plan, Outputs]:
    """Parse the arguments. Raises ConfigError."""
    given: dict[str, Any] = vars(parser().parse_args(arguments))
    _check_not_zero(given)
    if "tolerance" in given and "compare" not in given:
        raise ConfigError("--tolerance is for --compare")
    outputs = Outputs(**{name: given.pop(name) for name in Outputs.__slots__ if name in given})
    url = given["url"] = _with_scheme(given["url"])
    raw = url.startswith(("tcp:", "tls:"))
    for name in ("body", "expect"):
        if name in given:
            given[name] = _bytes(f"--{name}", given[name], raw)
    given["headers"] = tuple(_header(text) for text in given.get("headers", ()))
    if "urls" in given:
        given["targets"] = _targets(given.pop("urls"), url)
    return Plan.make(**given), outputs


_ZERO: Final = {
    "rate": "-r 0 sends nothing; leave it out for a closed loop",
    "requests": "-n 0 sends nothing; leave it out for a load that -d ends",
    "seconds": "-d 0 measures nothing; leave it out for 10 seconds, or for a load that -n ends",
}


def _check_not_zero(given: dict[str, Any]) -> None:
    for name, reason in _ZERO.items():
        if given.get(name) == 0:
            raise ConfigError(reason)


def _with_scheme(url: str) -> str:
    return url if "://" in url else f"http://{url}"


def _bytes(flag: str, text: str, escaped: bool) -> bytes:
    if text.startswith("@"):
        return _file(flag, text[1:])
    data = text.encode("utf-8", "surrogateescape")
    return _unescaped(flag, data) if escaped else data


def _file(flag: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{flag} {path!r}: {getattr(error, 'strerror', None) or error}") from None


_ESCAPES: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


def _unescaped(flag: str, data: bytes) -> bytes:
    def replacement(found: re.Match[bytes]) -> bytes:
        if found[1][:1] == b"x" and len(found[1]) == 3:
            return bytes.fromhex(found[1][1:].decode())
        if found[1] not in _ESCAPES:
            raise ConfigError(f"{flag}: a backslash must precede n, r, t, 0, xHH or another backslash")
        return _ESCAPES[found[1]]

    return re.sub(rb"\\(x[0-9A-Fa-f]{2}|.|\Z)", replacement, data, flags=re.DOTALL)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise ConfigError(f"--header {text!r} is not NAME: VALUE")
    return name.strip(), value.strip()


def _targets(path: str, url: str) -> tuple[str, ...]:
    """Return the paths in a file; a URL in it must lead to the same server."""
    lines = _file("--urls", path).decode("utf-8", "replace").splitlines()
    targets = tuple(_target(line.strip(), url) for line in lines if line.strip() and not line.startswith("#"))
    if not targets:
        raise ConfigError(f"--urls {path!r}: it contains no path")
    return targets


def _target(line: str, url: str) -> str:
    if line.startswith("/"):
        return line
    target, server = urlsplit(line), urlsplit(url)
    if (target.scheme, target.netloc) != (server.scheme, server.netloc):
        raise ConfigError(f"--urls: {line!r} is neither a path nor a URL of {server.scheme}://{server.netloc}")
    return path_of(target)
