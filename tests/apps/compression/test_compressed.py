"""Compressed responses over sockets: a client decodes what the app has sent, by any interface, model and coding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.apps.compressed_app import Script
from support.clients import Lost

from .conftest import DECODERS, Served, decoded

Serve = Callable[..., Served]

STAGES = [
    ("app", "iterative", "inline", ""),
    ("app", "process", "inline", ""),
    ("app", "thread", "pool", "1"),
    ("app", "epoll", "auto", ""),
    ("app", "epoll", "inline", ""),
    ("app", "epoll-et", "pool", ""),
    ("app", "asyncio", "pool", ""),
    ("asgi", "asyncio", "inline", ""),
    ("asgi", "epoll", "inline", "1"),
    ("asgi", "poll", "inline", ""),
    ("asgi", "thread", "inline", ""),
    ("handler", "epoll", "inline", "1"),
    ("handler", "select", "auto", ""),
    ("handler", "asyncio", "inline", ""),
    ("handler", "thread-pool", "inline", ""),
]

HOWS = {
    "app": ["whole", "list", "pieces", "written", "file"],
    "asgi": ["whole", "pieces", "late", "file"],
    "handler": ["whole", "list", "pieces", "file"],
}

TEXT = "What is said once is said again, and again. "
LONG = [(TEXT, 60)]
JSON = [("Content-Type", "application/json")]

scripts = st.builds(
    Script,
    how=st.sampled_from(["whole", "list", "pieces", "written", "file", "late"]),
    pieces=st.lists(
        st.tuples(st.text("aé\n€", min_size=0, max_size=5), st.sampled_from([0, 1, 3, 300, 1024, 30_000])),
        min_size=1,
        max_size=6,
    ),
    declared=st.sampled_from([None, 0]),
)
accepts = st.sampled_from(
    [None, "gzip", "br", "zstd", "gzip, deflate, br, zstd", "br;q=0.9, gzip;q=0.3", "identity;q=0, *"]
)


@pytest.mark.parametrize(("app", "model", "calls", "pure"), STAGES)
def test_a_client_decodes_what_the_app_has_sent(serve: Serve, app: str, model: str, calls: str, pure: str) -> None:
    served = serve(app, "-m", model, "--calls", calls, pure=pure)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(scripts.filter(lambda script: script.how in HOWS[app]), accepts)
    def decodes(script: Script, accept: str | None) -> None:
        answer = served.ask(script, accept)
        assert decoded(answer) == script.body()
        if accept and len(script.body()) >= 1024:
            assert answer["Content-Encoding"] is not None

    decodes()
    assert "Traceback" not in served.server.stderr


@pytest.mark.parametrize("size", [100_000, 3_000_000])
@pytest.mark.parametrize(("app", "model", "calls", "pure"), STAGES)
def test_large_bodies(serve: Serve, app: str, model: str, calls: str, pure: str, size: int) -> None:
    served = serve(app, "-m", model, "--calls", calls, pure=pure)
    for how in HOWS[app]:
        script = Script(how, [(TEXT, size // len(TEXT)), ("end", 1)])
        for coding in ("zstd", "gzip", "br"):
            answer = served.ask(script, coding)
            assert (answer["Content-Encoding"], decoded(answer)) == (coding, script.body()), how
            assert len(answer.body) < size / 20


@pytest.mark.parametrize(
    ("app", "model", "calls"),
    [
        *(("app", model, calls) for model, calls in (("thread", "inline"), ("epoll", "auto"), ("epoll", "inline"))),
        *(("asgi", model, "inline") for model in ("asyncio", "epoll", "thread")),
        *(("handler", model, "inline") for model in ("asyncio", "epoll", "thread")),
    ],
)
def test_the_head_of_a_get_and_of_a_head(serve: Serve, app: str, model: str, calls: str) -> None:
    served = serve(app, "-m", model, "--calls", calls)
    headers = [*JSON, ("ETag", '"1"'), ("Vary", "Cookie"), ("Accept-Ranges", "bytes")]
    script = Script("whole", LONG, headers, declared=0)
    names = ("Content-Type", "Content-Encoding", "ETag", "Vary", "Accept-Ranges")
    answer = served.ask(script)
    assert [answer[name] for name in names] == [
        "application/json", "gzip", 'W/"1"', "Cookie, Accept-Encoding", None,
    ]  # fmt: skip
    assert answer["Content-Length"] == str(len(answer.body))
    head = served.ask(script, method="HEAD")
    assert head.body == b""
    assert [head[name] for name in names] == [answer[name] for name in names]
    assert head["Content-Length"] in (None, answer["Content-Length"])
    plain = served.ask(script, "identity")
    assert [plain[name] for name in names] == ["application/json", None, '"1"', "Cookie, Accept-Encoding", "bytes"]
    assert plain.body == script.body()


@pytest.mark.parametrize(
    ("app", "model"), [("app", "epoll"), ("asgi", "asyncio"), ("asgi", "thread"), ("handler", "thread")]
)
@pytest.mark.parametrize("how", ["whole", "pieces"])
def test_a_weak_tag_of_ours_is_known_again(serve: Serve, app: str, model: str, how: str) -> None:
    served = serve(app, "-m", model)
    script = Script(how, LONG, [*JSON, ("ETag", '"1"'), ("Cache-Control", "max-age=5")])
    tag = served.ask(script)["ETag"]
    assert tag == 'W/"1"'
    answer = served.ask(script, "gzip", f"If-None-Match: {tag}")
    assert (answer.status, answer.body, answer["ETag"]) == (304, b"", tag)
    assert (answer["Vary"], answer["Cache-Control"], answer["Content-Encoding"]) == (
        "Accept-Encoding",
        "max-age=5",
        None,
    )
    assert served.ask(script, "gzip", 'If-None-Match: W/"2"').status == 200
    own = Script("whole", [], [("ETag", '"1"')], status=304)  # of an app that compares weakly itself
    assert served.ask(own, "gzip", f"If-None-Match: {tag}")["ETag"] == tag
    assert served.ask(own, "gzip", 'If-None-Match: "1"')["ETag"] == '"1"'


@pytest.mark.parametrize(
    "script",
    [
        Script(pieces=[(TEXT, 10)]),
        Script(pieces=LONG, headers=[("Content-Type", "image/png")]),
        Script(pieces=LONG, headers=[*JSON, ("Content-Encoding", "identity")]),
        Script(pieces=LONG, headers=[*JSON, ("Cache-Control", "public, No-Transform")]),
        Script(pieces=LONG, headers=[*JSON, ("Content-Range", "bytes 0-5/6")], status=206),
        Script(pieces=LONG, headers=[*JSON, ("Repr-Digest", "sha-256=:AA==:")]),
        Script(pieces=LONG, headers=[]),
        Script(pieces=[], headers=JSON, status=204),
    ],
    ids=repr,
)
@pytest.mark.parametrize(("app", "model"), [("app", "epoll"), ("asgi", "asyncio"), ("handler", "thread")])
def test_what_stays_as_it_is(serve: Serve, app: str, model: str, script: Script) -> None:
    answer = serve(app, "-m", model).ask(script, "zstd, gzip, br")
    assert (answer.status, answer.body, answer["Vary"]) == (script.status, script.body(), None)
    assert answer["Content-Encoding"] in (None, "identity")


def events(count: int) -> list[tuple[str, int]]:
    return [(f"data: {number}\n\n", 1) for number in range(count)]


@pytest.mark.parametrize("coding", ["gzip", "zstd", "br"])
@pytest.mark.parametrize(
    ("app", "how", "model", "calls"),
    [
        ("app", "pieces", "thread", "inline"),
        ("app", "pieces", "epoll", "auto"),
        ("app", "written", "epoll", "pool"),
        ("asgi", "pieces", "asyncio", "inline"),
        ("asgi", "pieces", "thread", "inline"),
        ("handler", "pieces", "epoll", "inline"),
    ],
)
def test_each_event_can_be_decoded_when_it_arrives(
    serve: Serve, app: str, how: str, model: str, calls: str, coding: str
) -> None:
    script = Script(how, events(50), [("Content-Type", "text/event-stream")])
    each_alone = "--no-gather"  # else events that come without a wait are coded as one
    answer = serve(app, "-m", model, "--calls", calls, each_alone).ask(script, coding)
    assert (answer["Content-Encoding"], answer["Content-Length"]) == (coding, None)
    decode, sent, at = DECODERS[coding](), b"", 0
    for size in answer.chunks or ():
        sent += decode(answer.body[at : at + size])
        at += size
        assert sent.endswith(b"\n\n")  # each event can be decoded when it has arrived
    assert sent == script.body()
    assert len(answer.chunks or ()) >= 50


@pytest.mark.parametrize(
    ("app", "how", "model", "calls"),
    [
        ("app", "pieces", "thread", "inline"),
        ("app", "pieces", "epoll", "auto"),
        ("app", "written", "thread", "inline"),
        ("asgi", "pieces", "asyncio", "inline"),
        ("asgi", "pieces", "thread", "inline"),
        ("handler", "pieces", "epoll", "inline"),
    ],
)
def test_a_body_shorter_than_its_content_length_is_cut(
    serve: Serve, app: str, how: str, model: str, calls: str
) -> None:
    """No end is sent: the client does not take a part for the whole."""
    served = serve(app, "-m", model, "--calls", calls)
    with pytest.raises(Lost):
        served.ask(Script(how, [(TEXT, 40), (TEXT, 40)], declared=10))
    longer = Script(how, [(TEXT, 40), (TEXT, 40)], declared=-10)
    if how != "written":
        assert decoded(served.ask(longer)) == longer.body()[:-10]


def test_http_1_0_gets_its_end_with_the_connection(serve: Serve) -> None:
    script = Script("pieces", LONG)
    with serve("app", "-m", "epoll").client() as client:
        client.send(f"GET {script.target()} HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n".encode())
        head = client.head()
        assert (head["Content-Encoding"], head["Transfer-Encoding"]) == ("gzip", None)
        head.body = client.rest()
        assert decoded(head) == script.body()


def test_files_that_are_coded_already_come_first(tmp_path: Any) -> None:
    from support.clients import Client, request
    from support.harness import serving
    from support.wires import Wire

    (tmp_path / "a.js").write_text(TEXT * 10_000)
    (tmp_path / "a.js.br").write_bytes(b"coded before")
    (tmp_path / "b.js").write_text(TEXT * 100)
    (tmp_path / "c.js").write_text(TEXT * 10_000)
    with serving("serve", str(tmp_path), "--compress") as server, Client(Wire(server.address)) as client:

        def ask(path: str, *fields: str) -> Any:
            return client.ask(request("GET", path, "Accept-Encoding: gzip, deflate, br, zstd", *fields))

        found = ask("/a.js")
        assert (found["Content-Encoding"], found.body) == ("br", b"coded before")
        for path, count in (("/b.js", 100), ("/c.js", 10_000), ("/b.js", 100)):
            answer = ask(path)
            assert (answer["Content-Encoding"], answer["Vary"]) == ("zstd", "Accept-Encoding")
            assert decoded(answer) == (TEXT * count).encode()
            assert ask(path, f"If-None-Match: {answer['ETag']}").status == 304
            part = ask(path, "Range: bytes=0-9")
            assert (part.status, part.body, part["Content-Encoding"]) == (206, TEXT[:10].encode(), None)
