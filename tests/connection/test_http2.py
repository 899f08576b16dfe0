"""What an HTTP/2 client may do to a connection, and for how long. The frames themselves are tests/protocol's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes
from tests.support.http2_offline import OfflineHttp2
from tests.support.offline import Noted

from allcomers.config.limits import Http2Limits
from allcomers.connection.base import CALL, HIGH_WATER, READ, RUNNING
from allcomers.protocol.http2 import frames
from allcomers.protocol.http2.frames import FrameType, frame_head
from allcomers.protocol.message import FileSlice, Request, Response
from allcomers.system.counters import ABORTED, BYTES_OUT
from support import offline

CALM = ErrorCodes.ENHANCE_YOUR_CALM
STREAMS = Http2Limits().max_streams


def raw(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return frame_head(kind, flags, stream, len(payload)) + payload


def echo(request: Request) -> Response:
    return Response(request.body)


def ignore_the_limit(client: OfflineHttp2) -> None:
    client.h2.remote_settings.max_concurrent_streams = 2 * STREAMS
    client.h2.remote_settings.acknowledge()


def is_whole(client: OfflineHttp2, stream: int) -> bool:
    reply = client.reply(stream)
    return reply.status == 200 and reply.complete


# ---------------------------------------------------------------- streams at once


def test_a_stream_above_the_limit_is_refused() -> None:
    client = OfflineHttp2()
    client.calls = False
    streams = [client.request() for _ in range(STREAMS)]
    ignore_the_limit(client)
    refused = client.request()
    assert client.reply(refused).code == ErrorCodes.REFUSED_STREAM
    client.calls = True
    client.listen()
    assert all(is_whole(client, stream) for stream in streams)


def test_a_stream_that_was_reset_counts_as_long_as_its_call_runs() -> None:
    """CVE-2023-44487: the calls of one client have a limit, however fast it resets."""
    client = OfflineHttp2()
    client.calls = False
    streams = [client.request() for _ in range(STREAMS)]
    calls = []
    while client.conn.wants & CALL:
        calls.append(client.conn.take_call())
    for stream in streams:
        client.h2.reset_stream(stream)
    client.flush()
    assert client.conn.wants & RUNNING
    assert client.reply(client.request()).code == ErrorCodes.REFUSED_STREAM
    for call in calls:
        client.conn.answered(call, call(), client.far.now)
    client.calls = True
    assert is_whole(client, client.request())


def test_calls_of_streams_that_were_reset_do_not_begin() -> None:
    called: list[str] = []
    client = OfflineHttp2(lambda request: called.append(request.target) or Response(b""))  # type: ignore[func-returns-value]
    client.calls = False
    for number in range(10):
        client.h2.reset_stream(client.request("GET", f"/{number}"))
    client.calls = True
    client.flush()
    client.request("GET", "/last")
    assert called == ["/last"]
    assert client.conn.counters.cells[ABORTED] == 10


# ---------------------------------------------------------------- sent in the step that reads


class Socket:
    """The driver of a connection whose calls run where it reads: its socket takes `room` bytes in a step."""

    def __init__(self, far: offline.Far, room: int) -> None:
        self.far = far
        self.room = room

    def send_now(self, data: bytes) -> int:
        self.far.said += data[: self.room]
        return min(self.room, len(data))


@pytest.mark.parametrize("room", [0, 7, 1 << 20])
def test_what_a_socket_takes_in_the_step_that_reads_is_sent_once(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    client = OfflineHttp2(lambda request: Response(request.target.encode() * 30_000))
    monkeypatch.setattr(offline, "at_once", True)
    client.conn.driver = Socket(client.far, room)  # type: ignore[assignment]
    streams = [client.request("GET", name) for name in ("/a", "/b")]
    assert [client.reply(stream).body for stream in streams] == [b"/a" * 30_000, b"/b" * 30_000]
    assert client.conn.wants == READ
    assert client.conn.counters.cells[BYTES_OUT] == client.conn.codec.gone


# ---------------------------------------------------------------- floods


def resets(client: OfflineHttp2) -> Iterator[bytes]:
    for _ in range(2000):
        stream = client.h2.get_next_available_stream_id()
        client.h2.send_headers(stream, [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])
        client.h2.reset_stream(stream)
        yield client.h2.data_to_send()


def resets_of_ours(client: OfflineHttp2) -> Iterator[bytes]:
    """MadeYouReset: each stream is reset by us, for a fault of the client's."""
    for _ in range(2000):
        stream = client.h2.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
        client.h2.send_headers(stream, head)
        yield client.h2.data_to_send() + raw(FrameType.WINDOW_UPDATE, 0, stream, bytes(4))


def continuations(client: OfflineHttp2) -> Iterator[bytes]:
    yield raw(FrameType.HEADERS, 0, 1, b"")
    while True:
        yield raw(FrameType.CONTINUATION, 0, 1, b"")


def pings(client: OfflineHttp2) -> Iterator[bytes]:
    while True:
        yield raw(FrameType.PING, 0, 0, bytes(8))


def settings(client: OfflineHttp2) -> Iterator[bytes]:
    while True:
        yield raw(FrameType.SETTINGS, 0, 0)


def priorities(client: OfflineHttp2) -> Iterator[bytes]:
    while True:
        yield raw(FrameType.PRIORITY, 0, 1, bytes(4) + b"\1")


def priority_updates(client: OfflineHttp2) -> Iterator[bytes]:
    while True:
        yield raw(FrameType.PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=1")


def windows(client: OfflineHttp2) -> Iterator[bytes]:
    while True:
        yield raw(FrameType.WINDOW_UPDATE, 0, 0, b"\0\0\0\1")


def empty_data(client: OfflineHttp2) -> Iterator[bytes]:
    stream = client.request("POST", "/", end=False)
    while True:
        yield raw(FrameType.DATA, 0, stream)


@pytest.mark.parametrize(
    "flood",
    [resets, resets_of_ours, continuations, pings, settings, priorities, priority_updates, windows, empty_data],
    ids=lambda flood: flood.__name__,
)
def test_floods_end_the_connection(flood: Callable[[OfflineHttp2], Iterator[bytes]]) -> None:
    """CVE-2023-44487, CVE-2025-8671, CVE-2024-27316, CVE-2019-9512 to 9518: by a rate of each kind of frame."""
    client = OfflineHttp2()
    for sent, data in enumerate(flood(client)):
        client.transmit(data)
        assert sent < 3000, "nobody minds"
        if client.gone:
            break
    (end,) = client.gone
    assert end[1] in (CALM, ErrorCodes.PROTOCOL_ERROR)
    client.sleep(3.0)
    assert client.ended


def test_an_hpack_bomb_is_refused() -> None:
    """A field of 4 KB in the table, and then references of one byte each to it: what is decoded counts."""
    client = OfflineHttp2()
    stream = client.request("GET", "/", ("x-a", "a" * 3000), *[("x-a", "a" * 3000)] * 60)
    reply = client.reply(stream)
    assert reply.status == 431 or reply.code is not None or client.gone
    assert not client.conn.wants & CALL


def test_replies_that_nobody_reads_stop_the_reading() -> None:
    client = OfflineHttp2(room=0)
    client.far.room = 0
    sent = 0
    while client.conn.wants & READ and sent < 100_000:
        client.far.hear(raw(FrameType.PING, 0, 0, bytes(8)) * 100)
        client.far.now += 1.0
        sent += 100
    assert sent * 17 < HIGH_WATER + 100_000


# ---------------------------------------------------------------- time


def test_an_idle_client() -> None:
    client = OfflineHttp2(head_timeout=10, keep_alive=75)
    client.sleep(9.9)
    assert not client.ended
    client.sleep(0.2)
    assert client.ended, "it has requested nothing"
    client = OfflineHttp2(head_timeout=10, keep_alive=75)
    client.sleep(5)
    assert is_whole(client, client.request())
    client.sleep(74.9)
    assert not client.ended
    client.sleep(0.2)
    assert client.gone == [(1, ErrorCodes.NO_ERROR)]
    assert client.ended


def test_a_body_that_does_not_come_ends_its_stream_alone() -> None:
    client = OfflineHttp2(echo, min_rate=240)
    slow, steady = (client.request("POST", "/", end=False) for _ in range(2))
    for _ in range(20):
        client.send(steady, bytes(300), end=False)
        client.sleep(1.0)
    assert client.reply(slow).status == 408
    client.send(steady, b"")
    assert len(client.reply(steady).body) == 20 * 300
    assert is_whole(client, client.request())


def test_a_frame_that_comes_slowly_at_the_least_rate_is_taken() -> None:
    client = OfflineHttp2(echo, min_rate=240)
    stream = client.request("POST", "/", end=False)
    whole = raw(FrameType.DATA, frames.END_STREAM, stream, bytes(10_000))
    for at in range(0, len(whole), 300):
        client.transmit(whole[at : at + 300])
        client.sleep(1.0)
    assert len(client.reply(stream).body) == 10_000


def test_a_frame_that_stands_still_ends_the_connection() -> None:
    client = OfflineHttp2(echo, min_rate=240)
    stream = client.request("POST", "/", end=False)
    client.transmit(raw(FrameType.DATA, frames.END_STREAM, stream, bytes(10_000))[:100])
    client.sleep(11.0)
    assert client.ended or client.gone


def test_a_window_that_stays_shut_ends_its_stream_alone() -> None:
    """CVE-2019-9511, CVE-2019-9517: the client reads the socket, and opens no window."""
    closed: list[int] = []
    whole = Response(bytes(100_000), close=lambda: closed.append(1))
    client = OfflineHttp2(lambda request: whole if request.target == "/" else Response(b"Hello"), opens=False)
    stuck = client.request("GET", "/")
    client.h2.increment_flow_control_window(1 << 20)
    client.flush()
    assert len(client.reply(stuck).body) == 65_535
    client.sleep(4.9)
    assert client.reply(stuck).code is None
    client.sleep(0.2)
    assert client.reply(stuck).code == ErrorCodes.CANCEL
    assert closed == [1]
    assert is_whole(client, client.request("GET", "/other"))


def test_windows_of_a_byte_are_too_slow() -> None:
    client = OfflineHttp2(lambda request: Response(bytes(100_000)), opens=False)
    stuck = client.request("GET", "/")
    client.h2.increment_flow_control_window(1 << 20)
    for _ in range(20):
        if client.reply(stuck).code is None:
            client.h2.increment_flow_control_window(1, stuck)
            client.flush()
            client.sleep(1.0)
    assert client.reply(stuck).code == ErrorCodes.CANCEL


def test_a_client_that_reads_nothing_is_lost() -> None:
    client = OfflineHttp2(lambda request: Response(bytes(60_000)))
    client.far.room = 1000
    client.request()
    client.sleep(6.0)
    assert client.ended


def test_request_timeout() -> None:
    client = OfflineHttp2(echo, request_timeout=3, min_rate=0)
    early = client.request("POST", "/", end=False)
    client.sleep(2.0)
    late = client.request("POST", "/", end=False)
    client.sleep(1.5)
    assert client.reply(early).status == 408
    client.send(late, b"in time")
    assert client.reply(late).body == b"in time"


def test_request_timeout_of_a_call() -> None:
    client = OfflineHttp2(request_timeout=3)
    client.calls = False
    stream = client.request()
    call = client.conn.take_call()
    client.far.now += 3.5
    client.conn.expired(client.far.now)
    client.calls = True
    client.conn.answered(call, call(), client.far.now)
    client.listen()
    assert client.reply(stream).status == 503
    assert is_whole(client, client.request())


# ---------------------------------------------------------------- bodies


def test_a_body_above_the_limit() -> None:
    client = OfflineHttp2(echo, max_body=100_000)
    declared = client.request("POST", "/", ("content-length", "100001"), end=False)
    assert client.reply(declared).status == 413
    grown = client.request("POST", "/", end=False)
    client.send(grown, bytes(100_001), end=False)
    assert client.reply(grown).status == 413
    assert is_whole(client, client.request())


def test_stored_bodies_of_a_connection_have_a_bound() -> None:
    """Together they hold what one may, and what the windows have let in; the oldest goes on."""
    client = OfflineHttp2(echo, max_body=300_000)
    first, *others = (client.request("POST", "/", end=False) for _ in range(31))
    left = dict.fromkeys(others, 299_000)
    for stream in others:
        while (size := min(client.h2.local_flow_control_window(stream), 16_384, left[stream])) > 0:
            client.h2.send_data(stream, bytes(size))
            client.flush()
            left[stream] -= size
    assert 299_000 not in left.values()
    assert sum(left.values()) > 299_000, "there is no bound"
    client.send(first, bytes(290_000))
    assert len(client.reply(first).body) == 290_000
    for stream in others:
        client.h2.end_stream(stream)
        client.flush()
    assert all(is_whole(client, stream) for stream in others)


def test_a_body_that_nobody_wants_is_stopped() -> None:
    client = OfflineHttp2(lambda request: Response(b"Hello"))
    refused = client.request("POST", "/", ("content-length", "999999999"), end=False)
    assert (client.reply(refused).status, client.reply(refused).complete) == (413, True)


# ---------------------------------------------------------------- responses


def test_a_response_of_another_length_than_it_says() -> None:
    noted = Noted()
    fields = {"Content-Length": "10"}
    client = OfflineHttp2(lambda request: Response(b"short", headers=fields), noted=noted)
    reply = client.reply(client.request())
    assert (reply.status, reply.body, reply.code) == (200, b"short", ErrorCodes.INTERNAL_ERROR)
    assert len(noted.errors) == 1
    assert client.reply(client.request("HEAD")).complete


@pytest.mark.parametrize("status", [204, 205, 304])
def test_statuses_without_a_body(status: int) -> None:
    client = OfflineHttp2(lambda request: Response(b"dropped", status=status), noted=Noted())
    reply = client.reply(client.request())
    assert (reply.status, reply.body, reply.complete) == (status, b"", True)


def test_fields_of_a_connection_are_dropped() -> None:
    fields = {"Connection": "close", "Keep-Alive": "5", "Upgrade": "x", "Transfer-Encoding": "chunked", "X-A": " b "}
    client = OfflineHttp2(lambda request: Response(b"Hello", headers=fields))
    reply = client.reply(client.request())
    assert {name for name, _ in reply.fields} == {"x-a", "date", "server", "content-length"}
    assert reply["x-a"] == "b"


def test_a_field_that_cannot_be_sent_is_a_500() -> None:
    noted = Noted()
    client = OfflineHttp2(lambda request: Response(b"", headers={"X-A": "b\r\nc: d"}), noted=noted)
    assert client.reply(client.request()).status == 500
    assert len(noted.errors) == 1


def test_a_file_that_becomes_shorter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(200_000))
    file = path.open("rb")
    client = OfflineHttp2(lambda request: Response(FileSlice(file, 0, 200_000), close=file.close), opens=False)
    stream = client.request()
    path.write_bytes(b"")
    client.h2.increment_flow_control_window(1 << 20)
    client.h2.increment_flow_control_window(1 << 20, stream)
    client.flush()
    assert client.reply(stream).code == ErrorCodes.INTERNAL_ERROR
    assert file.closed
    assert client.reply(client.request()).status == 500, "the file is closed"


def test_frames_take_turns() -> None:
    client = OfflineHttp2(lambda request: Response(bytes(200_000)), opens=False)
    streams = [client.request() for _ in range(4)]
    assert [len(client.reply(stream).body) for stream in streams[:1]] == [65_535], "the window of the connection"
    for _ in range(8):
        client.h2.increment_flow_control_window(16_384)
        for stream in streams:
            if client.reply(stream).code is None:
                client.h2.increment_flow_control_window(16_384, stream)
        client.flush()
    sizes = [len(client.reply(stream).body) for stream in streams[1:]]
    assert max(sizes) - min(sizes) <= 2 * 16_384


def test_the_urgent_one_first() -> None:
    client = OfflineHttp2(lambda request: Response(bytes(100_000)), opens=False)
    fields = ("u=7", "u=3", "u=0", "u=3, i")
    last, third, first, second = (client.request("GET", "/", ("priority", value)) for value in fields)
    del second
    assert len(client.reply(last).body) == 65_535, "there was no other yet"
    client.h2.increment_flow_control_window(150_000)
    for stream in (last, third, first):
        client.h2.increment_flow_control_window(150_000, stream)
    client.flush()
    assert client.reply(first).complete
    assert len(client.reply(third).body) > 0
    assert len(client.reply(last).body) == 65_535


# ---------------------------------------------------------------- the log, the end


def test_the_log() -> None:
    noted = Noted()
    client = OfflineHttp2(lambda request: Response(bytes(100_000)), noted=noted, opens=False)
    client.h2.reset_stream(client.request("GET", "/part?x"))
    client.flush()
    client.h2.increment_flow_control_window(100_000)
    client.flush()
    client.calls = False
    client.h2.reset_stream(client.request("GET", "/none"))
    client.flush()
    client.calls = True
    client.request("HEAD", "/whole")
    found = [(one["method"], one["target"], one["version"], one["status"], one["sent"]) for one in noted.answers]
    assert found == [
        ("GET", "/part?x", "HTTP/2.0", 200, 65_535),
        ("GET", "/none", "HTTP/2.0", 499, 0),
        ("HEAD", "/whole", "HTTP/2.0", 200, 0),
    ]


def test_leaving_while_idle() -> None:
    client = OfflineHttp2()
    client.request()
    client.conn.drain(client.far.now)
    client.listen()
    assert client.gone == [(2**31 - 1, ErrorCodes.NO_ERROR)], "a request may be on its way"
    client.sleep(1.1)
    assert client.gone[1:] == [(1, ErrorCodes.NO_ERROR)]
    assert client.ended


def test_leaving_with_a_call() -> None:
    client = OfflineHttp2()
    client.calls = False
    stream = client.request()
    call = client.conn.take_call()
    client.conn.drain(client.far.now)
    assert not client.gone, "what follows a GOAWAY is lost to some clients"
    client.conn.answered(call, call(), client.far.now)
    client.calls = True
    client.listen()
    assert is_whole(client, stream)
    assert [last for last, _ in client.gone] == [2**31 - 1]
    client.sleep(1.1)
    assert [last for last, _ in client.gone] == [2**31 - 1, stream]
    assert client.ended


def test_max_requests_of_a_connection() -> None:
    client = OfflineHttp2(max_requests=3)
    streams = [client.request() for _ in range(3)]
    assert all(is_whole(client, stream) for stream in streams)
    assert [last for last, _ in client.gone] == [2**31 - 1]
    client.sleep(0.2)
    assert [last for last, _ in client.gone] == [2**31 - 1, streams[-1]]
    assert client.ended


def test_the_end_of_the_client() -> None:
    """It cannot open windows any more; what is due is answered."""
    client = OfflineHttp2(lambda request: Response(bytes(100_000)), opens=False)
    client.request()
    client.far.end()
    assert client.far.closed
    client = OfflineHttp2()
    client.calls = False
    stream = client.request()
    call = client.conn.take_call()
    client.far.hear(b"", calls=False)
    client.conn.answered(call, call(), client.far.now)
    client.calls = True
    client.listen()
    assert is_whole(client, stream)
    assert client.ended


def test_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in a circle: what a connection of TLS has would wait for the collector."""
    import gc
    import weakref

    def handle(request: Request) -> Response:
        left.append(weakref.ref(request))
        return Response(request.body)

    left: list[Any] = []
    gc.disable()
    try:
        client = OfflineHttp2(handle)
        client.request()
        client.reply(client.request("POST", "/", body=bytes(100_000)))
        assert [ref() for ref in left] == [None, None]
    finally:
        gc.enable()
