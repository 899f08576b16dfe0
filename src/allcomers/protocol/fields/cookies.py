"""Cookies (RFC 6265): those that a client sends, and the field that sets one."""

from __future__ import annotations

import re
from typing import Final

from allcomers.errors import AnswerError

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_ATTRIBUTE: Final = re.compile(r"[\x20-\x3a\x3c-\x7e]*")
"""cookie-name, cookie-value and path-value (section 4.1.1)."""

_MOST: Final = 4096  # bytes of name, value and attributes that each browser takes (section 6.1)

_SAME_SITE: Final = {"lax": "Lax", "strict": "Strict", "none": "None"}


class DefaultCookie(str):
    """The value of a Set-Cookie whose app has not said whether it is Secure: it is, once its request was by TLS."""

    __slots__ = ()


def parse(text: str) -> dict[str, str]:
    """Return the cookies of a Cookie field; of several of one name the first. What has no name is left out."""
    found: dict[str, str] = {}
    for pair in text.split(";"):
        name, equals, value = pair.partition("=")
        if equals and (name := name.strip()):
            value = value.strip()
            found.setdefault(name, value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value)
    return found


def attributes(max_age: int | None, path: str, domain: str, httponly: bool, samesite: str) -> str:
    """Return the attributes of a Set-Cookie field, but for Secure. Raises AnswerError for what none can carry."""
    same = _SAME_SITE.get(samesite.lower())
    if same is None:
        raise AnswerError(f"a cookie's samesite is Lax, Strict or None, not {samesite!r:.20}")
    if not path.startswith("/") or not _ATTRIBUTE.fullmatch(path):
        raise AnswerError(f"a cookie's path begins with / and has no semicolon and only ASCII, unlike {path!r:.80}")
    if not _ATTRIBUTE.fullmatch(domain):
        raise AnswerError(f"a cookie's domain has no semicolon and only ASCII, unlike {domain!r:.80}")
    parts = (
        f"; Max-Age={int(max_age)}" if max_age is not None else "",
        f"; Domain={domain}" if domain else "",
        f"; Path={path}; SameSite={same}",
        "; HttpOnly" if httponly else "",
    )
    return "".join(parts)


def encode(name: str, value: str, attributes: str, secure: bool | None) -> str:
    """Return the value of a Set-Cookie field; a DefaultCookie where `secure` is None. Raises AnswerError for what no
    such field can carry, and for what browsers would drop without a word."""
    if not _TOKEN.fullmatch(name):
        raise AnswerError(f"a cookie's name is letters, digits and !#$%&'*+-.^_`|~, not {name!r:.80}")
    if not _VALUE.fullmatch(value):
        raise AnswerError(
            f"the cookie {name} has a character in its value that none can have (a space, a comma, a quote, anything "
            "that is not ASCII): use urllib.parse.quote()"
        )
    if name.startswith("__Host-") and ("; Domain=" in attributes or "; Path=/;" not in attributes):
        raise AnswerError(f"the cookie {name}: by its name it has no domain, and the path /")
    if name.startswith(("__Host-", "__Secure-")) or "; SameSite=None" in attributes:
        if secure is False:
            raise AnswerError(f"the cookie {name} must be secure: browsers drop it otherwise")
        secure = True
    text = f"{name}={value}{attributes}{'; Secure' if secure else ''}"
    if len(text) > _MOST:
        raise AnswerError(f"the cookie {name} has {len(text)} bytes, and browsers keep at most {_MOST}")
    return DefaultCookie(text) if secure is None else text


def made_secure(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return `headers` for a request that came by TLS: cookies are Secure unless their app has said otherwise."""
    if all(type(value) is not DefaultCookie for _, value in headers):
        return headers
    return [(name, f"{value}; Secure" if type(value) is DefaultCookie else value) for name, value in headers]
