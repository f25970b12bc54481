"""Batches: their requests are run one after the other, and a long batch gives way to others after some milliseconds.

Unfinished batches take turns: in each turn of the reactor one of them runs for a while.
"""

from collections import deque
from collections.abc import Callable, Hashable
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.rpc.envelope import Malformed, Request
from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.rpc.pending import take
from jsonrpcs_tx.rpc.replies import Reply
from jsonrpcs_tx.rpc.shares import Shares

SLICE: Final = 0.005
"""Seconds for which a batch runs before it gives way; a single command may take longer."""

SHORT: Final = 0.0005
"""Seconds of running after which other batches have to wait for the next turn of the reactor."""

MAX_WAITING: Final = 64
"""Batches that may wait for a turn at the same time; a further one is answered with an error."""

MAX_WAITING_OF_CLIENT: Final = 16
"""How many of these may belong to one client or, where clients are not known, to one transport."""

MAX_REPLY: Final = 16 * 1024 * 1024
"""Bytes that all replies to a batch may have together."""

_TOO_LARGE: Final = Error(500, f"Batch Reply Too Large: at most {MAX_REPLY} bytes are allowed")
_NOT_RUN: Final = Error(500, f"Not Run: the replies before this one take all {MAX_REPLY} bytes that are allowed")
_CANCELLED: Final = Error(500, "Command Cancelled")


class Batch:
    """The requests of one batch, and the replies so far.

    @param origin: where the batch comes from.
    @param answer: answers a request from there; a Deferred that it returns always fires with a Reply, even when it is
        cancelled.
    @param refuse: answers a request with an error.
    @param write: lays out a reply, which is then kept; None: it is kept as it is.
    @param join: makes all replies the reply to the batch.
    """

    def __init__(
        self,
        requests: list[Request | Malformed],
        origin: Origin,
        answer: Callable[[Request | Malformed, Origin], Reply | Deferred[Reply]],
        refuse: Callable[[Error, Request | Malformed], Reply],
        write: Callable[[Reply], Reply] | None,
        join: Callable[[list[Reply]], Reply],
    ) -> None:
        self._requests = requests
        self._origin = origin
        self._answer = answer
        self._refuse = refuse
        self._write = write
        self._join = join
        self._replies: list[Reply | None] = [None] * len(requests)
        self._delayed: dict[int, Deferred[Reply]] = {}
        self._position = 0
        self._size = 0
        self._full = False
        self._reply: Deferred[Reply] | None = None

    @property
    def has_run(self) -> bool:
        """Whether all requests have been run; the replies to some may come later."""
        return self._position == len(self._requests)

    def work(self, clock: IReactorTime) -> None:
        """Run the next requests, for L{SLICE} or to the end."""
        begun = clock.seconds()
        while not self.has_run:
            self._run_next()
            if not begun <= clock.seconds() < begun + SLICE:  # earlier, if the clock was set back
                return

    def work_to_end(self) -> None:
        """Run all remaining requests."""
        while not self.has_run:
            self._run_next()

    def reply(self) -> Reply | Deferred[Reply]:
        """The reply to the batch.

        @return: the reply where it is complete; else a Deferred that fires with it. Cancelling that cancels the
            commands in progress, and no more are run.
        """
        if self.has_run and not self._delayed:
            return self._joined()
        self._reply = Deferred(self._cancel)
        return self._reply

    def finish(self) -> None:
        """Fire the Deferred of L{reply} if all replies have come."""
        if self.has_run and not self._delayed and self._reply is not None:
            deferred, self._reply = self._reply, None  # else they would keep each other alive
            try:
                reply = self._joined()
            except BaseException:
                deferred.errback()
            else:
                deferred.callback(reply)

    def fail(self, error: BaseException) -> None:
        """Fire the Deferred of L{reply} with an error: the batch cannot go on."""
        self._position = len(self._requests)
        deferred, self._reply = self._reply, None
        if deferred is not None:
            deferred.errback(error)

    def _joined(self) -> Reply:
        # A reply is missing where a command has made its own client leave.
        return self._join([reply for reply in self._replies if reply is not None])

    def cancel(self) -> None:
        """Run no more requests, and cancel the commands in progress."""
        if self._reply is not None:
            self._reply.cancel()

    def _run_next(self) -> None:
        place = self._position
        self._position += 1
        if self._full:
            self._refuse_at(place, _NOT_RUN)
            return
        reply = self._answer(self._requests[place], self._origin)
        if type(reply) is Reply:
            self._put(reply, place)
        else:
            self._delayed[place] = reply
            take(reply, partial(self._come, place))

    def _come(self, place: int, reply: Reply) -> None:
        """Take a reply that comes later."""
        del self._delayed[place]
        self._put(reply, place)
        if not self._delayed:
            self.finish()

    def _put(self, reply: Reply, place: int) -> None:
        """Keep a reply, or an error where there is no room for it."""
        if self._size + len(reply.body) > MAX_REPLY:
            self._full = True
            self._refuse_at(place, _TOO_LARGE)
            return
        self._size += len(reply.body)
        self._replies[place] = reply if self._write is None else self._write(reply)

    def _refuse_at(self, place: int, error: Error) -> None:
        reply = self._refuse(error, self._requests[place])
        self._replies[place] = reply if self._write is None else self._write(reply)

    def _cancel(self, _: object) -> None:
        begin, self._position = self._position, len(self._requests)
        for place in range(begin, len(self._requests)):
            self._refuse_at(place, _CANCELLED)
        for delayed in list(self._delayed.values()):
            delayed.cancel()
        self.finish()


class Batches:
    """Lets the batches of a server take turns.

    @param clock: the reactor: tells the time, and says when its next turn has come.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._shares = Shares(MAX_WAITING, MAX_WAITING_OF_CLIENT)
        self._waiting: deque[tuple[Batch, Hashable]] = deque()
        self._turn: object = None

    def run(self, batch: Batch, client: Hashable) -> Reply | Deferred[Reply]:
        """Run a batch, now or in turn with others.

        @param client: who has sent it.
        @return: its reply, see L{Batch.reply}.
        @raise Fault: too many batches wait.
        """
        if self._turn is None:
            begun = self._clock.seconds()
            batch.work(self._clock)
            if self._clock.seconds() - begun > SHORT:
                self._await_turn()
            if batch.has_run:
                return batch.reply()
        elif self._shares.full or self._shares.used_up(client):
            allowed = f"{MAX_WAITING} in all and {MAX_WAITING_OF_CLIENT} of a client may wait"
            raise Fault(503, f"Too Many Batches: {allowed}")
        self._shares.take(client)
        self._waiting.append((batch, client))
        self._await_turn()
        return batch.reply()

    def cancel(self) -> None:
        """Run no more of the waiting batches; each is answered with the replies so far."""
        for batch, _ in list(self._waiting):
            batch.cancel()

    def _await_turn(self) -> None:
        if self._turn is None:
            self._turn = self._clock.callLater(0, self._take_turn)

    def _take_turn(self) -> None:
        """Run the batch that has waited longest."""
        self._turn = None
        if not self._waiting:
            return
        self._turn = self  # what a command sends has to wait
        batch, client = self._waiting.popleft()
        try:
            batch.work(self._clock)
        except BaseException as error:
            batch.fail(error)
        self._turn = None
        if batch.has_run:
            self._shares.free(client)
        else:
            self._waiting.append((batch, client))
        if self._waiting:
            self._await_turn()
        if batch.has_run:
            batch.finish()
