"""Forwarded fields: the trusted proxies, how far back, and that no field of a client passes for a proxy's."""

from __future__ import annotations

import ipaddress
import time
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.errors import ConfigError
from allcomers.protocol.head import RequestHead, parse_request
from allcomers.protocol.message import Request
from allcomers.protocol.proxy.forwarded import HOPS, Proxies


class Client(NamedTuple):
    """The origin of a request."""

    host: str
    port: int
    scheme: str


PROXY = Client("10.0.0.1", 5000, "http")
TRUSTED = Proxies("10.0.0.0/8, 2001:db8:10::/48")


def head_of(*lines: str) -> Request:
    """Return a request's head with these lines."""
    block = "".join(f"{line}\r\n" for line in ("GET / HTTP/1.1", "Host: a", *lines))
    return parse_request(block.encode("latin-1"), 10_000, Request.__new__(Request))


def seen(*lines: str, peer: Client = PROXY, proxies: Proxies = TRUSTED) -> Client:
    return Client(*proxies.client(peer, head_of(*lines)))


def host(*lines: str, peer: str = "10.0.0.1", trusted: str = "10.0.0.0/8, 2001:db8:10::/48") -> str:
    return seen(*lines, peer=Client(peer, 5000, "http"), proxies=Proxies(trusted)).host


# ---------------------------------------------------------------- whose word is taken


@pytest.mark.parametrize(
    ("trusted", "peer", "is_trusted"),
    [
        ("", "127.0.0.1", False),
        ("", "", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        (" 127.0.0.1 , ::1,", "::1", True),
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("2001:db8::/32", "2001:db8:1::2", True),
        ("::ffff:10.0.0.0/104", "10.1.2.3", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("unix", "", True),
        ("unix", "127.0.0.1", False),
        ("127.0.0.1", "", False),
        ("*", "", True),
        ("*", "192.0.2.1", True),
        ("10.0.0.0/8", "no address", False),
    ],
)
def test_who_is_trusted(trusted: str, peer: str, is_trusted: bool) -> None:
    proxies = Proxies(trusted)
    for _ in range(2):  # and once more from memory
        assert proxies.trust(peer) is is_trusted
    assert host("X-Forwarded-For: 198.51.100.7", peer=peer, trusted=trusted) == ("198.51.100.7" if is_trusted else peer)


@pytest.mark.parametrize("word", ["localhost", "10.0.0.5/8", "10.0.0", "10.0.0.0/33", "::1%lo", "127.0.0.1:80", "Unix"])
def test_what_is_no_proxy_is_told(word: str) -> None:
    with pytest.raises(ConfigError, match="--forwarded-allow-ips: ") as caught:
        Proxies(f"127.0.0.1,{word}")
    assert repr(word) in str(caught.value)


def test_memory_of_who_is_trusted_has_an_end() -> None:
    proxies = Proxies("10.0.0.0/8")
    for number in range(5000):
        proxies.trust(f"192.0.{number // 250}.{number % 250}")
    assert len(proxies.known) <= 1024


# ---------------------------------------------------------------- X-Forwarded-For


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["X-Forwarded-For: 198.51.100.7"], "198.51.100.7"),
        (["x-forwarded-for:198.51.100.7 \t"], "198.51.100.7"),
        (["X-Forwarded-For: 203.0.113.9, 198.51.100.7"], "198.51.100.7"),  # the client made the first up
        (["X-Forwarded-For: 203.0.113.9, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        (["X-Forwarded-For: 203.0.113.9,198.51.100.7,10.0.0.2,2001:db8:10::5"], "198.51.100.7"),
        (["X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-For: 10.0.0.2"], "198.51.100.7"),
        (["X-Forwarded-For: 198.51.100.7", "x-forwarded-for: 10.0.0.3, 10.0.0.2"], "198.51.100.7"),
        (["X-Forwarded-For: 10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # all are ours: who began it
        (["X-Forwarded-For: 198.51.100.7:4711"], "198.51.100.7"),
        (["X-Forwarded-For: 2001:DB8::0:1"], "2001:db8::1"),
        (["X-Forwarded-For: [2001:db8::1]"], "2001:db8::1"),
        (["X-Forwarded-For: [2001:db8::1]:4711"], "2001:db8::1"),
        (["X-Forwarded-For: ::ffff:198.51.100.7"], "198.51.100.7"),
        # what cannot be read ends it
        (["X-Forwarded-For: "], "10.0.0.1"),
        (["X-Forwarded-For: unknown"], "10.0.0.1"),
        (["X-Forwarded-For: 198.51.100.7, unknown"], "10.0.0.1"),
        (["X-Forwarded-For: 198.51.100.7, unknown, 10.0.0.2"], "10.0.0.2"),
        (["X-Forwarded-For: 198.51.100.7,"], "10.0.0.1"),
        (["X-Forwarded-For: 198.51.100.7, "], "10.0.0.1"),
        (["X-Forwarded-For: 198.51.100.7", "X-Forwarded-For:"], "10.0.0.1"),
        (["X-Forwarded-For: 198.51.100.07"], "10.0.0.1"),
        (["X-Forwarded-For: 198.51.100.7:65536"], "10.0.0.1"),
        (["X-Forwarded-For: 198.51.100.7:"], "10.0.0.1"),
        (["X-Forwarded-For: fe80::1%eth0"], "10.0.0.1"),
        (["X-Forwarded-For: [198.51.100.7"], "10.0.0.1"),
        (["X-Forwarded-For: 2001:db8::1]"], "10.0.0.1"),
        (["X-Forwarded-For: 3325256711"], "10.0.0.1"),
        (["X-Forwarded-For: <script>\xe9"], "10.0.0.1"),
        (["X-Forwarded-For: \xb2\xb9.1.1.1"], "10.0.0.1"),
        # BAD_INPUT 45: a name with an underscore is no name
        (["X_Forwarded_For: 198.51.100.7"], "10.0.0.1"),
        (["X-Forwarded_For: 1.2.3.4", "X-Forwarded-For: 198.51.100.7", "X_Forwarded-For: 1.2.3.4"], "198.51.100.7"),
        # nobody else's words
        (["X-Real-IP: 198.51.100.7"], "10.0.0.1"),
        ([], "10.0.0.1"),
    ],
)  # fmt: skip
def test_the_client_is_the_rightmost_that_is_no_proxy(lines: list[str], client: str) -> None:
    assert host(*lines) == client
    assert host(*lines, peer="192.0.2.1") == "192.0.2.1"
    assert host(*lines, trusted="") == "10.0.0.1"


def test_where_everybody_is_trusted_the_leftmost_is_the_client() -> None:
    assert host("X-Forwarded-For: 203.0.113.9, 198.51.100.7", peer="192.0.2.1", trusted="*") == "203.0.113.9"


def test_the_port_is_that_of_the_client_or_unknown() -> None:
    assert seen("X-Forwarded-For: 198.51.100.7:4711").port == 4711
    assert seen("X-Forwarded-For: 198.51.100.7").port == 0
    assert seen("X-Forwarded-Proto: https").port == 5000
    assert seen("X-Forwarded-For: 198.51.100.7", peer=Client("192.0.2.1", 5000, "http")).port == 5000


def test_only_so_many_are_looked_at() -> None:
    for count in (HOPS - 1, HOPS, HOPS + 1, 3000):
        hops = ", ".join(f"10.0.{number // 250}.{number % 250}" for number in range(count))
        expected = "198.51.100.7" if count < HOPS else f"10.0.{(count - HOPS) // 250}.{(count - HOPS) % 250}"
        assert host(f"X-Forwarded-For: 198.51.100.7, {hops}") == expected
        lines = [f"X-Forwarded-For: {hop}" for hop in hops.split(", ")]
        assert host("X-Forwarded-For: 198.51.100.7", *lines) == expected


# ---------------------------------------------------------------- X-Forwarded-Proto


@pytest.mark.parametrize(
    ("lines", "scheme"),
    [
        (["X-Forwarded-Proto: https"], "https"),
        (["X-Forwarded-Proto: HTTPS"], "https"),
        (["X-Forwarded-Proto: wss"], "https"),
        (["X-Forwarded-Proto: ws"], "http"),
        (["X-Forwarded-Proto: ftp"], "http"),
        (["X-Forwarded-Proto: javascript"], "http"),
        (["X-Forwarded-Proto: "], "http"),
        (["X-Forwarded-Proto: https, http"], "http"),  # the nearest knows
        (["X-Forwarded-Proto: http", "X-Forwarded-Proto: https"], "https"),
        (["X-Forwarded-Proto: https", "X-Forwarded-For: 198.51.100.7"], "https"),
        (["X-Forwarded-Proto: https", "X-Forwarded-For: 198.51.100.7, 10.0.0.2"], "https"),
        (["X-Forwarded-Proto: https, http", "X-Forwarded-For: 198.51.100.7, 10.0.0.2"], "https"),  # one from each
        (["X-Forwarded-Proto: https, http", "X-Forwarded-For: 203.0.113.9, 198.51.100.7"], "http"),
        (["X-Forwarded-Proto: https, http", "X-Forwarded-For: 198.51.100.7"], "http"),
        (["X-Forwarded-Proto: https", "X-Forwarded-For: unknown"], "https"),
        (["X-Forwarded-Ssl: on", "X-Forwarded-Protocol: https", "X_Forwarded_Proto: https"], "http"),
    ],
)
def test_the_scheme_is_that_of_who_knows_the_client(lines: list[str], scheme: str) -> None:
    assert seen(*lines).scheme == scheme
    assert seen(*lines, peer=Client("192.0.2.1", 1, "http")).scheme == "http"


def test_a_proxy_may_say_http_to_a_server_with_tls() -> None:
    assert seen("X-Forwarded-Proto: http", peer=Client("10.0.0.1", 1, "https")).scheme == "http"


def test_the_host_is_never_a_proxys_word() -> None:
    head = head_of("X-Forwarded-For: 198.51.100.7", "X-Forwarded-Host: evil.test", "Forwarded: host=evil.test")
    TRUSTED.client(PROXY, head)
    assert head.host == "a"


# ---------------------------------------------------------------- Forwarded


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Forwarded: for=198.51.100.7"], ("198.51.100.7", "http")),
        (["Forwarded: For=198.51.100.7;Proto=https;by=203.0.113.43;host=evil.test"], ("198.51.100.7", "https")),
        (["forwarded: by=x; for=198.51.100.7 ; proto=HTTPS ;"], ("198.51.100.7", "https")),
        (['Forwarded: for="198.51.100.7:4711"'], ("198.51.100.7", "http")),
        (['Forwarded: for="[2001:db8:cafe::17]:4711"'], ("2001:db8:cafe::17", "http")),
        (['Forwarded: for="[2001:db8:cafe::17]:_port"'], ("2001:db8:cafe::17", "http")),
        ([r'Forwarded: for="198.\51.100.7"'], ("198.51.100.7", "http")),
        (["Forwarded: for=203.0.113.9, for=198.51.100.7, for=10.0.0.2"], ("198.51.100.7", "http")),
        (["Forwarded: for=198.51.100.7;proto=https, for=10.0.0.2;proto=http"], ("198.51.100.7", "https")),
        (["Forwarded: for=198.51.100.7, for=10.0.0.2;proto=https"], ("198.51.100.7", "https")),
        (["Forwarded: for=1.2.3.4", "Forwarded: for=9.8.7.6", "Forwarded: for=10.0.0.2"], ("9.8.7.6", "http")),
        (["Forwarded: , for=198.51.100.7,,"], ("198.51.100.7", "http")),
        (["Forwarded: proto=https"], ("10.0.0.1", "https")),
        # hidden, or garbage
        (["Forwarded: for=unknown"], ("10.0.0.1", "http")),
        (["Forwarded: for=_hidden, for=10.0.0.2"], ("10.0.0.2", "http")),
        (["Forwarded: for=198.51.100.7:80"], ("10.0.0.1", "http")),  # a colon must be quoted
        (["Forwarded: for=[2001:db8::1]"], ("10.0.0.1", "http")),
        (["Forwarded: for=198.51.100.7;for=203.0.113.9"], ("10.0.0.1", "http")),
        (["Forwarded: for=198.51.100.7 proto=https"], ("10.0.0.1", "http")),
        (["Forwarded: for = 198.51.100.7"], ("10.0.0.1", "http")),
        (["Forwarded: for"], ("10.0.0.1", "http")),
        (['Forwarded: for="198.51.100.7'], ("10.0.0.1", "http")),
        (["Forwarded: "], ("10.0.0.1", "http")),
        # a quote that a client has opened does not swallow a proxy's words, nor lend it others
        (['Forwarded: for="203.0.113.9', "Forwarded: for=198.51.100.7"], ("198.51.100.7", "http")),
        (['Forwarded: for="203.0.113.9, for=198.51.100.7'], ("10.0.0.1", "http")),
        (['Forwarded: for=203.0.113.9;x=", for="[2001:db8::1]"'], ("10.0.0.1", "http")),
        (["Forwarded: for=203.0.113.9" + ", for=198.51.100.7" * 200], ("10.0.0.1", "http")),  # too long to look at
        # the older fields come first, and one of them is enough
        (["Forwarded: for=203.0.113.9;proto=https", "X-Forwarded-For: 198.51.100.7"], ("198.51.100.7", "http")),
        (["Forwarded: for=203.0.113.9;proto=http", "X-Forwarded-Proto: https"], ("10.0.0.1", "https")),
        (["Forwarded: for=203.0.113.9", "X-Forwarded-For: unknown"], ("10.0.0.1", "http")),
    ],
)  # fmt: skip
def test_forwarded(lines: list[str], expected: tuple[str, str]) -> None:
    found = seen(*lines)
    assert (found.host, found.scheme) == expected
    stranger = Client("192.0.2.1", 1, "http")
    assert seen(*lines, peer=stranger) == stranger


# ---------------------------------------------------------------- anything

NAMES = st.sampled_from(["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "x-forwarded-for"])
VALUE = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=60)
LIKELY = st.lists(
    st.sampled_from(
        [
            "for=",
            "proto=",
            "https",
            ",",
            ";",
            '"',
            "\\",
            " ",
            "10.0.0.2",
            "198.51.100.7",
            "[::1]",
            ":80",
            "unknown",
            "%",
        ]
    ),
    max_size=12,
).map("".join)
LINES = st.lists(st.tuples(NAMES, VALUE | LIKELY).map(": ".join), max_size=5)


@given(LINES)
def test_whatever_is_sent_the_client_is_an_address_and_the_scheme_is_one(lines: list[str]) -> None:
    found = seen(*lines)
    assert str(ipaddress.ip_address(found.host)) == found.host
    assert 0 <= found.port < 65536
    assert found.scheme in ("http", "https")


@given(LINES)
def test_nothing_that_a_client_sends_passes_for_what_its_proxy_adds(lines: list[str]) -> None:
    """The proxy adds lines of its own behind, as HAProxy does; or to the last line, as nginx does."""
    own = "198.51.100.7"
    assert host(*lines, f"X-Forwarded-For: {own}") == own
    before = ", ".join(line.partition(": ")[2] for line in lines if line.startswith("X-Forwarded-For"))
    assert host(f"X-Forwarded-For: {before}, {own}" if before else f"X-Forwarded-For: {own}") == own
    forwarded = [line for line in lines if line.startswith("Forwarded")]
    assert host(*forwarded, f"Forwarded: for={own}") == own
    joined = ", ".join(line.partition(": ")[2] for line in forwarded)
    for added in (f"for={own}", f'for="[2001:db8::7]:80";proto=https;by="{own}"'):
        assert host(f"Forwarded: {joined}, {added}") in (own, "2001:db8::7", "10.0.0.1")


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_address_is_read(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    bracketed = f"[{ip}]" if ip.version == 6 else str(ip)
    plain = str(ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip)
    proxies = Proxies("192.0.2.1")
    peer = Client("192.0.2.1", 1, "http")
    for text, known in ((str(ip), 0), (bracketed, 0), (f"{bracketed}:{port}", port)):
        assert seen(f"X-Forwarded-For: {text}", peer=peer, proxies=proxies) == (plain, known, "http")
    assert seen(f'Forwarded: for="{bracketed}:{port}"', peer=peer, proxies=proxies) == (plain, port, "http")


@pytest.mark.parametrize(
    "line",
    [
        "X-Forwarded-For: " + "10.0.0.2," * 3000,
        "X-Forwarded-For: " + ":" * 30_000,
        "X-Forwarded-For: " + "[" * 30_000,
        "X-Forwarded-Proto: " + "," * 30_000,
        "Forwarded: " + 'a="' * 600,
        "Forwarded: " + "a=b;" * 500,
        "Forwarded: " + " " * 2000 + "!",
        'Forwarded: for="' + "\\" * 2000,
    ],
)
def test_a_value_built_to_be_slow_is_not(line: str) -> None:
    """BAD_INPUT 49."""
    head: RequestHead = head_of(line)
    begun = time.process_time()
    for _ in range(100):
        TRUSTED.client(PROXY, head)
    assert time.process_time() - begun < 1


@given(st.from_regex(r"[0-9.]{1,15}", fullmatch=True) | st.ip_addresses(v=4).map(str))
def test_an_ipv4_address_is_written_as_the_kernel_does(text: str) -> None:
    try:
        expected = str(ipaddress.ip_address(text))
    except ValueError:
        expected = "10.0.0.1"
    assert seen(f"X-Forwarded-For: {text}").host == expected
