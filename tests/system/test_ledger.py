"""The ledger: what all processes hold together, its bounds, and who is ended above them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from allcomers.errors import SpoolFull
from allcomers.protocol.body import SPOOL_AT, UNCOUNTED, Body
from allcomers.system.accept_balance import WorkerSlots
from allcomers.system.counters import HELD_CUT, HELD_REFUSED, MEMORY_FULL, MEMORY_HELD, SPOOL_HELD
from allcomers.system.memory.ledger import SPOOL, Ledger, default_max_memory, default_max_spool, temp_folder

KIB = 1 << 10


class Peer:
    """A connection that holds bytes until it is ended."""

    def __init__(self, ledger: Ledger, name: str = "192.0.2.1") -> None:
        self.peer = name
        self.driver: Peer | None = self
        self.held = 0
        self.is_cut = False
        self._ledger = ledger

    def hold(self, held: int) -> None:
        before, self.held = self.held, held
        self._ledger.hold(self, held, before)

    def cut(self) -> None:
        self.is_cut = True
        self.hold(0)


def ledger_of(slots: WorkerSlots, **bounds: int) -> Ledger:
    slot = slots.acquire()
    return Ledger(slot.counters, slot.shares, **bounds)


@pytest.fixture
def slots() -> WorkerSlots:
    return WorkerSlots()


@pytest.fixture
def on_ledger(monkeypatch: pytest.MonkeyPatch) -> Callable[[Ledger], None]:
    return lambda ledger: monkeypatch.setattr(Body, "ledger", ledger)


def test_the_greediest_of_all_peers_is_ended(slots: WorkerSlots, caplog: pytest.LogCaptureFixture) -> None:
    ledger = ledger_of(slots, max_memory=100 * KIB)
    peers = [Peer(ledger, f"192.0.2.{number}") for number in range(4)]
    for peer, held in zip(peers, (30, 45, 20, 10), strict=True):
        peer.hold(held * KIB)
    assert [peer.is_cut for peer in peers] == [False, True, False, False]
    assert slots.board.row(1)[MEMORY_HELD] == 60 * KIB
    assert slots.board.row(1)[HELD_CUT] == 1
    assert sum("as much is held" in record.getMessage() for record in caplog.records) == 1
    assert sum("192.0.2.1: ended" in record.getMessage() for record in caplog.records) == 1
    peers[2].hold(39 * KIB)  # up to the bound
    assert sum(peer.is_cut for peer in peers) == 1


def test_what_is_about_to_be_given_back_ends_no_other(slots: WorkerSlots) -> None:
    """A thread ends its peer itself, a moment later: meanwhile the others go on."""

    class Slow(Peer):
        def cut(self) -> None:
            self.is_cut = True

    ledger = ledger_of(slots, max_memory=100 * KIB)
    peers = [Slow(ledger) for _ in range(4)]
    for peer in peers:
        peer.hold(30 * KIB)
    assert sum(peer.is_cut for peer in peers) == 1
    for _ in range(3):
        for peer in peers:
            peer.hold(29 * KIB)
    assert sum(peer.is_cut for peer in peers) == 1
    next(peer for peer in peers if peer.is_cut).hold(0)
    Slow(ledger).hold(30 * KIB)
    assert sum(peer.is_cut for peer in peers) == 1, "the one that came last holds most"
    assert slots.board.row(1)[HELD_CUT] == 2


def test_a_peer_alone_holds_what_it_likes(slots: WorkerSlots) -> None:
    ledger = ledger_of(slots, max_memory=100 * KIB)
    peer, other = Peer(ledger), Peer(ledger)
    peer.hold(1000 * KIB)
    assert not peer.is_cut
    other.hold(5 * KIB)
    assert (peer.is_cut, other.is_cut) == (True, False)


def test_a_worker_ends_no_peer_for_what_others_hold(slots: WorkerSlots) -> None:
    """The one that holds more than its share does, the next time that it looks."""
    first, second = ledger_of(slots, max_memory=100 * KIB), ledger_of(slots, max_memory=100 * KIB)
    hog, other, small = Peer(first), Peer(first), Peer(second)
    hog.hold(80 * KIB)
    other.hold(10 * KIB)
    small.hold(20 * KIB)
    assert (hog.is_cut, small.is_cut) == (False, False)
    other.hold(9 * KIB)
    assert (hog.is_cut, other.is_cut, small.is_cut) == (True, False, False)


def test_the_share_of_a_worker_vanishes_with_it(slots: WorkerSlots) -> None:
    slot = slots.acquire()
    dead = Ledger(slot.counters, slot.shares, max_memory=100 * KIB)
    Peer(dead).hold(100 * KIB)
    other = ledger_of(slots, max_memory=100 * KIB)
    other.hold_memory(1)
    assert other.refuses()
    slots.release(slot)
    assert not other.refuses()
    assert not other.tight


def test_the_share_of_a_child_vanishes_with_it(slots: WorkerSlots) -> None:
    """A child of the process model counts in its own row, which its parent clears."""
    slot = slots.acquire()
    slot.lend_row(0)
    ledger = Ledger(slot.counters, slot.shares, max_memory=100 * KIB)
    own = slot.counters.cells
    slot.be_child(0)
    Peer(ledger).hold(70 * KIB)
    ledger.hold_spool(5)
    assert (own[MEMORY_HELD], sum(slots.board.shares(MEMORY_HELD))) == (0, 70 * KIB)
    slot.end_child(0)
    assert sum(slots.board.shares(MEMORY_HELD)) == sum(slots.board.shares(SPOOL_HELD)) == 0


def test_a_worker_without_a_row_counts_its_own(slots: WorkerSlots) -> None:
    while (slot := slots.acquire()).place:
        pass
    ledger = Ledger(slot.counters, slot.shares, max_memory=10 * KIB)
    ledger.hold_memory(10 * KIB)
    assert ledger.refuses()


def test_new_requests_are_refused_at_the_bound_and_no_longer(slots: WorkerSlots) -> None:
    first, second = ledger_of(slots, max_memory=100 * KIB), ledger_of(slots, max_memory=100 * KIB)
    first.hold_memory(100 * KIB)
    assert not second.refuses()  # it has not looked: it holds nothing
    second.hold_memory(1)
    assert second.refuses()
    assert slots.board.row(2)[HELD_REFUSED] == slots.board.row(2)[MEMORY_FULL] == 1
    first.hold_memory(-100 * KIB)
    assert not second.refuses()


# ---------------------------------------------------------------- bodies


def test_a_body_goes_to_disk_at_once_where_memory_is_short(
    slots: WorkerSlots, on_ledger: Callable[[Ledger], None]
) -> None:
    ledger = ledger_of(slots, max_memory=1024 * KIB)
    on_ledger(ledger)
    row = slots.board.row(1)
    first, second = Body(), Body()
    first.write(b"x" * 500 * KIB)
    second.write(b"y" * 268 * KIB)
    assert (row[MEMORY_HELD], row[SPOOL_HELD]) == (768 * KIB, 0)
    second.write(b"y" * KIB)
    third = Body()  # memory is no longer short
    third.write(b"z" * UNCOUNTED)
    third.write(b"z")
    assert (row[MEMORY_HELD], row[SPOOL_HELD]) == (500 * KIB + UNCOUNTED + 1, 269 * KIB)
    for body, whole in ((first, b"x" * 500 * KIB), (second, b"y" * 269 * KIB)):
        body.rewind()
        assert body.file.read() == whole
        body.close()
        body.close()
    third.close()
    assert (row[MEMORY_HELD], row[SPOOL_HELD]) == (0, 0)


def test_temporary_files_have_a_bound_for_all(
    slots: WorkerSlots, on_ledger: Callable[[Ledger], None], caplog: pytest.LogCaptureFixture
) -> None:
    ledger = ledger_of(slots, max_spool=2 * SPOOL_AT)
    on_ledger(ledger)
    first, second = Body(), Body()
    first.write(b"x" * (SPOOL_AT + 1))
    second.write(b"x" * SPOOL_AT)
    with pytest.raises(SpoolFull):
        second.write(b"x")
    assert slots.board.row(1)[SPOOL_HELD] == SPOOL_AT + 1
    second.close()
    first.write(b"x" * (SPOOL_AT - 1))
    with pytest.raises(SpoolFull):
        first.write(b"x")
    first.close()
    assert slots.board.row(1)[SPOOL_HELD] == slots.board.row(1)[MEMORY_HELD] == 0
    assert slots.board.row(1)[HELD_REFUSED] == 2
    lines = ["--max-spool 1.0 MiB: as much is in temporary files"]
    assert [record.getMessage() for record in caplog.records] == lines, "once"
    third = Body()
    third.write(b"x" * (SPOOL_AT + 1))
    with pytest.raises(SpoolFull):
        third.write(b"x" * SPOOL_AT)
    assert [record.getMessage() for record in caplog.records] == 2 * lines, "once each time"
    third.close()


def test_a_small_body_is_not_counted(slots: WorkerSlots, on_ledger: Callable[[Ledger], None]) -> None:
    on_ledger(ledger_of(slots))
    body = Body()
    body.write(b"x" * UNCOUNTED, last=True)
    assert slots.board.row(1)[MEMORY_HELD] == 0


# ---------------------------------------------------------------- defaults


def put(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_the_default_is_an_eighth_of_what_the_cgroup_has(tmp_path: Path) -> None:
    put(tmp_path, "proc/meminfo", "MemTotal:  16777216 kB\n")
    assert default_max_memory(str(tmp_path)) == 2 << 30
    put(tmp_path, "proc/self/cgroup", "0::/app\n")
    put(tmp_path, "sys/fs/cgroup/app/memory.max", "max\n")
    assert default_max_memory(str(tmp_path)) == 2 << 30
    put(tmp_path, "sys/fs/cgroup/app/memory.max", f"{512 << 20}\n")
    assert default_max_memory(str(tmp_path)) == 64 << 20
    put(tmp_path, "proc/self/cgroup", "4:memory:/app\n")
    put(tmp_path, "sys/fs/cgroup/memory/app/memory.limit_in_bytes", f"{256 << 20}\n")
    assert default_max_memory(str(tmp_path)) == 32 << 20


def test_the_default_of_files_is_half_of_what_is_free_at_most() -> None:
    assert 0 < default_max_spool(temp_folder()) <= SPOOL
    assert default_max_spool("/proc") == 0  # a file system without room
