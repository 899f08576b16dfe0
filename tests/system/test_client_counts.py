"""The table of connections by client: never too low, hardly too high, no larger for more clients."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from allcomers.system.client_counts import ClientLimit, ClientTable, client_of
from allcomers.system.counters import CHILD_ROWS, CLIENT, HIGHEST, CounterBoard

BOARD = CounterBoard()
BOARD.head[HIGHEST] = 4
TABLE = ClientTable(BOARD)


def limit(place: int, most: int = 1000) -> ClientLimit:
    return ClientLimit(TABLE, place, most, lambda peer, count: None)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 20)), max_size=60))
def test_each_client_counts_over_all_workers_until_it_leaves(entries: list[tuple[int, int]]) -> None:
    limits = {place: limit(place) for place in range(1, 5)}
    for place, number in entries:
        assert limits[place].enter(f"192.0.2.{number}")
    for number in range(21):
        assert TABLE.count(TABLE.key(f"192.0.2.{number}")) == sum(number == other for _, other in entries)
    for place, number in entries:
        limits[place].leave(f"192.0.2.{number}")
    assert all(TABLE.count(TABLE.key(f"192.0.2.{number}")) == 0 for number in range(21))


def test_what_a_worker_counted_is_cleared() -> None:
    first, second = limit(1), limit(2)
    for _ in range(3):
        assert first.enter("192.0.2.1")
    assert second.enter("192.0.2.1")
    TABLE.clear(1)
    assert TABLE.count(TABLE.key("192.0.2.1")) == 1
    TABLE.clear(2)


def test_with_10_000_clients_one_counts_hardly_more_than_it_has() -> None:
    one = limit(3)
    clients = [f"10.0.{number // 256}.{number % 256}" for number in range(10_000)]
    for client in clients:
        assert one.enter(client)
    counts = [TABLE.count(TABLE.key(client)) for client in clients]
    assert min(counts) == 1
    # The others in a column are Poisson with a mean of 10,000/8,192, and the key is new in each run: 6 of them in all
    # four rows meet one of 10,000 clients in one run of 14 million (4 of them: in one of 62).
    assert max(counts) <= 6
    assert sum(count > 2 for count in counts) < 500  # 142 are expected
    TABLE.clear(3)


def test_over_the_most_is_refused_and_reported_now_and_then() -> None:
    reports: list[tuple[str, int]] = []
    one = ClientLimit(TABLE, 4, 2, lambda peer, count: reports.append((peer, count)))
    assert [one.enter("192.0.2.9") for _ in range(50)] == [True, True] + [False] * 48
    assert reports == [("192.0.2.9", 1)]
    one.leave("192.0.2.9")
    assert one.enter("192.0.2.9")
    TABLE.clear(4)


def test_the_one_client_of_a_child_is_in_its_row() -> None:
    board = CounterBoard()
    board.head[HIGHEST] = 1
    board.row(1)[CHILD_ROWS] = 3
    table = ClientTable(board)
    children = []
    for number in range(3):
        child = ClientLimit(table, 1, 2, lambda peer, count: None)
        child.be_child(board.child_row(1, number))
        children.append(child)
    assert [child.enter("192.0.2.1") for child in children] == [True, True, False]
    board.child_row(1, 0)[CLIENT] = 0  # it has ended
    assert children[2].enter("192.0.2.1")


def test_a_client_is_an_address_or_a_network_of_64_bits() -> None:
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff:2") != client_of("2001:db8:0:1::1")
    assert client_of("::ffff:192.0.2.1") == client_of("192.0.2.1") != client_of("192.0.2.2")
    assert client_of("fe80::1%eth0") == client_of("fe80::2")
    assert client_of("no address") == b"no address"
