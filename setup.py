"""The compiled parts: built where a C compiler and Python's headers are at hand, left out where not.

All else of the package is in pyproject.toml. ALLCOMERS_PURE=1 leaves them out; ALLCOMERS_CFLAGS adds to the compiler's
options (-fsanitize=address).
"""

import os
import sysconfig

from setuptools import Extension, setup

FLAGS = ["-O2", "-g0", "-Wall", "-Wextra", "-Wno-unused-parameter", *os.environ.get("ALLCOMERS_CFLAGS", "").split()]

COMPILED = [
    Extension(
        f"allcomers.{name}",
        [f"src/allcomers/{name.replace('.', '/')}.pyx"],
        extra_compile_args=FLAGS,
        optional=True,  # without a compiler the plain Python does the same work
    )
    for name in (
        "protocol._head",
        "protocol._fields",
        "protocol._chunks",
        "protocol._response",
        "protocol.hpack._huffman",
        "protocol.http2._session",
        "protocol.websocket._frames",
        "system._counters",
        "protocol._timing",
        "connection.http._log_record",
        "apps.wsgi._app",
        "calls._ownership",
        "calls._timed_call",
        "apps.asgi._eager",
        "models.fastpath._http",
        "models.fastpath._serializer",
        "models.fastpath._streams",
        "system._nonblocking",
        "models.fastpath._service",
        "commands.load.run._response_end",
    )
]

# Without a GIL, two threads that look into one dict would need more care than it takes.
PLAIN = os.environ.get("ALLCOMERS_PURE") or sysconfig.get_config_var("Py_GIL_DISABLED")

setup(ext_modules=[] if PLAIN else COMPILED)
