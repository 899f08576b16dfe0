"""HTTP/2 by h2load: so many connections with so many streams each; curl checks the responses before.

Without TLS both begin with the preface; with TLS they choose "h2" by ALPN.
"""

import math
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from bench.comparison.workloads import Workload
from bench.support import harness
from bench.support.harness import LOAD_CORE, CannotMeasureError, Server

GRACE = 20.0  # seconds that h2load may take beyond its duration


def url(workload: Workload, address: harness.Address) -> str:
    return f"{'https' if workload.tls else 'http'}://{address[0]}:{address[1]}{workload.path}"


def check(workload: Workload, address: harness.Address, seconds: float) -> None:
    """Send a request on a new connection, again and again. Raises CannotMeasureError for anything but the body."""
    for tool, package in (("curl", "curl"), ("h2load", "nghttp2-client")):
        if shutil.which(tool) is None:
            raise CannotMeasureError(f"{tool} is needed for HTTP/2 (Debian: apt-get install {package})")
    body = ["--data-binary", workload.body.decode()] if workload.body else []
    how = "--http2" if workload.tls else "--http2-prior-knowledge"
    command = ["curl", "-sSk", how, *body, "-w", "%{stderr}%{http_code} over HTTP/%{http_version}"]
    end, sent = time.monotonic() + seconds, 0
    while sent < 2 or time.monotonic() < end:
        done = subprocess.run([*command, url(workload, address)], capture_output=True, timeout=GRACE, check=False)
        if done.stderr != b"200 over HTTP/2" or done.stdout != workload.expected:
            raise CannotMeasureError(f"answers {done.stderr.decode()}, {len(done.stdout)} bytes: {done.stdout[:40]!r}")
        sent += 1


def drive(
    connections: int, streams: int, workload: Workload, server: Server, seconds: float
) -> tuple[str, str]:  # fmt: skip
    """Run h2load, and return its report and its log of all requests. Raises CannotMeasureError."""
    with tempfile.TemporaryDirectory(prefix="h2load-") as folder:
        log, body = Path(folder, "log"), Path(folder, "body")
        body.write_bytes(workload.body)
        shape = ["-t1", f"-c{connections}", f"-m{streams}", f"-D{math.ceil(seconds)}", f"--log-file={log}"]
        command = ["h2load", *shape, *(["-d", str(body)] if workload.body else []), url(workload, server.address)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + GRACE, preexec_fn=harness.in_child(LOAD_CORE)
        )
        if done.returncode:
            raise CannotMeasureError(f"h2load failed: {done.stderr.strip() or done.stdout.strip()[-300:]}")
        return done.stdout, log.read_text()
