"""A connection to Redis: calls are sent without waiting for earlier replies, and each has a deadline."""

import os
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import attrs
from OpenSSL.SSL import Error
from service_identity import VerificationError
from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from jsonrpcs_tx.atonce import send_at_once
from jsonrpcs_tx.client import deferredtls
from jsonrpcs_tx.redis.errors import RedisAway, RedisBusy, RedisError, RedisTimeout
from jsonrpcs_tx.redis.resp import NotRedis, Reply, ReplyReader, Word, encode

MAX_CALLS: Final = 10_000
"""Calls that may wait for their replies."""

MAX_BYTES: Final = 16 << 20
"""Bytes of the commands that may wait for their replies."""

PATIENCE: Final = 1.0
"""Seconds without any reply after which a late call means that Redis hangs."""

HEARTBEAT: Final = 3.0
"""Seconds between two checks of a connection that is kept alive."""

_PAUSE: Final = 0.01
"""Seconds at least between two searches for late calls."""

_DEMOTED: Final = ("READONLY", "UNBLOCKED")
"""Error codes of a server that is no longer the master."""

_PING: Final = encode(["PING"])


@attrs.define(eq=False)
class _Call:
    """A command that has been written.

    @ivar waiting: fires with the reply; None: nobody waits for it any more.
    @ivar deadline: in the reactor's seconds.
    @ivar sent: when it was written, in the reactor's seconds.
    @ivar replies: how many replies had arrived by then.
    @ivar size: bytes of the command.
    """

    waiting: Deferred[Any] | None
    deadline: float
    sent: float
    replies: int
    size: int


class Connection(Protocol):
    """A connection to one Redis.

    @param reactor: for time.
    @param lost: called once when the connection can no longer be used, with the reason in words, before the calls that
        wait fail with L{RedisAway}.
    """

    def __init__(self, reactor: Any, lost: Callable[[str], object]) -> None:
        self._reactor = reactor
        self._lost = lost
        self._reader = ReplyReader()
        self._calls: deque[_Call] = deque()
        self._bytes = 0
        self._replies = 0
        self._timer: Any = None
        self._due = 0.0
        self._heartbeat: Any = None
        self._heard = False
        self._silent = False
        self._reason: str | None = None
        self._closed: Deferred[None] | None = None

    transport: Any

    def call(self, words: tuple[Word, ...], deadline: float) -> Deferred[Any]:
        """Send a command.

        @param deadline: in the reactor's seconds.
        @return: fires with the reply, or fails with L{RedisError}; with L{RedisAway} when the connection is lost, with
            L{RedisTimeout} at the deadline, with L{RedisBusy} if too much waits already. Cancelling it ends the wait,
            but Redis runs the command all the same.
        @raise TypeError, UnicodeEncodeError: as L{encode}.
        """
        data = encode(words)
        if self._reason is not None:
            return fail(RedisAway(self._reason))
        if len(self._calls) >= MAX_CALLS:
            return fail(RedisBusy(f"{len(self._calls)} calls; allowed: {MAX_CALLS}"))
        if self._bytes + len(data) > MAX_BYTES:
            return fail(RedisBusy(f"{self._bytes} bytes, and the command has {len(data)}; allowed: {MAX_BYTES}"))
        now = self._reactor.seconds()
        if deadline <= now:
            return fail(RedisTimeout(sent=False))
        waiting: Deferred[Any] = Deferred()
        self._send(data, waiting, deadline, now)
        if self._timer is None or deadline < self._due:
            self._set_timer(deadline, now)
        return waiting

    def keep_alive(self) -> None:
        """From now on send a PING when nothing has arrived for L{HEARTBEAT} seconds, and give the connection up if no
        reply comes.
        """
        self._heartbeat = self._reactor.callLater(HEARTBEAT, self._beat)

    def give_up(self, reason: str) -> None:
        """Close the connection at once.

        @param reason: for the calls that wait.
        """
        if self._reason is not None:
            return
        self._reason = reason
        for timer in (self._timer, self._heartbeat):
            if timer is not None and timer.active():
                timer.cancel()
        if self.transport is not None:
            self.transport.abortConnection()
        self._lost(reason)
        calls, self._calls = self._calls, deque()
        for call in calls:
            if call.waiting is not None:
                call.waiting.errback(RedisAway(reason, sent=True))

    def closed(self) -> Deferred[None]:
        """
        @return: fires when the connection is closed, after L{give_up}.
        """
        if self._closed is None:
            self._closed = Deferred()
        return self._closed

    def connectionMade(self) -> None:
        set_no_delay = getattr(self.transport, "setTcpNoDelay", None)  # a Unix socket does not have it
        if set_no_delay is not None:
            set_no_delay(True)
        if isinstance(self.transport, unix.Client):  # not by recvmsg, since no descriptors come with replies
            self.transport.doRead = partial(tcp.Connection.doRead, self.transport)  # type: ignore[method-assign]

    def dataReceived(self, data: bytes) -> None:
        self._heard = True
        try:
            replies = self._reader.feed(data)
        except NotRedis as error:
            self.give_up(f"it does not speak Redis's protocol: {error}")
            return
        for reply in replies:
            self._replies += 1
            if self._calls:
                self._answer(self._calls.popleft(), reply)
            else:
                self.give_up(f"it has sent a reply that nobody waits for{_text(reply)}")
                return

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.give_up(reason_of(reason))
        if self._closed is not None:
            self._closed.callback(None)

    def _send(self, data: bytes, waiting: Deferred[Any] | None, deadline: float, now: float) -> None:
        alone = not self._calls
        self._calls.append(_Call(waiting, deadline, now, self._replies, len(data)))
        self._bytes += len(data)
        if alone:
            send_at_once(self.transport, data)
        else:
            self.transport.write(data)  # in one piece with all others of this turn of the reactor

    def _answer(self, call: _Call, reply: Reply) -> None:
        self._bytes -= call.size
        if call.waiting is None:
            return
        if isinstance(reply, RedisError):
            if reply.code in _DEMOTED:
                self.give_up("it has become a replica")
            call.waiting.errback(reply)
        else:
            call.waiting.callback(reply)

    def _set_timer(self, due: float, now: float) -> None:
        self._due = due
        if self._timer is None:
            self._timer = self._reactor.callLater(due - now, self._look)
        else:
            self._timer.reset(due - now)

    def _look(self) -> None:
        """Fail the calls that are late. If Redis has sent no reply since one of them was written, it hangs."""
        self._timer = None
        now = self._reactor.seconds()
        waiting = [call for call in self._calls if call.waiting is not None]
        late = [call for call in waiting if call.deadline <= now]
        hangs = any(call.replies == self._replies and now - call.sent >= PATIENCE for call in late)
        if len(late) < len(waiting):
            due = min(call.deadline for call in waiting if call.deadline > now)
            self._set_timer(max(due, now + _PAUSE), now)
        failing = [call.waiting for call in late]
        for call in late:
            call.waiting = None
        if hangs:
            self.give_up(RedisTimeout().reason)
        for waits in failing:
            if waits is not None and not waits.called:
                waits.errback(RedisTimeout())

    def _beat(self) -> None:
        self._heartbeat = self._reactor.callLater(HEARTBEAT, self._beat)
        if self._heard:
            self._heard = self._silent = False
        elif not self._calls:
            now = self._reactor.seconds()
            self._send(_PING, None, now, now)
        elif self._silent:
            self.give_up(f"it has been silent for {2 * HEARTBEAT:.0f} seconds or more")
        else:
            self._silent = True


def reason_of(failure: Failure) -> str:
    """Why a connection was lost, or cannot be made, in words."""
    error: Any = failure.value
    if isinstance(error, ConnectionDone):
        return "it has closed the connection"
    if isinstance(error, ConnectionLost):
        return "the connection has broken"
    number = getattr(error, "osError", None)
    if number:
        return os.strerror(number)
    if isinstance(error, Error):
        return f"TLS: {deferredtls.reason(error)}"
    if isinstance(error, VerificationError):
        return "TLS: its certificate is for another name"
    return failure.getErrorMessage()


def _text(reply: Reply) -> str:
    """The text of an unexpected reply if it is an error, such as C{: ERR max number of clients reached}; else empty."""
    return f": {reply.reason}" if isinstance(reply, RedisError) else ""
