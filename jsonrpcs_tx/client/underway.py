"""Calls under way with Deferreds: their ids, their time limits, and how many there are at a time."""

from collections.abc import Callable, Hashable
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jsonrpcs_tx.client import advice
from jsonrpcs_tx.client.batches import Array
from jsonrpcs_tx.client.core import NotReply
from jsonrpcs_tx.client.errors import ClientError
from jsonrpcs_tx.client.fairqueue import FairQueue
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
    @ivar client: for whom it is made, see L{Link}; None: for nobody in particular.
    @ivar is_left: nobody waits for it any more.
    """

    __slots__ = ("array", "client", "deadline", "document", "id", "link", "method", "raises", "seconds")

    is_left: bool = False

    def __init__(
        self,
        id: int,
        method: str,
        document: bytes,
        seconds: float,
        raises: bool = False,
        client: Hashable = None,
    ) -> None:
        self.id: int = id
        self.method: str = method
        self.document: bytes = document
        self.seconds: float = seconds
        self.raises: bool = raises
        self.client: Hashable = client
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

    def __init__(
        self,
        id: int,
        method: str,
        document: bytes,
        seconds: float,
        raises: bool = False,
        client: Hashable = None,
    ) -> None:
        Deferred.__init__(self, _drop)
        self.id = id  # without another call of a function, which counts here
        self.method = method
        self.document = document
        self.seconds = seconds
        self.raises = raises
        self.client = client
        self.array: Array | None = None


class _Left(Call):
    """Takes the place of a call that the server may still be running, and that nobody waits for any more."""

    __slots__ = ()

    is_left = True

    def callback(self, result: Any) -> None:
        """Drop the outcome."""


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

    Where calls are made for several clients, each may have as many under way as there may be further ones: one client
    alone half of the limit, a second one half of the rest. So there is room for others whatever a client does, and of
    what waits, the clients take turns.

    A subclass sends a call in C{transmit}, forgets one in C{forget}, has another one in its place in C{replace}, and
    reports its outcome to L{finish}; or, where many replies come at once, to L{note_answer} and then to L{tell}.

    @param target: where to.
    @param reactor: that it runs in.
    @param max_reply: bytes of a reply above which it is given up.
    @param limit: calls that are under way at a time.
    @ivar calls: those under way, by their ids.
    @ivar patience: seconds that a call which was made for a client stays under way, from when it was made, even if
        nobody waits for it any more, unless the server answers: it may still be running it.
    @ivar read: reads a reply, see L{jsonrpcs_tx.client.replies.read_reply}.
    """

    def __init__(self, target: Target, reactor: Any, max_reply: int, limit: int) -> None:
        self.target = target
        self.reactor = reactor
        self.max_reply = max_reply
        self.calls: dict[int, Call] = {}
        self.read: Callable[[bytes], AnyReply] = read_reply
        self.patience: float = 0.0
        self._limit = limit
        self._queue: FairQueue[Call] = FairQueue()
        self._answers: dict[int, tuple[Call, object]] = {}  # outcomes of calls that are not told yet, by their ids
        self._shares: dict[Hashable, int] = {}  # calls under way of each client
        self._seconds = reactor.seconds
        self._timer: Any = None
        self._timer_at = inf

    def send(self, call: C) -> C:
        """Take a call, whose time begins.

        @return: the same.
        """
        call.deadline = self._seconds() + call.seconds
        self.take(call)
        return call

    def take(self, call: Call) -> None:
        """Take a call that has its deadline."""
        call.link = self
        if call.deadline < self._timer_at:
            self._set_timer(call.deadline)
        calls, client = self.calls, call.client
        share = 0 if client is None else self._shares.get(client, 0)
        if share < self._limit - len(calls):
            calls[call.id] = call
            if client is not None:
                self._shares[client] = share + 1
            self.transmit(call)
        else:
            self._queue.append(client, call)

    def finish(self, call: Call, outcome: object) -> None:
        """Report the outcome of a call that is under way, unless it is over already.

        @param outcome: the result, the L{Fault}, the outcomes of an array, or the L{ClientError}.
        """
        found = self.calls.get(call.id)
        if found is None:
            return
        call = found  # another one may have been put in its place
        self._end(call)
        self._send_next()
        self._fire(call, outcome)

    def note_answer(self, call: Call, outcome: object) -> None:
        """Note the reply to a call that is under way. There is room for another one then; L{tell} says what came of it.

        @param outcome: the result or the L{Fault}.
        """
        self._end(call)
        self._answers[call.id] = call, outcome

    def tell(self) -> None:
        """Report the outcomes that L{note_answer} has noted, one after the other. What waits is sent before that, so
        that the server works meanwhile, and the code for each step stays in the processor's caches.
        """
        answers = self._answers
        for id in list(answers):
            found = answers.pop(id, None)
            if found is not None:  # nobody has dropped it because of another one's outcome
                call, outcome = found
                try:
                    if isinstance(outcome, Exception):
                        self._fire(call, outcome)
                    else:
                        call.callback(outcome)
                except BaseException:
                    self.tell()  # the others wait for theirs
                    raise

    def _fire(self, call: Call, outcome: object) -> None:
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
        """The outcome of a call, from a document that can be for no other call."""
        try:
            if call.array is not None:
                return call.array.outcomes(document)
            reply = self.read(document)
        except NotReply as error:
            return advice.wrong_reply(self.target, call.method, error)
        if reply.answers(call.id):
            return reply.outcome
        return advice.wrong_reply(self.target, call.method, "the reply is to another request")

    def is_sent(self, call: Call) -> bool:
        """Whether a call is not over, and any part of it may have been sent."""
        return call.id in self.calls or call.id in self._answers

    def drop(self, call: Call) -> None:
        """Forget a call whose reply nobody wants. One that has been sent for a client stays under way for a while, see
        C{patience}.
        """
        if call.id not in self.calls:
            if self._answers.pop(call.id, None) is None:
                self._queue.remove(call.client, call)
        elif not self._leave(call):
            self._end(call)
            self.forget(call)
            self._send_next()

    def settle(self, before: float = inf) -> None:
        """End the calls that nobody waits for any more: the server is not running them.

        @param before: end only those that were made before this time.
        """
        for call in [call for call in self.calls.values() if call.is_left and call.deadline - call.seconds < before]:
            self.forget(call)
            self.finish(call, None)

    def close(self) -> "Deferred[None] | None":
        """Fail all calls, and close what is open.

        @return: fires with None when all is closed; None: it is already.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, inf
        queued, self._queue = self._queue, FairQueue()
        for call in queued:
            self._enter(call)
        for call in list(self.calls.values()):
            self.forget(call)
            self.finish(call, ClientError(self.target.url, call.method, "the client was closed"))
        return self.shut()

    def transmit(self, call: Call) -> None:
        """Send a call."""
        raise NotImplementedError

    def forget(self, call: Call) -> None:
        """Let go of what a call has, since nobody waits for it any more."""

    def replace(self, call: Call, other: Call) -> None:
        """Have another call of the same id in the place of one that has been sent."""

    def shut(self) -> "Deferred[None] | None":
        """See L{close}."""
        raise NotImplementedError

    def _enter(self, call: Call) -> None:
        """A call is under way."""
        self.calls[call.id] = call
        client = call.client
        if client is not None:
            self._shares[client] = self._shares.get(client, 0) + 1

    def _end(self, call: Call) -> None:
        """A call is no longer under way."""
        del self.calls[call.id]
        client = call.client
        if client is not None:
            left = self._shares[client] - 1
            if left:
                self._shares[client] = left
            else:
                del self._shares[client]

    def _leave(self, call: Call) -> bool:
        """Keep a call under way that nobody waits for any more, if its client and C{patience} ask for that.

        @return: whether it stays.
        """
        if call.client is None or not self.is_sent(call):
            return False
        until = call.deadline - call.seconds + self.patience
        if until <= self._seconds():
            return False
        left = _Left(call.id, call.method, b"", self.patience, client=call.client)
        left.link, left.deadline = self, until
        self.calls[call.id] = left
        self.replace(call, left)
        if until < self._timer_at:
            self._set_timer(until)
        return True

    def _send_next(self) -> bool:
        """Send what waits, as far as there is room.

        @return: whether anything was.
        """
        calls, shares, limit, queue = self.calls, self._shares, self._limit, self._queue
        found = False
        while len(calls) < limit:
            call = queue.take(shares, limit - len(calls))
            if call is None:
                break
            found = True
            calls[call.id] = call
            client = call.client
            if client is not None:
                shares[client] = shares.get(client, 0) + 1
            self.transmit(call)
        return found

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
            is_under_way = self.calls.get(call.id) is call
            error = advice.timed_out(self.target, call.method, call.seconds)
            if is_under_way:
                if self._leave(call):
                    self._fire(call, error)
                else:
                    self.forget(call)
                    self.finish(call, error)
            elif self._queue.remove(call.client, call):
                self._fire(call, error)
        following = min((call.deadline for call in (*self.calls.values(), *self._queue)), default=inf)
        if following < self._timer_at:
            self._set_timer(following)
