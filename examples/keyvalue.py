r"""A key-value service in lines of text: SET, GET, DEL, KEYS, COUNT, HELP, QUIT.

    allcomers run examples/keyvalue.py:KeyValue -b 127.0.0.1:9000 -m epoll

Try it:

    printf 'SET colour dark green\nGET colour\nKEYS\nQUIT\n' | nc 127.0.0.1 9000

Each line in gets one line out: OK, VALUE ..., NONE, KEYS ..., COUNT ..., BYE or ERROR and the reason.

The store belongs to one process, and its threads share it. Under `--workers 2` there are two stores, under
`--model process` one for each connection: guestbook.py shows state that all processes share.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ClassVar

import allcomers

MAX_KEYS = 10_000
MAX_KEY = 64
MAX_VALUE = 4096
MAX_LISTED = 100

_store: dict[bytes, bytes] = {}
_lock = threading.Lock()  # for two steps that belong together; one step on a dict needs none


class CommandError(Exception):
    """A line that is well-formed and refused; the text is for the client."""


class KeyValue(allcomers.Service):
    framing = allcomers.Delimited(b"\n", max_size=MAX_KEY + MAX_VALUE + 16)

    def connected(self) -> bytes:
        return b"HELLO say HELP for help"

    def request(self, data: bytes) -> bytes | None:
        line = data.removesuffix(b"\r")  # telnet ends its lines with \r\n
        name, _, rest = line.strip(b" ").partition(b" ")
        if not name:
            return b"ERROR an empty line; say HELP for help"
        command = self.commands.get(name.upper())
        if command is None:
            return b"ERROR no such command; say HELP for help"
        try:
            return command(self, rest.lstrip(b" "))
        except CommandError as error:
            return b"ERROR " + str(error).encode()

    def set(self, rest: bytes) -> bytes:
        key, space, value = rest.partition(b" ")
        check(key)
        if not space:
            raise CommandError("SET needs a key and a value: SET colour green")
        if len(value) > MAX_VALUE:
            raise CommandError(f"a value has at most {MAX_VALUE} bytes")
        with _lock:
            if key not in _store and len(_store) >= MAX_KEYS:
                raise CommandError(f"the store is full: {MAX_KEYS} keys")
            _store[key] = value
        return b"OK"

    def get(self, key: bytes) -> bytes:
        check(key)
        value = _store.get(key)
        return b"NONE" if value is None else b"VALUE " + value

    def delete(self, key: bytes) -> bytes:
        check(key)
        return b"NONE" if _store.pop(key, None) is None else b"OK"

    def keys(self, prefix: bytes) -> bytes:
        with _lock:  # a dict that grows cannot be walked
            found = [key for key in _store if key.startswith(prefix)]
        listed = sorted(found)[:MAX_LISTED]
        more = b" ..." if len(found) > MAX_LISTED else b""
        return b" ".join([b"KEYS", *listed]) + more

    def count(self, _rest: bytes) -> bytes:
        return b"COUNT %d" % len(_store)

    def help(self, _rest: bytes) -> bytes:
        return b"HELP SET key value | GET key | DEL key | KEYS [prefix] | COUNT | QUIT"

    def quit(self, _rest: bytes) -> bytes:
        self.close()  # once this response is sent
        return b"BYE"

    commands: ClassVar[dict[bytes, Callable[[KeyValue, bytes], bytes]]] = {
        b"SET": set,
        b"GET": get,
        b"DEL": delete,
        b"KEYS": keys,
        b"COUNT": count,
        b"HELP": help,
        b"QUIT": quit,
    }


def check(key: bytes) -> None:
    if not key:
        raise CommandError("a key is missing")
    if len(key) > MAX_KEY:
        raise CommandError(f"a key has at most {MAX_KEY} bytes")
    if any(byte <= 32 or byte == 127 for byte in key):
        raise CommandError("a key has no spaces and no control bytes")
