"""An app in a file that can change, and what can be seen of the processes that serve it."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from support.crowd import exchange, receive, request
from support.harness import PATIENCE, Server, wait_for

APP = """
import os, time
from pathlib import Path
import allcomers

HERE = Path(__file__).parent

while (HERE / "slow-start").exists():
    time.sleep(0.005)
if (HERE / "die").exists():
    os._exit(7)

class App(allcomers.Web):
    def get(self, request):
        if request.path == "/wait":
            (HERE / f"begun-{request.query}").touch()
            while not (HERE / "gate").exists():
                time.sleep(0.005)
        if request.path == "/endless":
            return iter(lambda: "x" * 1000, "")
        return f"VERSION {os.getpid()} {os.getppid()}"

    def post(self, request):
        return f"VERSION {os.getpid()} {os.getppid()} {len(request.body)}"
"""


class App:
    """An app in a file: its version can change, its `/wait?NAME` is answered once the gate is open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = f"{folder / 'app.py'}:App"
        self.write("one")

    def write(self, version: str) -> None:
        # Of another length each time: Python takes a file of the same size and second for the one it has compiled.
        self.replace(APP.replace("VERSION", version))

    def replace(self, code: str) -> None:
        """The file is the old one or the new one, whenever somebody reads it."""
        (self.folder / "new").write_text(code)
        (self.folder / "new").replace(self.folder / "app.py")

    def open_gate(self) -> None:
        (self.folder / "gate").touch()

    def await_begun(self, name: str) -> None:
        wait_for((self.folder / f"begun-{name}").exists, f"the request {name} to begin")


def worker_of(body: bytes, model: str) -> int:
    """The worker that gave this answer; under the process model its child did."""
    return int(body.split()[2 if model == "process" else 1])


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def comes_to_rest(pid: int) -> None:
    """Wait until a process does next to nothing for half a second. One that spins takes all that it can get."""

    def rests() -> bool:
        before, until = cpu_seconds(pid), time.monotonic() + 0.5
        wait_for(lambda: time.monotonic() > until, "half a second")
        return cpu_seconds(pid) - before < 0.1

    wait_for(rests, f"process {pid} to come to rest: it spins", 10)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def listens_no_more(server: Server) -> bool:
    """Has the supervisor closed its listeners? Then an order to leave has reached its workers."""
    return not listening() & set(open_files(server.pid))


def listening() -> set[str]:
    """The listening sockets of the whole system, as open_files() names them (proc_pid_net(5))."""
    tables = {name: Path(f"/proc/self/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6", "unix")}
    found = {line.split()[9] for name in ("tcp", "tcp6") for line in tables[name] if line.split()[3] == "0A"}
    found |= {line.split()[6] for line in tables["unix"] if line.split()[3] == "00010000"}
    return {f"socket:[{inode}]" for inode in found}


def open_files(pid: int) -> list[str]:
    names = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            names.append(str(fd.readlink()))
    return names


def fresh_answer(server: Server) -> bytes:
    """The answer to a request on a connection of its own."""
    with server.connect() as sock:
        return exchange(sock).body


def connect_time(address: tuple[str, int]) -> float:
    """Seconds that a connect takes; a SYN that is dropped is sent again after one."""
    began = time.monotonic()
    socket.create_connection(address, timeout=PATIENCE).close()
    return time.monotonic() - began


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def one_peer_of_each_worker(server: Server, model: str, stack: ExitStack) -> dict[int, socket.socket]:
    """Connections, each with its worker, who has answered on it."""
    peers: dict[int, socket.socket] = {}

    def found_all() -> bool:
        burst = [stack.enter_context(server.connect()) for _ in range(16)]
        for sock in burst:
            sock.sendall(request())
        for sock in burst:
            answer = receive(sock)
            if not answer.close:
                peers.setdefault(worker_of(answer.body, model), sock)
        for sock in set(burst) - set(peers.values()):
            sock.close()
        return len(peers) == len(server.workers())

    wait_for(found_all, "an answer of each worker")
    return peers
