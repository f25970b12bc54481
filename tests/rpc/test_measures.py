"""What is measured of calls: each is counted, and those that come fast are timed now and then."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.measures import (
    BITS,
    FAILED,
    KIND_CELL,
    LEFT,
    MAX_METHODS,
    ONE_IN,
    SUM,
    TAKEN,
    Measures,
    new_row,
    record,
    settle,
)
from jsonrpcs_tx.rpc.measuring import MeasuringDispatcher
from jsonrpcs_tx.rpc.registry import Registry, command

SECOND = 1_000_000_000


def count(row: Any) -> int:
    return sum(row[:BITS])


def test_calls_that_come_slowly() -> None:
    """Each is timed, and is in the bucket of its duration."""
    row = new_row()
    for begun, taken in ((SECOND, 1000), (2 * SECOND, 1023), (3 * SECOND, 1024), (4 * SECOND, 0)):
        assert row[LEFT] == 0
        record(row, begun, begun + taken)
    assert {bits: row[bits] for bits in range(BITS) if row[bits]} == {0: 1, 10: 2, 11: 1}
    assert row[SUM] == 3047


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=200), st.integers(0, 20))
def test_calls_that_come_fast(calls: list[tuple[int, int]], every: int) -> None:
    """However fast calls come, all are counted once they are settled, and no cell ever goes down."""
    row, now = new_row(), 0
    before = list(row)
    for number, (pause, taken) in enumerate(calls):
        now += pause
        if row[LEFT]:
            row[LEFT] -= 1
        else:
            record(row, now, now + taken)
            now += taken
        if every and number % every == 0:
            settle(row)
            assert count(row) == number + 1
        assert all(cell >= former for cell, former in zip(row[: FAILED + 1], before[: FAILED + 1], strict=True))
        before = list(row)
    settle(row)
    settle(row)
    assert count(row) == len(calls)


def test_one_stands_for_others() -> None:
    """In a row of fast calls one in a few is timed; the others count as long as it took."""
    row = new_row()
    record(row, SECOND, SECOND + 100)
    record(row, SECOND + 200, SECOND + 300)
    assert row[LEFT] == ONE_IN - 1
    row[LEFT] = 0
    record(row, SECOND + 1000, SECOND + 1005)
    assert (row[SUM], count(row)) == (200 + 5 * ONE_IN, 2 + ONE_IN)
    row[LEFT] -= 2
    settle(row)
    assert (row[SUM], count(row), row[TAKEN]) == (200 + 5 * (ONE_IN + 2), 2 + ONE_IN + 2, 5)


class Commands:
    """Commands that succeed, fail and wait."""

    def __init__(self) -> None:
        self.waiting: Deferred[str] = Deferred()

    @command("a.quick")
    def quick(self, number: int = 0) -> str:
        """Returns at once."""
        return "quick"

    @command("a.fault")
    def fault(self) -> None:
        """Raises a fault."""
        raise Fault(480, "Unavailable")

    @command("a.later")
    def later(self) -> Deferred[str]:
        """Returns when the test says so."""
        return self.waiting


def made(*sources: Any) -> MeasuringDispatcher:
    return MeasuringDispatcher(Registry(*sources), Clock())


def call(dispatcher: MeasuringDispatcher, method: str, params: str = "[]", transport: str = "http") -> Any:
    document = b'{"jsonrpc":"2.0","method":"%b","params":%b,"id":1}' % (method.encode(), params.encode())
    return dispatcher.dispatch(document, dispatcher.origin(transport, asynchronous=True))


def test_errors() -> None:
    """Errors are counted by method, and by transport and kind, single and in batches."""
    dispatcher = made(Commands())
    for _ in range(50):
        call(dispatcher, "a.fault")
    call(dispatcher, "a.quick", '["x"]', "udp")
    call(dispatcher, 'no.such{x=\\"}', transport="udp")
    origin = dispatcher.origin("udp")
    dispatcher.dispatch(b"{", origin)
    dispatcher.dispatch(b'[1,{"jsonrpc":"2.0","method":"a.fault","id":1}]', origin)
    measures = dispatcher.measures
    assert measures.rows["a.fault"][FAILED] == 51
    assert measures.rows["a.quick"][FAILED] == 1
    assert measures.rows.other[FAILED] == 1
    found = {
        (transport, kind): row[cell]
        for transport, row in measures.errors.items()
        for kind, cell in KIND_CELL.items()
        if row[cell]
    }
    assert found == {
        ("http", "faults"): 50,
        ("udp", "faults"): 1,
        ("udp", "invalid_params"): 1,
        ("udp", "methods_not_found"): 1,
        ("udp", "parse_errors"): 1,
        ("udp", "invalid_requests"): 1,
    }


def test_later() -> None:
    """An asynchronous command is measured when it is done, however it is called."""
    commands = Commands()
    dispatcher = made(commands)
    call(dispatcher, "a.later")
    called = dispatcher.call("a.later", (), dispatcher.origin("exec", asynchronous=True))
    row = dispatcher.measures.rows["a.later"]
    assert count(row) == 0
    commands.waiting.callback("later")
    assert count(row) == 2
    assert row[FAILED] == 0
    called.addErrback(lambda failure: None)
    dispatcher.call("a.fault", (), dispatcher.origin("exec")).addErrback(lambda failure: failure.trap(Fault) and None)
    assert dispatcher.measures.rows["a.fault"][FAILED] == 1


@pytest.mark.parametrize("hostile", ['"} 1', "x" * 100, "a.quick\\n", "other"])
def test_hostile_methods(hostile: str) -> None:
    """What clients call never gets a row unless it is a command."""
    dispatcher = made(Commands())
    for number in range(100):
        call(dispatcher, f"{hostile}{number}".replace('"', '\\"'))
    assert not dispatcher.measures.rows
    settle(dispatcher.measures.rows.other)
    assert count(dispatcher.measures.rows.other) == 100


def test_many_methods() -> None:
    """At most so many methods have a row of their own; the others share one."""
    registry = Registry()
    for number in range(MAX_METHODS + 20):
        registry.add(command(f"many.m{number}")(lambda: "one"))
    dispatcher = MeasuringDispatcher(registry, Clock())
    for number in range(MAX_METHODS + 20):
        call(dispatcher, f"many.m{number}")
    measures: Measures = dispatcher.measures
    settle(measures.rows.other)
    assert len(measures.rows) == MAX_METHODS
    assert count(measures.rows.other) == 20


def test_transports() -> None:
    """What is told of a transport is the sum over its methods, however fast calls come."""
    dispatcher = made(Commands())
    for _ in range(500):
        call(dispatcher, "a.quick")
        call(dispatcher, "a.fault", transport="udp")
    measures = dispatcher.measures
    for row in measures.rows.values():
        settle(row)
    for transport, method in (("http", "a.quick"), ("udp", "a.fault")):
        row, total = measures.rows[method], measures.transports[transport]
        assert sum(row[:BITS]) == 500
        assert 500 - ONE_IN < sum(total[:BITS]) <= 500  # the last calls count with the next one that is timed
        assert abs(row[SUM] - total[SUM]) <= ONE_IN * row[TAKEN] + 1
