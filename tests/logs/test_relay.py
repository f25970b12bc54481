"""What workers log: entries become lines of the main process as they were, and nothing else is lost."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, LogLevel, eventAsText, formatEvent

from jsonrpcs_tx.log import BURST
from jsonrpcs_tx.logs.entries import Entry, entry_of
from jsonrpcs_tx.logs.relay import MAX_LINE, Relay, pass_on
from tests.support.logs import observed

ENTRY = Entry(
    5.0,
    LogLevel.error,
    "jsonrpcs_tx.rpc.dispatcher",
    "udp 192.0.2.1: command a.b failed",
    {"transport": "udp", "peer": "192.0.2.1", "method": "a.b", "level": "mine", "format": "x", "worker": 9},
    "Traceback (most recent call last):\n  here\nValueError: x",
)


def relayed(*pieces: bytes, number: int = 3) -> list[LogEvent]:
    """The events that come of what a worker writes."""
    events: list[LogEvent] = []
    with observed(events.append):
        relay = Relay(number)
        for piece in pieces:
            relay.feed(piece)
        relay.end()
    return events


def test_entry() -> None:
    """Level, module, fields and traceback arrive, with the number of the worker."""
    (event,) = relayed(pass_on(ENTRY))
    entry = entry_of(event)
    assert entry is not None
    assert (entry.level, entry.module, entry.traceback) == (ENTRY.level, ENTRY.module, ENTRY.traceback)
    assert entry.message == f"worker 3: {ENTRY.message}"
    assert entry.fields == {**ENTRY.fields, "worker": 3, "line": ENTRY.message}
    assert ENTRY.traceback in eventAsText(event)


def test_pieces() -> None:
    """It does not matter in which pieces a line arrives, and the last one need not be ended."""
    data = pass_on(ENTRY) + "Fatal Python error: ü\nCurrent thread".encode()
    whole = [formatEvent(event) for event in relayed(data)]
    assert whole[1:] == ["worker 3: Fatal Python error: ü", "worker 3: Current thread"]
    single = relayed(*(data[place : place + 1] for place in range(len(data))))
    assert [formatEvent(event) for event in single] == whole


@pytest.mark.parametrize(
    "line",
    [b"plain", b"{}", b'{"level":"no","module":"m","message":"x","fields":{},"traceback":""}', b"\xff\x00\x1b[2J"],
)
def test_other_lines(line: bytes) -> None:
    """A line that is not an entry becomes a warning, made printable."""
    (event,) = relayed(line + b"\n")
    assert event["log_level"] is LogLevel.warn
    assert formatEvent(event).startswith("worker 3: ")
    assert formatEvent(event).isprintable()


@given(st.binary(), st.dictionaries(st.text(), st.integers() | st.text()))
def test_anything(data: bytes, fields: dict[str, Any]) -> None:
    """Whatever a worker writes, nothing is raised."""
    entry = Entry(0, LogLevel.info, "m", "x", fields)
    assert relayed(data, b"\n", pass_on(entry))[-1]["log_level"] is LogLevel.info


def test_long_line() -> None:
    """A line without an end is not kept without end."""
    relay = Relay(1)
    with observed(lambda event: None):
        for _ in range(100):
            relay.feed(b"x" * (MAX_LINE // 10))
            assert len(relay._begun) <= MAX_LINE


def test_nothing_is_held_back_twice() -> None:
    """The worker has held back what is too much; the main process logs all that it passes on."""
    assert len(relayed(*[pass_on(ENTRY)] * (5 * BURST))) == 5 * BURST
