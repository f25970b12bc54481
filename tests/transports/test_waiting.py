"""Replies that wait for their clients are limited in bytes, for each client and in all."""

from collections.abc import Callable

import pytest
from twisted.internet.task import Clock

from jsonrpcs_tx.transports import waiting as module
from jsonrpcs_tx.transports.waiting import (
    CLIENT_SHARE,
    MAX_BYTES,
    OVERHEAD,
    QUEUE_OVERHEAD,
    RETRY_DELAY,
    TURN,
    WaitingReplies,
    WaitingReply,
)

pytestmark = pytest.mark.usefixtures("steady_clock")

SIZE = 100_000


class Waiting(WaitingReplies[WaitingReply]):
    """Replies that nobody takes, until somebody does.

    @ivar sent: the bodies that went out.
    @ivar dropped: the clients to whom one was given up.
    """

    def __init__(self, takes: Callable[[], bool]) -> None:
        self.sent: list[bytes] = []
        self.dropped: list[str] = []
        self.clock = Clock()
        super().__init__(self._take, lambda peer, reason: self.dropped.append(peer), 2, self.clock)
        self._takes = takes

    def _take(self, reply: WaitingReply) -> bool:
        if self._takes():
            self.sent.append(reply.body)
        return self._takes()

    def put(self, peer: str, number: int = 0) -> None:
        self.add(WaitingReply(number.to_bytes(SIZE, "big"), peer, None, None))


def test_one_client() -> None:
    """One client may have a quarter of the bytes; for a newer reply its oldest one is dropped."""
    open_to_all: list[bool] = []
    waiting = Waiting(lambda: bool(open_to_all))
    for number in range(100):
        waiting.put("greedy", number)
        assert waiting.size <= MAX_BYTES // CLIENT_SHARE
    kept = MAX_BYTES // CLIENT_SHARE // SIZE
    assert len(waiting.dropped) in (100 - kept, 101 - kept)
    open_to_all.append(True)
    waiting.clock.advance(1)
    assert waiting.sent == [number.to_bytes(SIZE, "big") for number in range(len(waiting.dropped), 100)]
    assert waiting.size == 0


def test_many_clients() -> None:
    """However many clients do not read, the bytes that wait are limited in all, and one more finds room."""
    waiting = Waiting(lambda: False)
    for peer in range(20):
        for number in range(200):
            waiting.put(f"greedy{peer}", number)
    assert waiting.size <= MAX_BYTES
    waiting.add(WaitingReply(b"x" * 1000, "good", None, None))
    assert "good" in waiting
    assert "good" not in waiting.dropped
    waiting.stop()
    assert (waiting.size, waiting.clock.getDelayedCalls()) == (0, [])


def test_time() -> None:
    """All that nobody takes is given up in time, and nothing stays."""
    waiting = Waiting(lambda: False)
    for number in range(10):
        waiting.put("greedy", number)
    waiting.clock.pump([0.1] * 30)
    assert waiting.dropped == ["greedy"] * 10
    assert (waiting.size, bool(waiting), waiting.clock.getDelayedCalls()) == (0, False, [])


def test_many_clients_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many clients do not read, trying them all does not hold up others: it takes several turns, each as long
    as one may be, and a tenth of the time. Each is tried once before the first is tried again.
    """
    time = 0.0
    tried: list[str] = []

    def take() -> bool:
        nonlocal time
        time += TURN / 10
        return False

    waiting = Waiting(take)
    monkeypatch.setattr(module, "perf_counter", lambda: time)
    for number in range(1000):
        waiting.add(WaitingReply(b"x", f"peer{number}", None, None))
    send_to = waiting._send_to

    def noted(peer: str) -> None:
        tried.append(peer)
        send_to(peer)

    monkeypatch.setattr(waiting, "_send_to", noted)
    waiting.clock.advance(RETRY_DELAY)
    assert 1 <= len(tried) <= 11
    began = time
    while len(tried) < 1000:
        before = len(tried)
        [retry] = waiting.clock.getDelayedCalls()
        pause = retry.getTime() - waiting.clock.seconds()
        assert pause >= 9 * TURN * 0.99
        waiting.clock.advance(pause)
        assert len(tried) > before
    assert sorted(tried[:1000]) == sorted(f"peer{number}" for number in range(1000))
    assert time - began <= waiting.clock.seconds() / 9


def test_empty_again() -> None:
    """What queues take up in memory counts, and is free when they are gone, for whatever reason."""
    takes: list[bool] = []
    waiting = Waiting(lambda: bool(takes))
    for peer in ("a", "b", "c"):
        waiting.add(WaitingReply(b"x", peer, None, None))
    assert waiting.size == 3 * (QUEUE_OVERHEAD + OVERHEAD + 1)
    waiting.drop_oldest("a", "a reason")
    assert waiting.size == 2 * (QUEUE_OVERHEAD + OVERHEAD + 1)
    takes.append(True)
    waiting.proceed("b")
    waiting.clock.advance(1)
    assert (waiting.size, bool(waiting), waiting.clock.getDelayedCalls()) == (0, False, [])
