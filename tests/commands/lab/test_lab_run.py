"""The complete lab: real servers and loads; killed, resumed, and its remains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from allcomers.commands.lab.analysis import wording
from allcomers.commands.lab.analysis.figures import Trial
from allcomers.commands.lab.data.candidate import Candidate
from allcomers.commands.lab.run import trial
from allcomers.commands.lab.run.child_process import ChildProcess
from allcomers.commands.lab.run.journal import NAME, UNFINISHED
from allcomers.commands.lab.run.load_process import LoadRunner
from allcomers.commands.lab.run.probing import probe
from allcomers.commands.lab.run.server import ServerSettings
from allcomers.commands.lab.run.trial import Load, Setup
from allcomers.commands.load.data import slo
from support.harness import ROOT, wait_for

LAB = [sys.executable, "-m", "allcomers", "lab", "examples/calls.py:AtOnce"]
SHORT = ["--budget", "6s", "--models", "epoll", "--clients", "8"]
HUNDRED = Load(clients=4, seconds=0.3)

APP = """
import os, signal, time
from itertools import count

import allcomers

turn = count()

class Fatal(allcomers.Web):
    '''Takes the whole server along with its 500th answer.'''
    def get(self, request):
        if next(turn) == 500:
            os.kill(os.getppid(), signal.SIGKILL)
        return "ok"

class Moved(allcomers.Web):
    def get(self, request):
        return allcomers.Response("", status=302, headers={"Location": "/login"})

class Broken(allcomers.Web):
    def get(self, request):
        raise allcomers.HttpError(500, "no")

async def holds(scope, receive, send):
    '''Holds its loop for 10 ms: of 64 clients most wait longer than a server lets them that refuses any.'''
    time.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def marked(mark: str) -> set[int]:
    """Return the processes whose environment has this mark: all that a command has started, whatever their parent is
    now."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (path / "environ").read_bytes().split(b"\0") and "Z" not in state(path):
                found.add(int(path.name))
    return found


def state(path: Path) -> str:
    return (path / "stat").read_text().rpartition(")")[2].split()[0]


ALONE = """
import sys

sys.modules.update(dict.fromkeys(("numpy", "scipy", "rich")))  # to import one of them fails
"""
"""A sitecustomize.py: the lab, its servers and its loads then have none of the packages that are optional."""


def start(out: Path, mark: str, *more: str) -> subprocess.Popen[str]:
    site = out.parent / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(ALONE)
    return subprocess.Popen(
        [*LAB, *SHORT, "--out", str(out), *more],
        cwd=ROOT,
        env={**os.environ, "LAB_TEST": mark, "PYTHONPATH": str(site)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def trials(out: Path) -> list[dict[str, object]]:
    """Return the journal so far."""
    with suppress(FileNotFoundError):
        path = out / UNFINISHED
        lines = (path if path.exists() else out / NAME).read_text().splitlines(keepends=True)
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        return [record["trial"] for record in records if record["kind"] == "trial"]
    return []


def test_a_lab_that_was_killed_resumes_and_recommends(tmp_path: Path) -> None:
    """Killed after its first trial, while a server and a load run; then resumed."""
    out, mark = tmp_path / "out", f"LAB_TEST={tmp_path}"
    killed = start(out, str(tmp_path))
    wait_for(lambda: trials(out) or killed.poll() is not None, "a trial", 60)
    before = trials(out)
    wait_for(lambda: len(marked(mark)) >= 3, "a server that runs beside the lab")
    killed.kill()
    killed.communicate()
    wait_for(lambda: not marked(mark), "all of a killed lab to be gone")
    resumed = start(out, str(tmp_path), "--resume")
    said, complaint = resumed.communicate(timeout=100)
    assert (resumed.returncode, marked(mark)) == (0, set()), complaint
    assert trials(out)[: len(before)] == before
    assert "Run epoll" in said
    look_at_results(out)
    look_at_plots(out)
    look_at_recommendation(out)


def look_at_results(out: Path) -> None:
    results = json.loads((out / "results.json").read_text())
    assert {trial["stage"] for trial in results["trials"]} >= {"screen", "ladder"}
    chosen = results["verdict"]["chosen"]["standing"]
    assert chosen["capacity"]["value"] > 100
    assert 0 < chosen["cpu"]["value"] < 0.01
    assert chosen["switches"] is not None


def look_at_plots(out: Path) -> None:
    """The page's charts are files, too; but for that of all candidates, whose names a picture has no room for."""
    page = (out / "report.html").read_text()
    files = list((out / "plots").glob("*.svg"))
    assert page.count('<figure class="chart') == len(files) + 1 >= 5
    for file in (*files, out / "verdict.svg"):
        assert ElementTree.fromstring(file.read_text()).tag == "{http://www.w3.org/2000/svg}svg"


def look_at_recommendation(out: Path) -> None:
    """The server accepts it unchanged."""
    command = [sys.executable, "-m", "allcomers", "run", "--config", str(out / "allcomers.toml"), "--check-config"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "examples/calls.py:AtOnce" in checked.stdout
    assert "epoll" in checked.stdout


def test_term_ends_it_in_order(tmp_path: Path) -> None:
    mark = f"LAB_TEST={tmp_path}"
    lab = start(tmp_path / "out", str(tmp_path))
    wait_for(lambda: trials(tmp_path / "out") or lab.poll() is not None, "a trial", 60)
    wait_for(lambda: len(marked(mark)) >= 3, "a server that runs beside the lab", 60)
    lab.send_signal(signal.SIGTERM)
    _, complaint = lab.communicate(timeout=30)
    assert (lab.returncode, marked(mark)) == (130, set())
    assert complaint.endswith(f"allcomers: interrupted; --resume continues from {tmp_path / 'out'}\n")
    assert "Traceback" not in complaint


def test_term_before_the_first_trial_leaves_nothing(tmp_path: Path) -> None:
    mark = f"LAB_TEST={tmp_path}"
    lab = start(tmp_path / "out", str(tmp_path))
    wait_for(lambda: len(marked(mark)) >= 2, "the app to be loaded", 60)
    lab.send_signal(signal.SIGTERM)
    _, complaint = lab.communicate(timeout=30)
    assert (lab.returncode, marked(mark)) == (130, set())
    assert complaint.endswith("allcomers: interrupted\n")
    assert not (tmp_path / "out").exists()


FORKING = """
import os, signal, sys
from pathlib import Path
from allcomers.commands.lab.run.child_process import ChildProcess

signal.signal(signal.SIGTERM, signal.default_int_handler)
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))
try:
    ChildProcess([sys.executable, "-c", "import time; time.sleep(60)"], cores=(), output=Path(sys.argv[1]))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_signal_at_a_fork_is_not_lost(tmp_path: Path) -> None:
    mark = f"LAB_TEST={tmp_path}"
    command = [sys.executable, "-c", FORKING, str(tmp_path / "out")]
    done = subprocess.run(
        command, env={**os.environ, "LAB_TEST": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr, marked(mark)) == ("interrupted\n", "", set())


# ------------------------------------------------------------ bad input


def refused(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "allcomers", "lab", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in run.stderr
    return run.returncode, run.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        ((), 2, "TARGET|DIR"),
        (("app:app", "--budget", "soon"), 2, "'soon' is no time: 250ms, 90s, 5m, 1h"),
        (("app:app", "--slo", "fast"), 2, "'fast' is no term"),
        (("app:app", "--models", "epoll,magic"), 2, "'magic' is not known"),
        (("app:app", "--server-cores", "99"), 2, "--server-cores 99: this process may use"),
        (("app:app", "--load-cores", "x"), 2, "no list of cores"),
        (("app:app", "--clients", "0"), 2, "at least 1"),
        (("app:app", "--load", "'"), 2, "--load"),
        (("app:app", "--", "--model", "epoll"), 2, "--model after --: the lab chooses it"),
        (("examples/nothing.py",), 3, "examples/nothing.py"),
        (("nowhere/",), 2, "no such folder: nowhere/"),
        (("examples/calls.py:AtOnce", "--models", "epoll,thread", "--budget", "2s"), 2, "2s is too short for 2 models"),
        (("examples/calls.py:AtOnce", "--", "--no-such"), 2, "--no-such"),
        (("examples/calls.py:AtOnce", "--path", "zz zz"), 2, "--path 'zz zz'"),
    ],
)
def test_a_bad_option_is_refused_in_one_line(tmp_path: Path, arguments: Sequence[str], status: int, line: str) -> None:
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    given = [*own, *(["--out", str(tmp_path / "out")] if own else []), *arguments[len(own) :]]
    found, said = refused(*given)
    assert (found, line in said) == (status, True), said
    assert not (tmp_path / "out").exists()


def test_an_app_that_answers_nothing_but_errors_is_reported(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    status, line = refused(f"{tmp_path}/app.py:Broken", "--out", str(tmp_path / "out"))
    assert status == 1
    assert "requests failed: status" in line
    assert "--path" in line
    assert not (tmp_path / "out").exists()


def test_an_app_that_only_redirects_is_reported(tmp_path: Path) -> None:
    """Into the folder of an experiment that was interrupted."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / UNFINISHED).write_text('{"kind":"begin"}\n{"kind":"trial","trial":{}}\n')
    command = [*LAB[:-1], f"{tmp_path}/app.py:Moved", *SHORT, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0
    assert f"and is not resumed: it is kept as {tmp_path}/out/unfinished-1.jsonl" in done.stderr
    assert (tmp_path / "out" / NAME).exists()
    assert "Every response is a redirect: --path" in done.stderr
    assert "Every response is a redirect: --path" in " ".join(done.stdout.split())


def test_the_first_look_has_requests_wait_rather_than_refused(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    found = probe(setup(tmp_path, f"{tmp_path}/app.py:holds"))
    assert found.is_async
    assert found.response > 0.01


# ------------------------------------------------------------ one trial


def setup(folder: Path, target: str) -> Setup:
    server_settings = ServerSettings(words=("run", target), cores=frozenset(), folder=folder)
    runner = LoadRunner(options=(), path="/", timeout=3.0, cores=frozenset(), folder=folder)
    return Setup(server_settings=server_settings, runner=runner)


def run(folder: Path, target: str, **fields: object) -> Trial:
    candidate = Candidate(model="epoll", **fields)  # type: ignore[arg-type]
    return trial.run(setup(folder, target), "ladder", 0, candidate, [HUNDRED, HUNDRED])


def test_a_trial_knows_what_its_server_used(tmp_path: Path) -> None:
    found = run(tmp_path, "examples/calls.py:AtOnce")
    assert found.failure == ""
    assert len(found.steps) == 2
    for step in found.steps:
        assert step.answered > 100
        assert (step.failing, step.held) == (0.0, 4)
        assert 0 < step.cpu < 0.01
        assert step.memory > 5_000_000  # an interpreter
        assert step.processes == 2  # supervisor and worker
        assert step.curve[-1][1] == 1.0
        assert step.time("50") <= step.time("99")
    assert found.switches > 0


def test_a_step_knows_what_it_missed_of_the_goal(tmp_path: Path) -> None:
    given = setup(tmp_path, "examples/calls.py:AtOnce")
    goal = slo.parse("p50<10s,p99<1us,errors<1%,tps>100000000")
    given = replace(given, runner=replace(given.runner, goal=goal))
    found = trial.run(given, "ladder", 0, Candidate(model="epoll"), [Load(clients=1, seconds=2.0)]).steps[0]
    p99, tps = found.missed
    assert (p99, tps) == (
        f"p99 {wording.seconds(found.time('99'))} > 1 µs", f"tps {wording.number(found.tps)} < 100,000,000",
    )  # fmt: skip
    assert found.excess == pytest.approx(max(found.time("99") / 1e-6, 1e8 / found.tps))
    assert not found.met
    assert found.mean == pytest.approx(1 / found.tps, rel=0.5)  # Little's law, for one client


def test_a_trial_survives_a_server_that_dies(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    found = run(tmp_path, f"{tmp_path}/app.py:Fatal")
    assert "signal 9" in found.failure


def test_a_trial_survives_a_server_that_refuses(tmp_path: Path) -> None:
    found = run(tmp_path, "examples/calls.py:AtOnce", threads=100_000)
    assert found.steps == ()
    assert "exit status 2" in found.failure
    assert "--threads" in found.failure


def test_a_child_that_ignores_term_is_killed_with_its_descendants(tmp_path: Path) -> None:
    program = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork(); print('up', flush=True);"
        " time.sleep(60)"
    )
    child = ChildProcess([sys.executable, "-c", program], cores=(), output=tmp_path / "out")
    wait_for(lambda: child.output_tail().count("up") == 2, "both of them")
    assert not child.end(0.1)
    assert child.status == -signal.SIGKILL
