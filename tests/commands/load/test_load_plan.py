"""The options of the load generator, the hosts that it may load, and the requests that it sends."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from allcomers.commands.load.data import options
from allcomers.commands.load.data.plan import Plan, is_private, resolve
from allcomers.commands.load.run.requests import requests
from allcomers.errors import ConfigError

URL = "http://127.0.0.1:8000/a?b=c"


def plan(*arguments: str) -> Plan:
    return options.read([URL, *arguments])[0]


def sent(*arguments: str) -> list[bytes]:
    asked = plan(*arguments)
    return requests(asked, resolve(asked))


# ---------------------------------------------------------------- hosts


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.9.9.9", "::1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "fd00::1", "fe80::1%eth0"]
)
def test_this_machine_and_private_networks_may_be_loaded(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "172.32.0.1",
        "192.169.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "2001:db8::1",
        "::ffff:8.8.8.8",
    ],
)
def test_other_hosts_may_not(address: str) -> None:
    assert not is_private(address)


def test_a_public_host_needs_the_users_word() -> None:
    url = "http://192.0.2.1/"  # RFC 5737: reserved for documentation
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1.*--i-own-this-host"):
        resolve(Plan.make(url=url))
    assert resolve(Plan.make(url=url, own_host=True)).address[:2] == ("192.0.2.1", 80)


def test_a_host_is_resolved_once_and_named_as_written() -> None:
    destination = resolve(Plan.make(url="http://LOCALHOST:1/x"))
    assert is_private(destination.address[0])
    assert (destination.name, destination.authority, destination.path, destination.address[1]) == (
        "localhost",
        "localhost:1",
        "/x",
        1,
    )
    assert resolve(Plan.make(url="http://[::1]:8000")).authority == "[::1]:8000"
    assert resolve(Plan.make(url="https://127.0.0.1")).address[1] == 443
    assert resolve(Plan.make(url="https://127.0.0.1:443")).authority == "127.0.0.1"


def test_a_host_without_an_address() -> None:
    with pytest.raises(ConfigError, match="has no address"):
        resolve(Plan.make(url="http://nowhere.invalid/"))


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ftp://127.0.0.1/"], "is not http://HOST, https://HOST, tcp://HOST:PORT or tls://HOST:PORT"),
        (["http://"], "is not http://HOST"),
        (["http://127.0.0.1:x/"], "Port"),
        (["http://u:p@127.0.0.1/"], "Authorization"),
        (["http://127.0.0.1/a b"], "must be percent-encoded"),
        (["tcp://127.0.0.1"], "needs a port"),
        (["tls://127.0.0.1"], "needs a port"),
        (["tcp://127.0.0.1:1", "--body", "x"], "either --expect or --expect-size"),
        (
            ["tcp://127.0.0.1:1", "--body", "x", "--expect", "y", "--expect-size", "1"],
            "either --expect or --expect-size",
        ),
        (["tcp://127.0.0.1:1", "--body", "\\q", "--expect", "y"], "a backslash must precede"),
        (["tcp://127.0.0.1:1", "--hostile", "slow-head"], "is for http"),
        ([URL, "--expect", "x", "--expect-size", "1"], "has a size already"),
        ([URL, "--expect", "x", "-m", "HEAD"], "no body"),
        ([URL, "--expect-status", "ok"], "no list of statuses"),
        (["tcp://h:1", "--body", "x", "--expect", "x", "--expect-status", "200"], "is for http://"),
        ([URL, "-c", "0"], "--clients is at least 1"),
        ([URL, "-r", "0"], "-r 0 sends nothing"),
        ([URL, "--rate", "0.0"], "-r 0 sends nothing"),
        ([URL, "-n", "0"], "-n 0 sends nothing"),
        ([URL, "-d", "0"], "-d 0 measures nothing"),
        ([URL, "-c", "many"], "'many' is not a whole number"),
        ([URL, "-c", "²"], "is not a whole number"),
        ([URL, "-r", "nan"], "'nan' is not a number"),
        ([URL, "-d", "-1"], "'-1' is no time"),
        ([URL, "-d", "1e3"], "'1e3' is no time: 250ms, 90s, 5m, 1h"),
        ([URL, "-d", "nan"], "'nan' is no time"),
        ([URL, "--think", "5 m"], "'5 m' is no time"),
        ([URL, "-d", "0m"], "-d 0 measures nothing"),
        ([URL, "--timeout", "0"], "--timeout is a number of seconds above 0"),
        ([URL, "--arrivals", "bursts"], "constant or poisson"),
        ([URL, "-r", "1", "--think", "1"], "give one of them"),
        ([URL, "--hostile", "rude"], "choose one of slow-head"),
        ([URL, "--hostile", "idle", "-r", "1"], "set their own pace"),
        ([URL, "--pipeline", "2", "--no-keep-alive"], "not with --no-keep-alive"),
        ([URL, "--streams", "2"], "--streams is for --http2"),
        ([URL, "--http2", "--streams", "0"], "--streams is at least 1"),
        ([URL, "--http2", "--pipeline", "2"], "--pipeline is for HTTP/1.1"),
        ([URL, "--http2", "--no-keep-alive"], "not with --no-keep-alive"),
        ([URL, "--http2", "--hostile", "idle"], "speak HTTP/1.1"),
        (["tcp://h:1", "--http2", "--body", "x", "--expect", "x"], "for http:// and https://"),
        ([URL, "-H", "nothing"], "is not NAME: VALUE"),
        ([URL, "-H", "A: b\r\nC: d"], "is not NAME: VALUE"),
        ([URL, "-H", "Content-Length: 5"], "decide on the framing"),
        ([URL, "-m", "GET /"], "is no method"),
        ([URL, "--body", "@/nowhere/at/all"], "No such file"),
        ([URL, "--urls", "/nowhere/at/all"], "No such file"),
        ([URL, "--tolerance", "5%"], "is for --compare"),
        ([URL, "--frob"], "unrecognized arguments: --frob"),
        ([], "URL"),
    ],
)
def test_inconsistent_options_are_refused(arguments: list[str], expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        options.read(arguments)


def test_defaults() -> None:
    asked = plan()
    assert (asked.clients, asked.processes, asked.seconds, asked.requests, asked.is_open) == (10, 1, 10.0, 0, False)
    assert plan("-n", "5").seconds == 0.0
    times = plan("-d", "5m", "--think", "250ms", "--ramp", "90s", "--timeout", "1.5h")
    assert (times.seconds, times.think, times.ramp, times.timeout) == (300.0, 0.25, 90.0, 5400.0)
    assert plan("-t", "4", "-c", "2").processes == 2
    assert options.read(["127.0.0.1:8000"])[0].url == "http://127.0.0.1:8000"


# ---------------------------------------------------------------- requests


def test_a_request_as_it_goes_out() -> None:
    assert sent() == [b"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"]
    assert sent("-m", "POST", "--body", "hé", "-H", "X-A: 1", "--no-keep-alive") == [
        b"POST /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nX-A: 1\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
        b"h\xc3\xa9"
    ]
    assert sent("-H", "host: other") == [b"GET /a?b=c HTTP/1.1\r\nHost: other\r\n\r\n"]
    assert b"Content-Length: 0\r\n" in sent("-m", "PUT")[0]


def test_a_browsers_head_has_ten_fields_unless_they_are_given() -> None:
    head = sent("--browser", "-H", "accept: x")[0]
    assert head.count(b"\r\n") == 1 + 10 + 1
    assert head.lower().count(b"accept: ") == 1


def test_a_file_of_urls_is_requested_in_turn(tmp_path: Path) -> None:
    urls = tmp_path / "urls"
    urls.write_text("# pages\n/one\n\nhttp://127.0.0.1:8000/two?x=1\n")
    assert [request.split()[1] for request in sent("--urls", str(urls))] == [b"/one", b"/two?x=1"]
    for wrong, expected in (
        ("http://127.0.0.1:9000/", "neither a path nor"),
        ("/a b", "is no path"),
        ("# none", "contains no path"),
    ):
        urls.write_text(wrong)
        with pytest.raises(ConfigError, match=expected):
            plan("--urls", str(urls))


def test_a_service_is_sent_bytes(tmp_path: Path) -> None:
    file = tmp_path / "request"
    file.write_bytes(b"\x00\\n")
    url = "tcp://127.0.0.1:9000"
    plan_read = options.read([url, "--body", r"a\n\r\t\0\x7f\\é", "--expect", "@" + str(file)])[0]
    assert plan_read.body == "a\n\r\t\0\x7f\\é".encode()
    assert plan_read.expect == b"\x00\\n"


def test_the_manual_has_every_option() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "load.md").read_text()
    flags = {flag for action in options.parser()._actions for flag in action.option_strings if flag.startswith("--")}
    assert {flag for flag in flags if f"`{flag}" not in manual} == set()


def test_the_help_fits_a_screen() -> None:
    text = options.parser().format_help()
    assert max(map(len, text.splitlines())) <= 100
    assert len(text.splitlines()) <= 60
