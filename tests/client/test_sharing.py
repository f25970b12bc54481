"""Calls that are made for several clients over one link: each has a share, and what waits takes turns."""

from collections.abc import Hashable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from jsonrpcs_tx.client.errors import ClientError, TimedOut
from jsonrpcs_tx.client.targets import parse_target
from jsonrpcs_tx.client.underway import Call, DeferredCall, Link

PATIENCE = 30.0


class NotedCall(DeferredCall):
    """A call that keeps its outcome."""

    def __init__(self, id: int, client: Hashable, seconds: float) -> None:
        super().__init__(id, "m", b"{}", seconds, raises=True, client=client)
        self.outcome: list[Any] = []
        self.addCallbacks(self.outcome.append, self.outcome.append)


class BadCall(Call):
    """A call whose caller raises an exception."""

    def callback(self, result: Any) -> None:
        raise ZeroDivisionError


class FakeLink(Link):
    """A link that sends nothing.

    @ivar sent: the clients of the calls that have been sent.
    @ivar unsent: ids of calls that are under way, but have to wait for a connection.
    """

    def __init__(self, limit: int = 64) -> None:
        self.clock = Clock()
        super().__init__(parse_target("udp:127.0.0.1:1"), self.clock, 1000, limit)
        self.patience = PATIENCE
        self.sent: list[Hashable] = []
        self.unsent: set[int] = set()
        self._id = 0

    def transmit(self, call: Call) -> None:
        self.sent.append(call.client)

    def is_sent(self, call: Call) -> bool:
        return super().is_sent(call) and call.id not in self.unsent

    def shut(self) -> None:
        return None

    def call(self, client: Hashable = None, seconds: float = 10) -> NotedCall:
        self._id += 1
        call = NotedCall(self._id, client, seconds)
        self.send(call)
        return call

    def held(self, client: Hashable) -> int:
        return sum(call.client == client for call in self.calls.values())


def test_one_client_leaves_room() -> None:
    """A client alone has half of the room, a second one half of the rest; however many call, each gets through."""
    link = FakeLink(64)
    for _ in range(100):
        link.call("a")
    assert link.held("a") == 32
    for _ in range(100):
        link.call("b")
    assert link.held("b") == 16
    for client in "cdef":
        for _ in range(100):
            link.call(client)
        assert link.held(client) > 0
    assert len(link.calls) <= 64


def test_no_client_has_all_the_room() -> None:
    """Calls that are made for nobody in particular have no share, as before."""
    link = FakeLink(5)
    calls = [link.call() for _ in range(7)]
    assert len(link.calls) == 5
    link.finish(calls[0], 1)
    assert list(link.calls) == [2, 3, 4, 5, 6]


def test_small_room() -> None:
    """Where there is room for one call only, everybody gets it in turn."""
    link = FakeLink(1)
    for client in "aaabbc":
        link.call(client)
    while link.calls:
        link.finish(next(iter(link.calls.values())), 1)
    assert link.sent == list("aabcab")


def test_clients_take_turns() -> None:
    """What waits is sent in turns, each client's in order, and nothing is lost."""
    link = FakeLink(4)
    calls = [link.call(client) for client in ["a"] * 50 + ["b"] * 10 + ["c"] * 3]
    while link.calls:
        link.finish(min(link.calls.values(), key=lambda call: call.id), 1)
    assert all(call.outcome == [1] for call in calls)
    assert len(link.sent) == 63
    assert link.sent.index("c") < 15
    assert not link._shares
    assert not link._queue


def test_left_call_keeps_its_place() -> None:
    """A call that has been sent keeps its place when its client leaves or waits no longer, until it is answered, or for
    some seconds: clients that leave do not get more from the server than those that wait.
    """
    link = FakeLink(8)
    for seconds in (10, 0.1, 10, 0.1):
        call = link.call("a", seconds)
        if seconds > 1:
            call.cancel()
        else:
            link.clock.advance(1)
            assert isinstance(call.outcome[0].value, TimedOut)
    assert link.held("a") == 4
    waiting = link.call("a", 50)
    assert link.held("a") == 4  # it waits
    link.finish(link.calls[1], "late")
    assert waiting.id in link.calls
    link.clock.advance(PATIENCE)
    assert list(link.calls) == [waiting.id]
    link.finish(waiting, "answer")
    assert waiting.outcome == ["answer"]
    assert not link._shares


def test_unsent_call_is_called_off() -> None:
    """A call that is left before anything of it has been sent takes no place, and is not sent."""
    link = FakeLink(2)
    first, second, third = (link.call(client) for client in "aab")
    assert len(link.sent) == 2
    second.cancel()
    link.finish(first, 1)
    assert link.sent == ["a", "b"]
    link.unsent.add(third.id)
    third.cancel()
    assert not link.calls
    assert not link._shares


def test_settle() -> None:
    """Calls that nobody waits for give up their places when the server is known to be done with them."""
    link = FakeLink()
    first = link.call("a")
    link.clock.advance(5)
    second, third = link.call("a"), link.call("a")
    first.cancel()
    second.cancel()
    link.settle(5)
    assert list(link.calls) == [2, 3]
    link.settle()
    assert list(link.calls) == [third.id]


def test_shares_in_the_end() -> None:
    """A client that is closed has no calls and no shares any more, and no timer."""
    link = FakeLink(3)
    calls = [link.call(client) for client in "aaaabb"]
    calls[0].cancel()
    link.close()
    assert not link.calls
    assert not link._shares
    assert link.clock.getDelayedCalls() == []
    assert all(len(call.outcome) == 1 for call in calls)


def test_answers_are_told_together() -> None:
    """Answers make room for calls that wait, which can be sent before the first caller is told, in order."""
    link = FakeLink(2)
    calls = [link.call() for _ in range(4)]
    link.note_answer(calls[0], "a")
    link.note_answer(calls[1], "b")
    assert not link.calls
    assert link._send_next()
    assert list(link.calls) == [3, 4]
    assert not link._send_next()
    assert [call.outcome for call in calls] == [[], [], [], []]
    assert [link.is_sent(call) for call in calls] == [True] * 4  # if its caller asks before it is told
    link.tell()
    assert [call.outcome for call in calls] == [["a"], ["b"], [], []]
    assert [link.is_sent(call) for call in calls] == [False, False, True, True]
    link.tell()
    assert [call.outcome for call in calls] == [["a"], ["b"], [], []]


def test_answer_that_is_dropped_before_it_is_told() -> None:
    """A caller may cancel another one's call because of its own answer: that gets none, though it is there already."""
    link = FakeLink()
    first, second, third = link.call("a"), link.call("a"), link.call("b")
    first.addCallback(lambda _: second.cancel())
    for call in (first, second, third):
        link.note_answer(call, "answer")
    link.tell()
    assert (first.outcome, third.outcome) == (["answer"], ["answer"])
    (failure,) = second.outcome
    assert failure.check(CancelledError)
    assert (link.calls, link._shares) == ({}, {})


def test_answer_of_which_somebody_raises() -> None:
    """An exception of one caller keeps no other one from its answer."""
    link = FakeLink()
    calls = [link.call() for _ in range(3)]
    link.calls[calls[0].id] = bad = BadCall(calls[0].id, "m", b"", 1)
    for call in (bad, *calls[1:]):
        link.note_answer(call, "answer")
    with pytest.raises(ZeroDivisionError):
        link.tell()
    assert [call.outcome for call in calls] == [[], ["answer"], ["answer"]]


def test_link_that_is_closed_while_it_tells() -> None:
    """What has been answered is told nevertheless; what is under way fails."""
    link = FakeLink()
    first, second, third = link.call(), link.call(), link.call()
    first.addCallback(lambda _: link.close())
    link.note_answer(first, "a")
    link.note_answer(second, "b")
    link.tell()
    assert second.outcome == ["b"]
    (failure,) = third.outcome
    assert failure.check(ClientError)
