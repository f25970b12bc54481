"""Replies that wait until their clients have room for them; limited in bytes, for each client and in total."""

from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, Final, Generic, Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

MAX_WAITING: Final = 1000
"""Replies that may wait for one client; if there is another, the oldest is dropped."""

MAX_BYTES: Final = 16_777_216
"""Bytes that may wait in total. One client may take up a quarter of what the others leave."""

CLIENT_SHARE: Final = 4

RETRY_DELAY: Final = 0.01
"""Seconds between two tries to send, or more where many wait, so that trying takes at most a tenth of the time."""

TURN: Final = 0.005
"""Seconds after which the clients that are still to be tried are left for later, so that others have their turn."""

OVERHEAD: Final = 500
"""Bytes that a reply takes up in memory besides its body and its document."""

QUEUE_OVERHEAD: Final = 1000
"""Bytes that the queue of a client takes up besides its replies."""


class Waiting(Protocol):
    """What may wait.

    @ivar peer: the address of the client, or the name of its FIFO.
    @ivar size: bytes that it takes up.
    """

    @property
    def peer(self) -> Any: ...

    @property
    def size(self) -> int: ...


_Reply = TypeVar("_Reply", bound=Waiting)


@attrs.frozen(eq=False)
class WaitingReply:
    """A datagram on its way to a client.

    @ivar peer: the client's address.
    @ivar uid: its user, where that is known.
    @ivar document: the document that it answers, for the error that replaces a reply that is too large; None: it is
        that error.
    """

    body: bytes
    peer: Any
    uid: int | None
    document: bytes | None

    @property
    def size(self) -> int:
        return len(self.body) + len(self.document or b"") + OVERHEAD


class _Queue(deque[tuple[float, _Reply]]):
    """What waits for one client, each reply with its deadline.

    @ivar size: in bytes.
    """

    __slots__ = ("size",)

    def __init__(self) -> None:
        super().__init__()
        self.size = QUEUE_OVERHEAD


class WaitingReplies(Generic[_Reply]):
    """Keeps trying to send the replies that wait, each client's in their order.

    @param send: sends a reply, or as much of it as there is room for; returns False where it has to wait.
    @param drop: called with a client's address and the reason when the oldest reply to it is given up.
    @param timeout: seconds for which a reply may wait.
    @param limit: bytes that may wait in total.
    @param share: one client may take up one C{share}-th of what the others leave.
    @param delay: seconds between two tries.
    @ivar timeout: may be set at any time.
    @ivar size: bytes that wait.
    """

    def __init__(
        self,
        send: Callable[[_Reply], bool],
        drop: Callable[[Any, str], None],
        timeout: float,
        clock: IReactorTime,
        limit: int = MAX_BYTES,
        share: int = CLIENT_SHARE,
        delay: float = RETRY_DELAY,
    ) -> None:
        self._send = send
        self._drop = drop
        self.timeout = timeout
        self.size: int = 0
        self._clock = clock
        self._limit = limit
        self._share = share
        self._delay = delay
        self._queues: dict[Any, _Queue[_Reply]] = {}
        self._retry: Any = None
        self._untried: list[Any] = []  # clients whose turn is still to come, the next one last
        self._finished: Deferred[None] | None = None

    def __contains__(self, peer: object) -> bool:
        return peer in self._queues

    def __bool__(self) -> bool:
        return bool(self._queues)

    def waiting(self) -> tuple[int, int]:
        """How many replies wait, and how many bytes they take up."""
        return sum(map(len, self._queues.values())), self.size

    def add(self, reply: _Reply) -> None:
        """Let a reply wait. If there are too many, the oldest replies to its client are dropped, or this one."""
        peer = reply.peer
        queue = self._queues.get(peer)
        if queue is None:
            self._queues[peer] = queue = _Queue()
            self.size += queue.size
        while queue and (len(queue) >= MAX_WAITING or not self._has_room(queue, reply)):
            self._remove_oldest(queue)
            self._drop(peer, "newer replies to it wait, since it does not read")
        if self._has_room(queue, reply):
            queue.append((self._clock.seconds() + self.timeout, reply))
            queue.size += reply.size
            self.size += reply.size
        else:
            self._remove(peer)
            self._drop(peer, f"{self.size} bytes of other replies wait, since clients do not read")
        if self._retry is None and self._queues:
            self._retry = self._clock.callLater(self._delay, self._send_waiting)

    def proceed(self, peer: Any) -> None:
        """Try what waits for one client now, since that has room."""
        self._send_to(peer)
        self._check_finished()

    def drop_oldest(self, peer: Any, reason: str) -> None:
        """Give up the oldest reply that waits for a client."""
        queue = self._queues[peer]
        self._remove_oldest(queue)
        self._drop(peer, reason)
        if not queue:
            self._remove(peer)

    def finished(self) -> Deferred[None]:
        """@return: a Deferred that fires with None when no reply waits any longer."""
        self._finished = finished = Deferred[None]()
        self._check_finished()
        return finished

    def stop(self) -> None:
        """Drop all that wait."""
        self._retry_no_more()
        self._queues.clear()
        self.size = 0

    def _has_room(self, queue: _Queue[_Reply], reply: _Reply) -> bool:
        return queue.size + reply.size <= (self._limit - self.size + queue.size) // self._share

    def _remove_oldest(self, queue: _Queue[_Reply]) -> None:
        _, reply = queue.popleft()
        queue.size -= reply.size
        self.size -= reply.size

    def _remove(self, peer: Any) -> None:
        """Remove the queue of a client, which is empty."""
        self.size -= self._queues.pop(peer).size

    def _send_waiting(self) -> None:
        """Try what waits for each client, as many as there is time for; the others when it is time again."""
        self._retry = None
        began = perf_counter()
        untried = self._untried or list(self._queues)[::-1]
        self._untried = untried
        while untried:
            self._send_to(untried.pop())
            if perf_counter() - began >= TURN:
                break
        if self._queues:
            least = 0 if untried else self._delay
            self._retry = self._clock.callLater(max(least, 9 * (perf_counter() - began)), self._send_waiting)
        self._check_finished()

    def _send_to(self, peer: Any) -> None:
        """Send what waits for a client, as far as it takes it, or give it up in time."""
        queue = self._queues.get(peer)
        if queue is None:  # what waited has been dropped for others
            return
        now = self._clock.seconds()
        while queue:
            deadline, reply = queue[0]
            if not self._send(reply):
                if deadline - self.timeout <= now < deadline:  # earlier, if the clock was set back
                    return
                self._drop(peer, "it does not read")
            self._remove_oldest(queue)
        self._remove(peer)

    def _check_finished(self) -> None:
        if self._queues:
            return
        self._retry_no_more()
        finished, self._finished = self._finished, None
        if finished is not None:
            finished.callback(None)

    def _retry_no_more(self) -> None:
        self._untried.clear()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
