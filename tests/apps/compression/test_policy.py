"""Which responses are compressed, and by which coding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers import Request, Response
from allcomers.apps.compression.codings import available
from allcomers.apps.compression.policy import Policy, Verdict
from allcomers.protocol.fields.accept_encoding import weights

POLICY = Policy(available())
NAMES = ["zstd", "gzip", "br"]


def asked(accept: str | None, *fields: tuple[bytes, bytes], method: str = "GET", scheme: str = "http") -> Request:
    lines = [*fields, *([(b"Accept-Encoding", accept.encode("latin-1"))] if accept is not None else [])]
    return Request(method=method, target="/", fields=lines, scheme=scheme)


def verdict(
    request: Request, *fields: tuple[str, str], policy: Policy = POLICY, size: int | None = 5000
) -> Verdict | None:
    return policy.verdict(request, Response(headers=[("Content-Type", "text/html"), *fields]), size)


def coding(accept: str | None, size: int | None = 5000) -> str | None:
    found = verdict(asked(accept), size=size)
    return found.coding.name if found and found.coding else None


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP ; q=1.000", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "gzip"),
        ("br", "br"),
        ("br, gzip;q=0.8", "br"),
        ("deflate", None),
        ("*", "zstd"),
        ("*;q=0", None),
        ("zstd;q=0, *", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0.0, br;q=0.001", "br"),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("identity;q=0, gzip;q=0.001", "gzip"),
        ("gzip;q=2", None),
        ("gzip;q=1.5, br;q=", None),
        ("gzip;x=1", None),
        (",, gzip,,", "gzip"),
        ("gzip" + "," * 300, None),
    ],
)
def test_the_coding_that_a_client_likes_best(accept: str | None, name: str | None) -> None:
    assert coding(accept) == name


def test_several_fields_are_one_list() -> None:
    found = verdict(asked("br", (b"Accept-Encoding", b"gzip, br;q=0.1")))
    assert found is not None
    assert found.coding is not None
    assert found.coding.name == "gzip"


def test_a_small_body_is_coded_for_a_client_that_takes_nothing_else() -> None:
    assert coding("gzip", 1023) is None
    assert coding("gzip", 1024) == "gzip"
    assert coding("gzip", None) == "gzip"  # of unknown length
    assert coding("gzip, identity;q=0", 10) == "gzip"
    assert coding("gzip, *;q=0", 10) == "gzip"
    assert coding("gzip, *;q=0, identity;q=0.1", 10) is None


elements = st.tuples(st.sampled_from([*NAMES, "deflate", "identity", "*", ""]), st.integers(0, 1000) | st.none())


@given(st.lists(elements, max_size=6, unique_by=lambda element: element[0]))
def test_no_coding_that_the_client_refuses(listed: list[tuple[str, int | None]]) -> None:
    field = ", ".join(name if weight is None else f"{name};q={weight / 1000:.3f}" for name, weight in listed)
    given_weights = {name: 1000 if weight is None else weight for name, weight in listed if name}
    found = coding(field)
    if found is None:
        others = given_weights.get("*", 0)
        plain = given_weights.get("identity", 0)
        assert all(not given_weights.get(name, others) or given_weights.get(name, others) < plain for name in NAMES)
    else:
        weight = given_weights.get(found, given_weights.get("*", 0))
        assert weight > 0
        assert all(weight >= given_weights.get(name, given_weights.get("*", 0)) for name in NAMES)
        assert weight >= given_weights.get("identity", 0)


@given(st.text(st.characters(max_codepoint=255), max_size=300))
def test_any_field_is_read(field: str) -> None:
    assert coding(field) in (None, *NAMES)
    assert all(0 <= weight <= 1000 for weight in weights(field).values())


@pytest.mark.parametrize(
    ("fields", "answer", "is_coded"),
    [
        ([], [], True),
        ([(b"Cookie", b"a=b")], [], False),
        ([(b"Authorization", b"Basic YTpi")], [], False),
        ([], [("set-cookie", "a=b")], False),
    ],
)
def test_answers_with_secrets_over_tls(
    fields: list[tuple[bytes, bytes]], answer: list[tuple[str, str]], is_coded: bool
) -> None:
    over_tls = asked("gzip", *fields, scheme="https")
    for policy, expected in (
        (POLICY, is_coded),
        (Policy(available(), secrets=True), True),
        (Policy(available(), private=True), False),
    ):
        found = verdict(over_tls, *answer, policy=policy)
        assert found is not None
        assert (found.coding is not None) == expected
        assert ("Vary", "Accept-Encoding") in found.headers  # other clients get it coded
    plain = verdict(asked("gzip", *fields), *answer)
    assert plain is not None
    assert plain.coding is not None


@pytest.mark.parametrize(
    ("vary", "merged"),
    [
        ("Cookie", "Cookie, Accept-Encoding"),
        ("*", "*"),
        ("Cookie, accept-encoding", "Cookie, accept-encoding"),
        ("", "Accept-Encoding"),
    ],
)
def test_vary_is_merged(vary: str, merged: str) -> None:
    found = verdict(asked("gzip"), ("vary", vary))
    assert found is not None
    assert [value for name, value in found.headers if name.lower() == "vary"] == [merged]


@pytest.mark.parametrize(
    ("kind", "is_coded"),
    [
        ("text/html; charset=utf-8", True),
        ("TEXT/CSV", True),
        ("text/event-stream", True),
        ("application/json", True),
        ("application/problem+json", True),
        ("image/svg+xml", True),
        ("application/wasm", True),
        ("application/javascript", True),
        ("application/octet-stream", False),
        ("image/jpeg", False),
        ("application/zip", False),
        ("font/woff2", False),
        ("", False),
    ],
)
def test_types(kind: str, is_coded: bool) -> None:
    found = POLICY.verdict(asked("gzip"), Response(headers=[("Content-Type", kind)]), 5000)
    assert (found is not None) == is_coded


@pytest.mark.parametrize(
    "headers", [[("Content-Type", None)], [(b"a", b"b")], [1], [("a",)], [("Content-Length", "x")]]
)
def test_fields_that_are_none_are_left_to_the_framing(headers: list[object]) -> None:
    response = Response()
    response.headers = headers  # type: ignore[assignment]
    assert POLICY.verdict(asked("gzip"), response, 5000) is None
