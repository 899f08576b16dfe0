"""Cookies: those that come, and the field that sets one."""

from __future__ import annotations

from http.cookies import SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.apps.web import with_secure_cookies
from allcomers.errors import AnswerError
from allcomers.protocol.encode import encode_fields
from allcomers.protocol.message import Request, Response


def cookies(*lines: bytes) -> dict[str, str]:
    return Request(method="GET", target="/", fields=[(b"cookie", line) for line in lines]).cookies


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"", {}),
        (b"a=1; b=2", {"a": "1", "b": "2"}),
        (b"a=1;b=2;", {"a": "1", "b": "2"}),
        (b"a=; b", {"a": ""}),
        (b"=x; a=b=c", {"a": "b=c"}),
        (b'a="1 2"; b="', {"a": "1 2", "b": '"'}),
        (b"a=first; a=second", {"a": "first"}),
        (b"a=%20\xff", {"a": "%20\xff"}),
    ],
)
def test_cookies_are_read(line: bytes, found: dict[str, str]) -> None:
    assert cookies(line) == found


def test_cookies_of_several_fields() -> None:
    assert cookies(b"a=1", b"b=2") == {"a": "1", "b": "2"}
    assert Request(method="GET", target="/").cookies == {}


def field(name: str = "a", value: str = "b", **attributes: object) -> str:
    response = Response()
    response.set_cookie(name, value, **attributes)  # type: ignore[arg-type]
    encode_fields(response.headers)  # it can be sent
    return dict(response.headers)["Set-Cookie"]


def test_the_defaults_are_safe() -> None:
    assert field() == "a=b; Path=/; SameSite=Lax; HttpOnly"


def test_attributes() -> None:
    assert field(max_age=60, domain="a.org", path="/x", samesite="strict", httponly=False, secure=True) == (
        "a=b; Max-Age=60; Domain=a.org; Path=/x; SameSite=Strict; Secure"
    )
    assert "Secure" in field(samesite="none")  # without which browsers drop it
    assert "Secure" in field("__Host-a")
    assert "Secure" in field("__Secure-a", path="/x")


def test_a_cookie_is_deleted() -> None:
    response = Response(headers={"X": "y"})
    response.delete_cookie("a", path="/x")
    assert response.headers == [("X", "y"), ("Set-Cookie", "a=; Max-Age=0; Path=/x; SameSite=Lax; HttpOnly")]


@pytest.mark.parametrize(
    ("name", "value", "attributes"),
    [
        ("", "b", {}),
        ("a b", "c", {}),
        ("a=b", "c", {}),
        ("ä", "b", {}),
        ("a", "b c", {}),
        ("a", "b;c", {}),
        ("a", "b\r\nSet-Cookie: x=y", {}),
        ("a", "b\n", {}),
        ("a", "ü", {}),
        ("a", "b", {"path": "x"}),
        ("a", "b", {"path": "/x; Domain=evil.org"}),
        ("a", "b", {"domain": "a.org\r\nX: y"}),
        ("a", "b", {"samesite": "Lax; x"}),
        ("a", "b" * 4096, {}),
        ("__Host-a", "b", {"domain": "a.org"}),
        ("__Host-a", "b", {"path": "/x"}),
        ("__Secure-a", "b", {"secure": False}),
        ("a", "b", {"samesite": "None", "secure": False}),
    ],
)
def test_what_no_field_can_carry_is_refused(name: str, value: str, attributes: dict[str, object]) -> None:
    with pytest.raises(AnswerError, match="cookie"):
        field(name, value, **attributes)


@given(st.text(max_size=30), st.text(max_size=30))
def test_what_is_set_comes_back(name: str, value: str) -> None:
    try:
        text = field(name, value)
    except AnswerError:
        return
    assert SimpleCookie(text)[name].value == value
    assert cookies(text.partition(";")[0].encode("ascii")) == {name: value}


@pytest.mark.parametrize(
    ("scheme", "secure", "is_secure"),
    [("http", None, False), ("https", None, True), ("https", False, False), ("http", True, True)],
)
def test_a_cookie_is_secure_where_its_request_came_by_tls(scheme: str, secure: bool | None, is_secure: bool) -> None:
    def handler(request: Request) -> Response:
        response = Response()
        response.set_cookie("a", "b", secure=secure)
        return response

    response = with_secure_cookies(handler)(Request(method="GET", target="/", scheme=scheme))
    assert dict(response.headers)["Set-Cookie"].endswith("; Secure") is is_secure
