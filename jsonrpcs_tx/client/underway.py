"""Calls under way with Deferreds: their ids, their time limits, and how many there are at a time."""

from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jsonrpcs_tx.client import advice
from jsonrpcs_tx.client.batches import Array
from jsonrpcs_tx.client.core import NotReply
from jsonrpcs_tx.client.errors import ClientError
from jsonrpcs_tx.client.replies import AnyReply, read_reply
from jsonrpcs_tx.client.targets import Target

GRAIN: Final = 0.01
"""Seconds by which a time limit may be exceeded, so that calls are not looked through all the time."""


class Call:
    """A document on its way to a server and back. A subclass has C{callback}, which takes the result or the outcomes of
    an array, and C{errback}, which takes the fault or error if the call C{raises}.

    @ivar raises: whether a fault or an error goes to C{errback}; otherwise it goes to C{callback}.
    @ivar array: the requests that it has; None: it has one.
    @ivar id: of the request; of an array, of its first one.
    @ivar method: for messages.
    @ivar seconds: that it may take.
    @ivar deadline: when they are over.
    @ivar link: that it goes over.
    """

    __slots__ = ("array", "deadline", "document", "id", "link", "method", "raises", "seconds")

    def __init__(self, id: int, method: str, document: bytes, seconds: float, raises: bool = False) -> None:
        self.id: int = id
        self.method: str = method
        self.document: bytes = document
        self.seconds: float = seconds
        self.raises: bool = raises
        self.array: Array | None = None
        self.deadline: float = inf
        self.link: Any = None

    if TYPE_CHECKING:

        def callback(self, result: Any) -> None:
            """Take the outcome."""

        def errback(self, fail: Any = None) -> None:
            """Take the fault or the error."""


class DeferredCall(Call, Deferred[Any]):
    """A call as a Deferred, which fires with the outcome. When it is cancelled, the reply is dropped."""

    def __init__(self, id: int, method: str, document: bytes, seconds: float, raises: bool = False) -> None:
        Deferred.__init__(self, _drop)
        self.id = id  # without another call of a function, which counts here
        self.method = method
        self.document = document
        self.seconds = seconds
        self.raises = raises
        self.array = None


def _drop(call: Any) -> None:
    """Cancel a call."""
    call.link.drop(call)


class Detour:
    """What a call goes over in place of a link if it does not go over a single one straight away.

    @param asked: fires with the outcome of the call.
    """

    def __init__(self, asked: Deferred[Any], call: Call) -> None:
        self._call: Call | None = call
        self._asked = asked
        call.link = self
        asked.addCallbacks(self._answered, self._failed)

    def drop(self, call: Call) -> None:
        """Forget the call, whose reply nobody wants."""
        self._call = None
        self._asked.cancel()

    def _answered(self, outcome: Any) -> None:
        if self._call is not None:
            self._call.callback(outcome)

    def _failed(self, failure: Failure) -> None:
        if self._call is not None:
            self._call.errback(failure.value)


C = TypeVar("C", bound=Call)


class Link:
    """How calls get to one target, so many at a time; others wait for their turn.

    A subclass sends a call in C{transmit}, forgets one in C{forget}, and says what came of it to L{finish}.

    @param target: where to.
    @param reactor: that it runs in.
    @param max_reply: bytes of a reply above which it is given up.
    @param limit: calls that are under way at a time.
    @ivar calls: those under way, by their ids.
    @ivar read: reads a reply, see L{jsonrpcs_tx.client.replies.read_reply}.
    """

    def __init__(self, target: Target, reactor: Any, max_reply: int, limit: int) -> None:
        self.target = target
        self.reactor = reactor
        self.max_reply = max_reply
        self.calls: dict[int, Call] = {}
        self.read: Callable[[bytes], AnyReply] = read_reply
        self._limit = limit
        self._queue: deque[Call] = deque()
        self._seconds = reactor.seconds
        self._timer: Any = None
        self._timer_at = inf

    def send(self, call: C) -> C:
        """Take a call.

        @return: the same.
        """
        call.link = self
        call.deadline = deadline = self._seconds() + call.seconds
        if deadline < self._timer_at:
            self._set_timer(deadline)
        if len(self.calls) < self._limit:
            self.calls[call.id] = call
            self.transmit(call)
        else:
            self._queue.append(call)
        return call

    def finish(self, call: Call, outcome: object) -> None:
        """Say what came of a call that is under way, unless it is over already.

        @param outcome: the result, the L{Fault}, the outcomes of an array, or the L{ClientError}.
        """
        if self.calls.pop(call.id, None) is None:
            return
        if self._queue:
            self._send_next()
        if isinstance(outcome, Exception):
            outcome = advice.judged(self.target, call.method, outcome)
            if call.raises and isinstance(outcome, Exception):
                call.errback(outcome)
                return
        call.callback(outcome)

    def give_up(self, call: Call, error: Exception) -> None:
        """Say that a call cannot be sent; in a later turn of the reactor, so that a caller who tries again at once
        lets others have their turn.
        """
        self.reactor.callLater(0, self.finish, call, error)

    def outcome(self, call: Call, document: bytes) -> object:
        """What a call is answered with by a document that can be for no other call."""
        try:
            if call.array is not None:
                return call.array.outcomes(document)
            reply = self.read(document)
        except NotReply as error:
            return advice.wrong_reply(self.target, call.method, error)
        if reply.answers(call.id):
            return reply.outcome
        return advice.wrong_reply(self.target, call.method, "the reply is to another request")

    def drop(self, call: Call) -> None:
        """Forget a call whose reply nobody wants."""
        if self.calls.pop(call.id, None) is not None:
            self.forget(call)
            self._send_next()
        elif call in self._queue:
            self._queue.remove(call)

    def close(self) -> "Deferred[None] | None":
        """Fail all calls, and close what is open.

        @return: fires with None when all is closed; None: it is already.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, inf
        queued, self._queue = self._queue, deque()
        for call in [*self.calls.values(), *queued]:
            self.calls[call.id] = call
            self.forget(call)
            self.finish(call, ClientError(self.target.url, call.method, "the client was closed"))
        return self.shut()

    def transmit(self, call: Call) -> None:
        """Send a call."""
        raise NotImplementedError

    def forget(self, call: Call) -> None:
        """Let go of what a call has, since nobody waits for it any more."""

    def shut(self) -> "Deferred[None] | None":
        """See L{close}."""
        raise NotImplementedError

    def _send_next(self) -> None:
        while self._queue and len(self.calls) < self._limit:
            call = self._queue.popleft()
            self.calls[call.id] = call
            self.transmit(call)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.reactor.callLater(max(GRAIN, at - self._seconds()), self._look_at_deadlines)

    def _look_at_deadlines(self) -> None:
        self._timer, self._timer_at = None, inf
        now = self._seconds()
        late = [call for call in (*self.calls.values(), *self._queue) if call.deadline <= now]
        for call in late:
            if call.id not in self.calls:
                if call not in self._queue:
                    continue
                self._queue.remove(call)
                self.calls[call.id] = call
            self.forget(call)
            self.finish(call, advice.timed_out(self.target, call.method, call.seconds))
        following = min((call.deadline for call in (*self.calls.values(), *self._queue)), default=inf)
        if following < self._timer_at:
            self._set_timer(following)
