"""Header compression: the examples of RFC 7541, its errors, and the package hpack as an oracle."""

from __future__ import annotations

import hpack as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.errors import CompressionError
from allcomers.protocol.hpack import huffman
from allcomers.protocol.hpack.decoder import OVERHEAD, Decoder
from allcomers.protocol.hpack.encoder import NO_TABLE, encode
from allcomers.protocol.hpack.static_table import STATIC

pytestmark = pytest.mark.usefixtures("both_builds")

MOST = 1 << 20

_AUTHORITY = (":authority", "www.example.com")
_DATE = "Mon, 21 Oct 2013 20:13:2%d GMT"
_LOCATION = ("location", "https://www.example.com")
_PRIVATE = ("cache-control", "private")
_COOKIE = ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")

REQUESTS = [
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), _AUTHORITY],
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), _AUTHORITY, ("cache-control", "no-cache")],
    [(":method", "GET"), (":scheme", "https"), (":path", "/index.html"), _AUTHORITY, ("custom-key", "custom-value")],
]
RESPONSES = [
    [(":status", "302"), _PRIVATE, ("date", _DATE % 1), _LOCATION],
    [(":status", "307"), _PRIVATE, ("date", _DATE % 1), _LOCATION],
    [(":status", "200"), _PRIVATE, ("date", _DATE % 2), _LOCATION, ("content-encoding", "gzip"), _COOKIE],
]

EXAMPLES = {
    "C.3": (4096, REQUESTS, [57, 110, 164], [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ]),
    "C.4": (4096, REQUESTS, [57, 110, 164], [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ]),
    "C.5": (256, RESPONSES, [222, 222, 215], [
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e17687474"
        "70733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a"
        "4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
    ]),
    "C.6": (256, RESPONSES, [222, 222, 215], [
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae"
        "82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960"
        "d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ]),
}  # fmt: skip


def raw(fields: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in fields]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_the_rfc(name: str) -> None:
    """RFC 7541, Appendix C: three blocks on one connection, and the sizes of the dynamic table after them."""
    size, lists, sizes, blocks = EXAMPLES[name]
    decoder = Decoder(size)
    for block, fields, occupied in zip(blocks, lists, sizes, strict=True):
        assert decoder.decode(bytes.fromhex(block), MOST) == raw(fields)
        assert sum(len(n) + len(v) + OVERHEAD for n, v in decoder.table) == occupied
        assert decoder.size == sum(len(n) + len(v) + OVERHEAD for n, v in raw(fields))


@pytest.mark.parametrize(
    ("block", "fields"),
    [
        ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", [("custom-key", "custom-header")]),
        ("040c 2f73 616d 706c 652f 7061 7468", [(":path", "/sample/path")]),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", [("password", "secret")]),
        ("82", [(":method", "GET")]),
    ],
)
def test_each_form_of_a_field(block: str, fields: list[tuple[str, str]]) -> None:
    """RFC 7541, C.2."""
    assert Decoder().decode(bytes.fromhex(block), MOST) == raw(fields)


def test_the_static_table() -> None:
    assert [tuple(field) for field in oracle.table.HeaderTable.STATIC_TABLE] == STATIC


MALFORMED = {
    "index 0 (6.1)": "80",
    "an index beyond the static table (2.3.3)": "be",
    "the name's index beyond it": "7e 01 61",
    "a far index": "ff 80 80 80 01",
    "a number without end (5.1)": "ff ff ff ff ff ff ff ff",
    "a number of zeros without end": "ff 80 80 80 80 80 80 80 00",
    "a block that ends within a number": "ff",
    "within a name": "40 05 61",
    "before a value": "40 01 61",
    "within a value": "40 01 61 02 61",
    "a size above the limit (6.3)": "3f e2 1f",
    "a size after a field (4.2)": "82 20",
    "EOS in a string (5.2)": "00 84 ff ff ff ff 01 61",
    "a padding of eight bits": "00 82 1f ff 01 61",
    "a padding of zeros": "00 81 18 01 61",
    "a padding of other bits": "00 81 1e 01 61",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_blocks(name: str) -> None:
    with pytest.raises(CompressionError):
        Decoder().decode(bytes.fromhex(MALFORMED[name]), MOST)


def test_sizes_of_the_table() -> None:
    """RFC 7541, 4.2 to 4.4: the smallest and the final size in front; a field larger than the table empties it."""
    decoder = Decoder()
    field = encode_added(b"a", b"b" * 10)
    decoder.decode(field * 3, MOST)
    assert len(decoder.table) == 3
    decoder.decode(bytes.fromhex("20 3f e1 1f"), MOST)  # 0, then 4096
    assert decoder.table == []
    assert decoder.changed
    decoder.decode(field * 3, MOST)
    decoder.decode(encode_added(b"a", b"b" * 4096), MOST)
    assert decoder.table == []
    decoder.decode(field, MOST)
    decoder.decode(b"\xbe", MOST)
    assert not decoder.changed
    assert decoder.decode(NO_TABLE, MOST) == []
    assert decoder.table == []


def encode_added(name: bytes, value: bytes) -> bytes:
    """Return a literal that is added to the table."""
    return oracle.Encoder().encode([(name, value)], huffman=False)


def test_fields_beyond_the_limit_are_counted_and_not_kept() -> None:
    """One byte each refers to a field of 4 KB: 16 KiB of them would be 64 MB."""
    decoder = Decoder()
    decoder.decode(encode_added(b"a", b"b" * 4000), MOST)
    fields = decoder.decode(b"\xbe" * 16384, 32768)
    assert len(fields) == 8
    assert decoder.size == 16384 * 4033


STRINGS = st.binary(max_size=40)
NAMES = st.sampled_from([name for name, _ in STATIC]) | STRINGS.filter(bool)
LISTS = st.lists(st.lists(st.tuples(NAMES, STRINGS), max_size=8), max_size=8)


@given(LISTS, st.booleans(), st.lists(st.integers(0, 4096), max_size=8))
def test_what_the_oracle_encodes(lists: list[list[tuple[bytes, bytes]]], coded: bool, sizes: list[int]) -> None:
    encoder, decoder = oracle.Encoder(), Decoder()
    for place, fields in enumerate(lists):
        if place < len(sizes):
            encoder.header_table_size = sizes[place]
        assert decoder.decode(encoder.encode(fields, huffman=coded), MOST) == fields


@given(st.lists(st.tuples(NAMES, STRINGS), max_size=8))
def test_what_the_oracle_decodes(fields: list[tuple[bytes, bytes]]) -> None:
    block = b"".join(encode(name, value) for name, value in fields)
    decoder = Decoder()
    assert [tuple(field) for field in oracle.Decoder().decode(block, raw=True)] == fields
    assert decoder.decode(block, MOST) == fields
    assert not decoder.changed


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_mean_what_they_mean_to_the_oracle(blocks: list[bytes]) -> None:
    """Both refuse, or both read the same. The oracle is laxer about a size after a field, and numbers without end."""
    ours, theirs = Decoder(), oracle.Decoder()
    for block in blocks:
        try:
            fields = ours.decode(block, MOST)
        except CompressionError:
            return
        assert [tuple(field) for field in theirs.decode(block, raw=True)] == fields


@given(STRINGS)
def test_huffman_is_the_code_of_the_oracle(data: bytes) -> None:
    coded = oracle.huffman.HuffmanEncoder(
        oracle.huffman_constants.REQUEST_CODES, oracle.huffman_constants.REQUEST_CODES_LENGTH
    ).encode(data)
    assert huffman.decode(coded) == data


@given(st.binary(max_size=12))
def test_any_string_is_decoded_or_refused(data: bytes) -> None:
    """What is decoded is encoded by these very bytes: no string has two codes."""
    try:
        decoded = huffman.decode(data)
    except CompressionError:
        return
    encoder = oracle.huffman.HuffmanEncoder(
        oracle.huffman_constants.REQUEST_CODES, oracle.huffman_constants.REQUEST_CODES_LENGTH
    )
    assert encoder.encode(decoded) == data
