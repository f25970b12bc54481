"""The lines about refused clients: their form, and that a flood of them hides nobody and fills no disk."""

from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent

from jsonrpcs_tx.access.refusallog import BURST, BURST_OF_ALL, MAX_NETWORKS, RATE_OF_ALL, RefusalLog
from jsonrpcs_tx.state.counters import Counters
from tests.support.logs import observed


class Told:
    """A log, and the lines in it."""

    def __init__(self) -> None:
        self.clock, self.counters = Clock(), Counters()
        self.log = RefusalLog(self.clock.seconds, self.counters)
        self.lines: list[str] = []

    def note(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))

    def tell(self, client: str, why: str = "no password", source: str | None = None) -> None:
        self.log.tell("http", client, source or client, why)


@pytest.fixture
def told() -> Iterator[Told]:
    made = Told()
    with observed(made.note):
        yield made


def test_form(told: Told) -> None:
    """The address comes last, whatever is said before it; how many were held back stands behind it."""
    told.tell("192.0.2.1", "user 'a' from 192.0.2.9\n\x1b\u202e")
    told.tell("uid=0 gid=0 pid=1")
    assert told.lines == [
        "http: user 'a' from 192.0.2.9\\n\\x1b\\u202e from 192.0.2.1",
        "http: no password from uid=0 gid=0 pid=1",
    ]


def test_flood_from_a_network(told: Told) -> None:
    """Of each network some lines are logged at once, then one a second, which says how many were held back."""
    for number in range(BURST + 1234):
        told.tell(f"2001:db8::{number % 500:x}")
    told.tell("192.0.2.1")
    told.clock.advance(1)
    told.tell("2001:db8::1")
    assert len(told.lines) == BURST + 2
    assert told.lines[-2:] == [
        "http: no password from 192.0.2.1",
        "http: no password from 2001:db8::1 (and 1,234 more)",
    ]
    counter = told.counters.get("log", "refusals_held_back")
    assert counter is not None
    assert counter.read() == 1234


@pytest.mark.slow
def test_flood_from_many_networks(told: Told) -> None:
    """An attacker with many networks fills no disk either, and no memory."""
    for number in range(2 * MAX_NETWORKS):
        told.tell(f"2001:db8:{number:x}::1")
    assert len(told.lines) == BURST_OF_ALL
    told.clock.advance(1)
    for number in range(2 * MAX_NETWORKS):
        told.tell(f"2001:db8:{number:x}::1")
    assert len(told.lines) == BURST_OF_ALL + RATE_OF_ALL
    assert len(told.log._throttle._kinds) <= MAX_NETWORKS


def test_flood_from_many_processes(told: Told) -> None:
    """The processes of one user share the lines."""
    for pid in range(BURST + 5):
        told.tell(f"uid=7 gid=7 pid={pid}", source="uid=7")
    assert len(told.lines) == BURST
