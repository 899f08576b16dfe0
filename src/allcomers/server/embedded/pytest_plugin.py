"""The pytest fixture `allcomers_server`: real servers for a test, which end with it. pytest finds it by itself.

def test_hello(allcomers_server):
    server = allcomers_server(app, model="thread")
    assert urlopen(server.url).read() == b"hello"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from allcomers import Server


@pytest.fixture
def allcomers_server() -> Iterator[Callable[..., Server]]:
    """A function that serves an app in the background until the test ends, on any free port. Its arguments are those of
    Server, which it returns."""
    from allcomers import Server  # late: pytest loads this file also where no test uses it

    with ExitStack() as servers:

        def serve(app: Any = None, host: str = "127.0.0.1", port: int = 0, **options: Any) -> Server:
            return servers.enter_context(Server(app, host, port, **options))

        yield serve
