"""Collecting the metrics: in short turns, once for all who ask, and whatever goes wrong."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as read_text
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jsonrpcs_tx import Settings, makeService
from jsonrpcs_tx.compose import check
from jsonrpcs_tx.errors import SettingError
from jsonrpcs_tx.metrics.exposition import GAUGE, OPENMETRICS, TEXT, Family, Format, Sample
from jsonrpcs_tx.metrics.lag import ReactorLag
from jsonrpcs_tx.metrics.resource import preferred
from jsonrpcs_tx.metrics.scrapes import FRESH, Scrapes
from jsonrpcs_tx.metrics.server import ServerMetrics
from jsonrpcs_tx.reactor.slices import SLICE, Slices
from jsonrpcs_tx.rpc.measures import BITS
from jsonrpcs_tx.state.destinations import Destination


class Source:
    """Families that take a while.

    @ivar runs: how often they were collected.
    """

    def __init__(self, slow: int = 0) -> None:
        self.runs = 0
        self.slow = slow

    def __call__(self) -> Iterator[Family]:
        self.runs += 1
        for number in range(self.slow + 1):
            time.sleep(SLICE if self.slow else 0)
            yield Family(f"a{number}", GAUGE, "A.", [Sample(self.runs)])


def outcome(later: Deferred[bytes], clock: Clock) -> Any:
    """What a Deferred fires with, after as many turns as that takes."""
    found: list[Any] = []
    later.addBoth(found.append)
    while not found:
        turn(clock)
    return found[0]


def turn(clock: Clock) -> float:
    """Run one turn of the reactor, and what is to be done in it alone.

    @return: the CPU seconds that it took.
    """
    due, clock.calls = clock.calls, []
    begun = time.thread_time()
    for call in due:
        call.func(*call.args, **call.kw)
    return time.thread_time() - begun


def test_shared() -> None:
    """What was collected is given again for a moment, in each format."""
    clock, source = Clock(), Source()
    scrapes = Scrapes(source, Slices(clock), clock)
    first = outcome(scrapes.get(TEXT), clock)
    assert first.endswith(b"a0 1\n")
    assert outcome(scrapes.get(TEXT), clock) is first
    assert outcome(scrapes.get(OPENMETRICS), clock).endswith(b"a0 2\n# EOF\n")
    clock.advance(FRESH)
    assert outcome(scrapes.get(TEXT), clock).endswith(b"a0 3\n")


def test_turns() -> None:
    """Long collecting gives way to others after each slice; all who ask meanwhile and still wait get the same."""
    clock, source = Clock(), Source(slow=3)
    scrapes = Scrapes(source, Slices(clock), clock)
    results: list[bytes] = []
    for _ in range(2):
        scrapes.get(TEXT).addCallback(results.append)
    gone = scrapes.get(TEXT)
    gone.addErrback(lambda failure: None)
    gone.cancel()
    assert not results
    turns = 0
    while clock.getDelayedCalls():
        turn(clock)
        turns += 1
    assert turns >= 3
    assert source.runs == 1
    assert results[0] is results[1]
    assert results[0].count(b"# HELP") == 4


def test_failure() -> None:
    """What cannot be collected fails for all who wait, and is tried again for the next."""
    clock = Clock()
    broken = [True]

    def families() -> Iterator[Family]:
        yield Family("a", GAUGE, "A.", [Sample(1)])
        if broken:
            raise ZeroDivisionError

    scrapes = Scrapes(families, Slices(clock), clock)
    assert outcome(scrapes.get(TEXT), clock).check(ZeroDivisionError)
    broken.clear()
    assert outcome(scrapes.get(TEXT), clock).endswith(b"a 1\n")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, TEXT),
        (b"", TEXT),
        (b"*/*", TEXT),
        (b"text/html, */*;q=0.8", TEXT),
        (b"application/openmetrics-text", OPENMETRICS),
        (b"Application/OpenMetrics-Text; Version=1.0.0 ; charset=utf-8", OPENMETRICS),
        (b"application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),
        (b"application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5", OPENMETRICS),
        (b"application/openmetrics-text;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.5", TEXT),
        (b"application/openmetrics-text;q=0", TEXT),
        (b"application/openmetrics-text;q=2", TEXT),
        (b"application/openmetrics-text;q=\xff,;;=,=;q=,", TEXT),
    ],
)
def test_accept(accept: bytes | None, form: Format) -> None:
    """The Accept header decides; where it does not, it is the text format."""
    assert preferred(accept) is form


def test_lag() -> None:
    """The lag is looked at every second from the start to the stop."""
    clock = Clock()
    lag = ReactorLag(clock)
    lag.startService()
    clock.pump([1.0] * 5)
    assert sum(lag.row[:BITS]) == 5
    lag.stopService()
    assert not clock.getDelayedCalls()


@pytest.mark.slow
def test_many() -> None:
    """With 100,000 counters and 10,000 destinations nobody waits long: each turn of collecting is short."""
    clock = Clock()
    server = makeService(Settings(metrics="/metrics", transport=4), clock)
    for number in range(100_000):
        server.counters.counter(f"g{number % 50}", f"c{number}").value = number
    for number in range(10_000):
        server.destinations.add(number % 3, Destination(f"sip:192.0.2.1:{number + 1}"))
    scrapes = Scrapes(ServerMetrics(server, ReactorLag(clock)).families, Slices(clock), clock)
    begun = time.thread_time()
    later = scrapes.get(TEXT)
    longest = time.thread_time() - begun
    while clock.getDelayedCalls():
        longest = max(longest, turn(clock))
    body = outcome(later, clock)
    assert body.count(b"# HELP jsonrpcs_g") == 100_000
    assert b'jsonrpcs_destinations{set="1",state="active"} 3333\n' in body
    assert sum(1 for family in read_text(body.decode()) if family.name.startswith("jsonrpcs_g")) == 100_000
    assert longest < 0.1  # it is below 20 ms, but for a collection of garbage or a busy machine


@pytest.mark.parametrize(
    "settings",
    [Settings(metrics="/health"), Settings(metrics="/metrics", health="/probe", node=["edge=unix:/none"])],
)
def test_same_path(settings: Settings) -> None:
    """A path that another page has is refused before the start."""
    with pytest.raises(SettingError, match="a path that no other page has"):
        makeService(settings, Clock())
    (problem,) = check(settings, Clock())
    assert isinstance(problem, SettingError)
