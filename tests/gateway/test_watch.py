"""A node is asked now and then, and refused while it does not answer."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jsonrpcs_tx.client.errors import BadReply, NotReachable, TimedOut
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.watch import DOWN, PATIENCE, UNKNOWN, UP, Watch
from jsonrpcs_tx.rpc.faults import Fault

INTERVAL = 5.0
LONGEST = INTERVAL * 1.1


class Asked:
    """A watch, and what it has asked."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[str, float, Deferred[Answer]]] = []
        self.cancelled = 0
        self.watch = Watch("edge1", self._ask, self.clock, INTERVAL)

    def _ask(self, method: str, seconds: float) -> Deferred[Answer]:
        def cancel(_: object) -> None:
            self.cancelled += 1

        waiting: Deferred[Answer] = Deferred(cancel)
        self.asked.append((method, seconds, waiting))
        return waiting

    def answer(self, method: str, outcome: Any) -> None:
        """Answer the last question."""
        asked, _, waiting = self.asked[-1]
        assert asked == method
        waiting.callback(outcome) if isinstance(outcome, Answer) else waiting.errback(outcome)

    def come_up(self, uptime: int = 100) -> None:
        self.answer("core.uptime", Answer(b'{"uptime":%d}' % uptime))
        self.answer("core.version", Answer(b'"kamailio 5.6.3"'))


GONE = NotReachable("unix:/x", "core.uptime", "Connection refused")
SILENT = TimedOut("unix:/x", "core.uptime", "no reply within 5 s")


def test_up_and_asked_again() -> None:
    """It is asked at once, for its version when it comes up, and again after the interval: one question at a time."""
    one = Asked()
    assert (one.watch.state, one.asked) == (UNKNOWN, [])
    one.watch.start()
    assert [(method, seconds) for method, seconds, _ in one.asked] == [("core.uptime", PATIENCE)]
    one.clock.advance(10 * INTERVAL)
    assert len(one.asked) == 1
    one.come_up()
    assert (one.watch.state, one.watch.version, one.watch.uptime) == (UP, "kamailio 5.6.3", 100)
    assert len(one.asked) == 2
    one.clock.advance(INTERVAL / 2)
    assert len(one.asked) == 2
    one.clock.advance(LONGEST)
    one.answer("core.uptime", Answer(b'{"uptime":105}'))
    assert (len(one.asked), one.watch.restarts) == (3, 0)
    assert len(one.clock.getDelayedCalls()) == 1


def test_any_answer_is_a_sign_of_life() -> None:
    """A node that does not know core.uptime, or says something odd, is up."""
    odd = (b"[]", b'{"uptime":1e400}', b'{"uptime":1%b}' % (400 * b"0"), b'{"uptime":-1}', 10**5 * b"[" + 10**5 * b"]")
    for answer in (Answer(None, b"{}", Fault(500, "Method Not Found")), *map(Answer, odd)):
        one = Asked()
        one.watch.start()
        one.answer("core.uptime", answer)
        one.answer("core.version", Answer(b"1e400"))
        assert (one.watch.state, one.watch.uptime, one.watch.version) == (UP, None, "")


def test_restart() -> None:
    """An uptime that has gone back is a restart, after which the version is asked again."""
    one = Asked()
    one.watch.start()
    one.come_up(100)
    one.clock.advance(LONGEST)
    one.come_up(3)
    assert one.watch.restarts == 1
    assert one.watch.restarted is not None


@pytest.mark.parametrize("uptime", [0, 1, 4, 9])
def test_restart_of_young_node(uptime: int) -> None:
    """A node that had just been started may run for longer than before when it is asked again, and was restarted."""
    one = Asked()
    one.watch.start()
    one.come_up(uptime)
    one.clock.advance(LONGEST)
    one.answer("core.uptime", SILENT)
    one.clock.advance(LONGEST)
    one.come_up(uptime + 9)
    assert one.watch.restarts == (uptime <= 2)  # more than that cannot have passed since
    one.clock.advance(LONGEST)
    one.answer("core.uptime", Answer(b'{"uptime":%d}' % (uptime + 15)))
    assert one.watch.restarts == (uptime <= 2)


def test_tells() -> None:
    """It tells of a node that goes down, and of one that was restarted."""
    one = Asked()
    told: list[str] = []
    one.watch = Watch("edge1", one._ask, one.clock, INTERVAL, told.append, lambda: told.append("restarted"))
    one.watch.start()
    one.come_up()
    one.clock.advance(LONGEST)
    one.answer("core.uptime", GONE)
    one.watch.failed(GONE)
    assert told == ["it is down: Connection refused"]
    one.clock.advance(LONGEST)
    one.come_up(1)
    assert told[1:] == ["restarted"]


def test_down_and_back() -> None:
    """One that does not answer is down, with the reason; it is asked on, and comes back."""
    for error in (GONE, SILENT, BadReply("unix:/x", "core.uptime", "no JSON")):
        one = Asked()
        one.watch.start()
        one.come_up()
        one.clock.advance(LONGEST)
        one.answer("core.uptime", error)
        assert (one.watch.state, one.watch.reason) == (DOWN, error.reason)
        one.clock.advance(LONGEST)
        one.come_up(101)
        assert (one.watch.state, one.watch.reason, one.watch.restarts) == (UP, "", 0)


def test_failed_calls() -> None:
    """A call that finds nobody makes it down at once. One that was not answered in time may just take long, so it is
    asked at once, and only that decides: whoever waits for a millisecond makes no node down.
    """
    one = Asked()
    one.watch.start()
    one.come_up()
    one.watch.failed(SILENT)
    one.watch.failed(SILENT)
    assert (one.watch.state, len(one.asked)) == (UP, 3)
    one.answer("core.uptime", Answer(b'{"uptime":101}'))
    assert one.watch.state == UP
    one.watch.failed(GONE)
    assert (one.watch.state, one.watch.reason) == (DOWN, "Connection refused")
    one.watch.failed(SILENT)
    assert len(one.asked) == 3
    assert len(one.clock.getDelayedCalls()) == 1


def test_busy_is_not_down() -> None:
    """A node whose answer comes too late is up if it has answered others meanwhile; if nobody is there, it is not."""
    one = Asked()
    one.watch.start()
    one.come_up()
    one.clock.advance(LONGEST)
    one.watch.heard = True
    one.answer("core.uptime", SILENT)
    assert one.watch.state == UP
    one.clock.advance(LONGEST)
    one.answer("core.uptime", SILENT)
    assert one.watch.state == DOWN
    again = Asked()
    again.watch.start()
    again.watch.heard = True
    again.answer("core.uptime", GONE)
    assert again.watch.state == DOWN


def test_stop() -> None:
    """Stopped, it asks no more, and drops what it waits for."""
    one = Asked()
    one.watch.start()
    one.watch.stop()
    assert one.cancelled == 1
    assert one.clock.getDelayedCalls() == []
    again = Asked()
    again.watch.start()
    again.come_up()
    again.watch.stop()
    again.watch.failed(SILENT)
    again.watch.failed(GONE)
    assert (again.watch.state, len(again.asked)) == (UP, 2)
    assert again.clock.getDelayedCalls() == []
    assert one.watch.state == UNKNOWN
