"""The reply to a call that is passed on, which is like a Deferred."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jsonrpcs_tx.rpc.replies import Pending, Reply

REPLY = Reply(b"1")


class Asked:
    """What is cancelled with a reply to come."""

    def __init__(self, pending: Pending) -> None:
        self._pending = pending
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1
        self._pending.come(Reply(b"cancelled"))


def add(reply: Reply, text: bytes) -> Reply:
    return Reply(reply.body + text)


def test_order() -> None:
    """The functions are called in order, each with what the one before has returned, before and after it has come."""
    pending = Pending()
    seen: list[Reply] = []
    pending.addCallback(add, b"2").addBoth(add, b"3").addCallback(seen.append)
    assert seen == []
    pending.come(REPLY)
    assert seen == [Reply(b"123")]
    later = Pending()
    later.come(REPLY)
    later.addCallback(add, b"4").addCallback(seen.append)
    assert seen[1] == Reply(b"14")


def test_failure() -> None:
    """After a function that fails, only those are called that take failures, and they may make a reply of it again."""
    pending = Pending()
    seen: list[Any] = []

    def fail(reply: Reply) -> Reply:
        raise ZeroDivisionError

    def mend(failure: Failure) -> Reply:
        seen.append(failure.type)
        return Reply(b"mended")

    pending.addCallback(fail).addCallback(add, b"never").addBoth(mend).addCallback(seen.append)
    pending.come(REPLY)
    assert seen == [ZeroDivisionError, Reply(b"mended")]


def test_added_within() -> None:
    """A function may add another one, which is called after those that are there."""
    pending = Pending()
    seen: list[bytes] = []

    def first(reply: Reply) -> Reply:
        pending.addCallback(lambda reply: seen.append(b"added"))
        return reply

    def second(reply: Reply) -> Reply:
        seen.append(b"second")
        return reply

    pending.addCallback(first).addCallback(second)
    pending.come(REPLY)
    assert seen == [b"second", b"added"]


def test_cancel() -> None:
    """Cancelling it cancels the call, which then answers, once."""
    pending = Pending()
    pending.cancel()  # nothing has been asked yet
    pending.asked = asked = Asked(pending)
    seen: list[Reply] = []
    pending.addCallback(seen.append)
    pending.cancel()
    pending.cancel()
    assert asked.cancelled == 1
    assert seen == [Reply(b"cancelled")]


def test_deferred() -> None:
    """As a Deferred it fires with the reply, or with the one to a cancelled call."""
    pending = Pending()
    waiting: Deferred[Reply] = pending.deferred()
    seen: list[Reply] = []
    waiting.addCallback(seen.append)
    pending.come(REPLY)
    assert seen == [REPLY]
    pending = Pending()
    pending.asked = Asked(pending)
    waiting = pending.deferred()
    waiting.addCallback(seen.append)
    waiting.cancel()
    assert seen == [REPLY, Reply(b"cancelled")]
