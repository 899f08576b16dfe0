"""The limit of descriptors: set, told, and given back to what this process starts."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from allcomers.errors import ConfigError
from allcomers.system import descriptors
from support.crowd import exchange
from support.harness import serving

APP = """
import json, multiprocessing, os, resource, subprocess, sys
import allcomers

ASK = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"

def limit():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

def tell(pipe):
    pipe.send(limit())

def forked():
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.dup2(writer, 1)
        os.execv(sys.executable, [sys.executable, "-c", ASK])
    os.close(writer)
    with open(reader) as file:
        return int(file.read())

def copied():
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=tell, args=(theirs,))
    child.start()
    return ours.recv()

class App(allcomers.Web):
    def get(self, request):
        started = subprocess.run([sys.executable, "-c", ASK], capture_output=True, check=True).stdout
        return {"own": limit(), "forked": forked(), "copied": copied(), "started": int(started)}
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path / "app.py"


SOFT, HARD = 256, 1024


@pytest.mark.parametrize("model", ["epoll", "process"])
@pytest.mark.parametrize(("wanted", "own"), [("512", 512), ("max", HARD), ("", SOFT)])
def test_a_worker_has_the_limit_and_what_it_forks_the_old_one(app: Path, model: str, wanted: str, own: int) -> None:
    arguments = ["-m", model, *(["--descriptors", wanted] if wanted else [])]
    before = ("prlimit", f"--nofile={SOFT}:{HARD}", sys.executable)
    with serving("run", f"{app}:App", *arguments, before=before) as server, server.connect() as sock:
        found = json.loads(exchange(sock).body)
        # subprocess starts programs by vfork(2), without a hook that Python has: these keep the new limit.
        assert found == {"own": own, "forked": SOFT, "copied": SOFT, "started": own}
        more = "" if wanted else f"; --descriptors max gives {HARD:,}"
        assert server.reports == [f"Descriptors: {own:,} for each worker{more}"]
        supervisor = Path(f"/proc/{server.pid}/limits").read_text()
        assert f"Max open files            {SOFT} " in supervisor


def test_a_copy_that_could_open_nothing_keeps_the_limit() -> None:
    code = """
import os, resource
from allcomers.system import descriptors
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
descriptors.set_limit(512)
held = [os.open("/", os.O_RDONLY) for _ in range(100)]
if os.fork() == 0:
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
else:
    os.wait()
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"512\n"


def may_raise() -> bool:
    """Whether this user may raise a hard limit (capabilities(7), CAP_SYS_RESOURCE: 24)."""
    fields = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return bool(int(fields["CapEff"], 16) >> 24 & 1)


@pytest.mark.skipif(not may_raise(), reason="needs root, and a container that leaves it CAP_SYS_RESOURCE")
def test_root_raises_the_hard_limit_and_others_are_told_why_they_cannot() -> None:
    code = """
import os, resource, sys
from allcomers.errors import ConfigError
from allcomers.system import descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
descriptors.set_limit(512)
print(resource.getrlimit(resource.RLIMIT_NOFILE))
os.setuid(65534)
try:
    descriptors.set_limit(1024)
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    first, second = done.stdout.splitlines()
    assert first == "(512, 512)"
    assert second.startswith("--descriptors 1024: the hard limit is 512 (ulimit -Hn)")


def test_a_server_that_cannot_have_the_limit_does_not_start(app: Path) -> None:
    above = int(Path("/proc/sys/fs/nr_open").read_text()) + 1
    command = [sys.executable, "-m", "allcomers", "run", f"{app}:App", "--bind", "127.0.0.1:0"]
    done = subprocess.run([*command, "--descriptors", str(above)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"allcomers: --descriptors {above}: the hard limit is ")


def test_a_room_knows_by_the_numbers_of_descriptors_whether_it_is_full() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(512, descriptors.lowest_free() + 128), before[1]))
    held: list[int] = []
    try:
        room = descriptors.DescriptorRoom(1 << 30)
        assert room.is_left()
        while room.is_left():
            held.append(os.open("/", os.O_RDONLY))
            room.took(held[-1])
        left = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - held[-1]
        assert 16 <= left <= 64
        os.close(held.pop(0))  # by whomever
        assert room.is_left()
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(may_raise(), reason="needs a user who may not")
def test_others_are_told_why_they_cannot_raise_the_hard_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pytest.raises(ConfigError, match=rf"--descriptors {hard + 1}: the hard limit is {hard} \(ulimit -Hn\)"):
        descriptors.set_limit(hard + 1)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


def test_more_than_any_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match="only root"):
        descriptors.set_limit(int(Path("/proc/sys/fs/nr_open").read_text()) + 1)


FEW = """
import os, resource, sys
from allcomers.system.asyncio_loops import new_event_loop

highest = max(map(int, os.listdir("/proc/self/fd")))
while (last := os.open(os.devnull, os.O_RDONLY)) < highest:
    pass
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1 + int(sys.argv[1]), hard))
try:
    loop = new_event_loop()
except OSError as error:
    sys.exit(error.strerror)
loop.call_soon(loop.stop)
loop.run_forever()
loop.close()
"""


@pytest.mark.parametrize("left", range(13))
def test_a_loop_that_finds_too_few_descriptors_raises(left: int) -> None:
    """libuv, beneath uvloop, aborts the process."""
    done = subprocess.run([sys.executable, "-c", FEW, str(left)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) in [(0, ""), (1, "Too many open files\n")]
    assert done.returncode == 0 or left < 10
