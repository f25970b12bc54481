"""The load: means and percentiles of the last minute."""

import pytest
from twisted.internet.task import Clock

from jsonrpcs_tx.console.load import STEP, WINDOW, Window, percentile
from jsonrpcs_tx.rpc.measures import BITS, new_row, record_apart


@pytest.mark.parametrize(
    ("counts", "rank", "expected"),
    [
        ({11: 1}, 1, 2.0),
        ({11: 2}, 1, 1.5),
        ({11: 99, 21: 1}, 99, 2.0),
        ({11: 99, 21: 1}, 99.5, 1572.9),
        ({0: 1}, 1, 0.0),
        ({63: 1}, 1, 2**63 / 1000),
        ({}, 1, 0.0),
    ],
)
def test_percentile(counts: dict[int, int], rank: float, expected: float) -> None:
    """A percentile lies within the bucket of its rank, in microseconds."""
    assert percentile([counts.get(bits, 0) for bits in range(BITS)], rank) == pytest.approx(expected, rel=1e-4)


def test_window() -> None:
    """Calls are counted from the start; their times are those of the last minute."""
    clock, row = Clock(), new_row()
    window = Window(clock.seconds)
    for _ in range(10):
        record_apart(row, 1_000_000)
    assert window.add({"m": row}) == {"m": (10, None, None, None)}
    clock.advance(1)
    record_apart(row, 5_000)
    calls, mean, median, most = window.add({"m": row})["m"]
    assert (calls, mean) == (11, 5.0)
    assert 4.0 < median <= most <= 8.2
    for _ in range(int(WINDOW / STEP)):
        clock.advance(STEP)
        window.add({"m": row})
    clock.advance(1)
    assert window.add({"m": row}) == {"m": (11, None, None, None)}
    assert len(window._before) <= WINDOW / STEP + 1


def test_new_method() -> None:
    """The first calls of a method count from then on."""
    clock, row = Clock(), new_row()
    window = Window(clock.seconds)
    window.add({})
    clock.advance(1)
    record_apart(row, 3_000)
    assert window.add({"m": row})["m"][:2] == (1, 3.0)


def test_pause() -> None:
    """Calls while nobody watched are not reported as if they had just been made."""
    clock, row = Clock(), new_row()
    window = Window(clock.seconds)
    window.add({"m": row})
    clock.advance(10 * WINDOW)
    record_apart(row, 3_000)
    assert window.add({"m": row}) == {"m": (1, None, None, None)}
