"""The processes of a load: forked, given a start time, stopped, and always reaped.

The caller must have one thread only, or the fork is not safe. Each child has two pipes: on one it sends its progress
and at last its record (pickled, each message after its length); the end of the other, `stop_fd`, makes it stop. Since
the parent's death closes it too, no child is left behind, whatever happens.
"""

from __future__ import annotations

import os
import pickle
import resource
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from allcomers.commands.load.data.plan import Destination, Plan
from allcomers.commands.load.data.record import ANSWERED, FAILED, OPEN, SENT, Record
from allcomers.commands.load.run.client_group import SECOND, ClientGroup, now_ns
from allcomers.errors import OperatorError
from allcomers.protocol.framing import LengthPrefixed
from allcomers.system.descriptors import MOST, set_limit

REPORT_INTERVAL: Final = SECOND // 4
"""ns between two progress messages of a child."""

STOP_TIMEOUT: Final = 30.0
"""Seconds that a child has to send its record after it was stopped: a busy machine may take some. Another Ctrl-C does
not wait."""

OVERDUE: Final = 30.0
"""Seconds after the end of its time from which on a running child is killed."""

_INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM)

_FRAMES: Final = LengthPrefixed(8, max_size=1 << 32)


class Progress(NamedTuple):
    """The progress of a load: sums over all processes."""

    seconds: float
    sent: int
    answered: int
    failed: int
    open: int


class Child:
    """One process of the load, as its parent has it."""

    def __init__(self, number: int, pid: int, report_fd: int, stop_fd: int) -> None:
        self.number = number
        self.pid = pid
        self.report_fd = report_fd
        self.stop_fd = stop_fd
        self.progress: tuple[int, int, int, int] = (0, 0, 0, 0)
        self.record: Record | None = None
        self.status = 0
        self._buffer = b""

    def receive(self) -> bool:
        """Receive messages; return False at the end of the pipe."""
        data = os.read(self.report_fd, 1 << 20)
        messages, self._buffer = _FRAMES.split(self._buffer + data)
        for message in messages:
            content = pickle.loads(message)
            if isinstance(content, Record):
                self.record = content
            else:
                self.progress = content
        return bool(data)

    def stop(self) -> None:
        """Stop the child: close this end of its stop pipe."""
        if self.stop_fd >= 0:
            os.close(self.stop_fd)
            self.stop_fd = -1

    def reap(self) -> None:
        """Wait until the child has exited; stop or kill it before."""
        self.stop()
        os.close(self.report_fd)
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Processes:
    """All children of one run."""

    def __init__(self, plan: Plan, destination: Destination, start: int) -> None:
        self._start = start
        self._until = start / SECOND + plan.seconds + plan.timeout + OVERDUE if plan.seconds else float("inf")
        self._children: list[Child] = []
        self._selector = selectors.DefaultSelector()
        self.interrupted = False
        # From here on interrupts are let in only where the parent is ready to stop the children: in _turn.
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
        try:
            for number in range(plan.processes):
                self._children.append(self._fork(plan, destination, number))
        except BaseException:
            self._end()
            raise

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self._children]

    def _fork(self, plan: Plan, destination: Destination, number: int) -> Child:
        report_fd, report_end = os.pipe()
        stop_fd, stop_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            for fd in (
                report_fd,
                stop_end,
                *(fd for child in self._children for fd in (child.report_fd, child.stop_fd)),
            ):
                os.close(fd)  # an end that is kept here would keep the pipe open after the parent's death
            _run_child(plan, destination, number, self._start, report_end, stop_fd, self._mask)
        os.close(report_end)
        os.close(stop_fd)
        child = Child(number, pid, report_fd, stop_end)
        self._selector.register(report_fd, selectors.EVENT_READ, child)
        return child

    def wait(self, report: Callable[[Progress], None]) -> list[Child]:
        """Wait until all have sent their records, or were interrupted and have; then all have exited."""
        try:
            self._receive(report)
        finally:
            self._end()
        return self._children

    def _receive(self, report: Callable[[Progress], None]) -> None:
        until = self._until
        while self._selector.get_map() and time.monotonic() < until:
            try:
                self._turn(report)
            except KeyboardInterrupt:
                if self.interrupted:
                    return
                self.interrupted = True
                until = time.monotonic() + STOP_TIMEOUT
                for child in self._children:
                    child.stop()

    def _turn(self, report: Callable[[Progress], None]) -> None:
        """Receive messages, and report. Raises KeyboardInterrupt for one that has come since the last turn, too."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        try:
            for key, _ in self._selector.select(REPORT_INTERVAL / SECOND):
                if not key.data.receive():
                    self._selector.unregister(key.fileobj)
            report(self._progress())
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)

    def _progress(self) -> Progress:
        sums = [sum(column) for column in zip(*(child.progress for child in self._children), strict=True)]
        return Progress((now_ns() - self._start) / SECOND, *sums)

    def _end(self) -> None:
        self._selector.close()
        for child in self._children:
            if child.record is None:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
            child.reap()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)


def _run_child(
    plan: Plan,
    destination: Destination,
    number: int,
    start: int,
    report_fd: int,
    stop_fd: int,
    mask: set[signal.Signals | int],
) -> NoReturn:
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent closes the stop pipe
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        with suppress(
            OSError
        ):  # else the kernel wakes the process up to 50 µs after a request is due (proc_pid_timerslack_ns(5))
            Path("/proc/self/timerslack_ns").write_text("1")
        set_limit(MOST)
        group = ClientGroup(plan, destination, number, start, stop_fd)
        progress = now_ns()

        def report(record: Record) -> None:
            nonlocal progress
            now = now_ns()
            if now - progress >= REPORT_INTERVAL:
                progress = now
                counters = record.counters
                _send(report_fd, (counters[SENT], counters[ANSWERED], counters[FAILED], counters[OPEN]))

        _send(report_fd, group.run(report))
        status = 0
    except OperatorError as error:
        print(f"allcomers: {error}", file=sys.stderr, flush=True)
        status = error.exit_code
    except BrokenPipeError:  # the parent has exited
        pass
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _send(report_fd: int, message: object) -> None:
    data = memoryview(_FRAMES.wrap(pickle.dumps(message)))
    while data:
        data = data[os.write(report_fd, data) :]


def connections_possible(processes: int = 1) -> int:
    """Return how many connections so many processes can have open to one address: descriptors and local ports.

    Each process keeps 32 descriptors for itself. The ports are those of ip_local_port_range (ip(7)), which others may
    use, too.
    """
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return min(processes * max(descriptors - 32, 0), sum(_ports()))


def _ports() -> Iterator[int]:
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:  # noqa: PTH123 - not a path but the kernel
            first, last = map(int, file.read().split())
    except (OSError, ValueError):
        first, last = 49152, 65535  # RFC 6335, 6
    yield last - first + 1
