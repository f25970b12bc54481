"""Limits: turns by lane, and what was seen lately."""

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock

from jsonrpcs_tx.access.guessing import network_of
from jsonrpcs_tx.access.limits import Recent, TurnLost, Turns


def test_recent() -> None:
    """What was seen is known for its time, and only as many as there may be, the newest."""
    clock = Clock()
    recent = Recent(3, 10, clock)
    for key in "abcda":
        recent.add(key)
        clock.advance(1)
    assert [recent.has(key) for key in "abcdx"] == [True, False, True, True, False]
    assert [recent.has(key, 2.5) for key in "acd"] == [True, False, True]
    clock.advance(7)
    assert [recent.has(key) for key in "acd"] == [True, False, True]
    recent.add("e")
    assert len(recent) == 3
    clock.rightNow = -1.0
    assert not recent.has("e")


class Tasks:
    """Tasks that end when a test says so.

    @ivar begun: names of those that have begun, in order.
    """

    def __init__(self, at_once: int = 1, most: int = 100) -> None:
        self.turns = Turns(at_once, most)
        self.begun: list[str] = []
        self.answers: dict[str, list[Any]] = {}
        self.asked: dict[str, Deferred[Any]] = {}
        self._running: dict[str, Deferred[str]] = {}

    def ask(self, *names: str, first: bool = False) -> None:
        """Run tasks; the first letter of the name is the lane."""
        for name in names:
            self.answers[name] = []
            self.asked[name] = self.turns.run(name[0], partial(self._begin, name), first)
            self.asked[name].addBoth(self.answers[name].append)

    def _begin(self, name: str) -> Deferred[str]:
        self.begun.append(name)
        self._running[name] = Deferred()
        return self._running[name]

    def end_all(self) -> None:
        """End what runs, and what begins then."""
        while self._running:
            name, running = self._running.popitem()
            running.callback(name)


def test_turns() -> None:
    """Lanes take turns, each in its order, except for who may go before all."""
    tasks = Tasks()
    tasks.ask("a1", "a2", "a3", "a4", "b1", "b2", "c1")
    tasks.ask("b0", first=True)
    tasks.end_all()
    assert tasks.begun == ["a1", "b0", "a2", "c1", "b1", "a3", "b2", "a4"]
    assert all(tasks.answers[name] == [name] for name in tasks.begun)
    assert tasks.turns.waiting == 0


def test_turns_are_given_up() -> None:
    """Who leaves before the turn is skipped; who leaves later keeps the place until the task ends."""
    tasks = Tasks()
    tasks.ask("a1", "a2", "a3")
    tasks.asked["a2"].cancel()
    tasks.asked["a1"].cancel()
    for name in ("a1", "a2"):
        assert tasks.answers[name][0].check(CancelledError)
    assert tasks.begun == ["a1"]
    tasks.end_all()
    assert tasks.begun == ["a1", "a3"]


def test_longest_lane_loses() -> None:
    """With too many, the longest lane loses its last one."""
    tasks = Tasks(most=4)
    tasks.ask("a1", "a2", "a3", "a4", "b1", "c1")
    assert tasks.answers["a4"][0].check(TurnLost)
    assert tasks.turns.waiting == 4
    tasks.end_all()
    assert sorted(tasks.begun) == ["a1", "a2", "a3", "b1", "c1"]


def test_newest_lane_loses() -> None:
    """With too many lanes of one, the last one loses, and who has waited does not; who may go first never does."""
    tasks = Tasks(most=3)
    tasks.ask("a1", "b1", "c1", "d1", "e1")
    assert tasks.answers["e1"][0].check(TurnLost)
    tasks.ask("f1", first=True)
    assert tasks.answers["d1"][0].check(TurnLost)
    tasks.end_all()
    assert tasks.begun == ["a1", "f1", "b1", "c1"]


def test_many_that_end_at_once() -> None:
    """Thousands of tasks that end at once, or fail, do not exhaust the stack."""
    turns = Turns(1, 100_000)
    gate: Deferred[None] = Deferred()
    outcomes: list[Any] = []
    turns.run("a", lambda: gate)
    for number in range(5000):
        task = (lambda: 1) if number % 2 else (lambda: fail(ValueError()))
        turns.run("a", task).addBoth(outcomes.append)
    gate.callback(None)
    assert len(outcomes) == 5000
    assert turns.waiting == 0


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.sampled_from(("stay", "leave", "end"))), max_size=30)
)
def test_nobody_is_forgotten(steps: list[tuple[str, bool, str]]) -> None:
    """Whatever comes, leaves and ends, everybody gets one answer, and in the end nobody waits."""
    tasks = Tasks(2, 5)
    for number, (lane, first, then) in enumerate(steps):
        name = f"{lane}{number}"
        tasks.ask(name, first=first)
        if then == "leave":
            tasks.asked[name].cancel()
        elif then == "end":
            tasks.end_all()
        assert tasks.turns.waiting <= 5
    tasks.end_all()
    assert all(len(answers) == 1 for answers in tasks.answers.values())
    assert tasks.turns.waiting == 0


@pytest.mark.parametrize(
    ("client", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a Unix socket, uid 7", "a Unix socket, uid 7"),
        ("", ""),
    ],
)
def test_network_of(client: str, network: str) -> None:
    """A subscriber has one IPv4 address, or all of a /64."""
    assert network_of(client) == network
