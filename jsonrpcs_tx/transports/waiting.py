"""Replies that wait for datagram clients to have room for them; limited in bytes, for each client and in all."""

from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

MAX_WAITING: Final = 1000
"""Replies that may wait for one client; for a further one the oldest is dropped."""

MAX_BYTES: Final = 16_777_216
"""Bytes that may wait in total. One client may take up a quarter of what the others leave."""

CLIENT_SHARE: Final = 4

RETRY_DELAY: Final = 0.01
"""Seconds between two tries to send, or more where many wait, so that trying takes at most a tenth of the time."""

_OVERHEAD: Final = 500
"""Bytes that a reply takes up in memory besides its body and its document."""


@attrs.frozen(eq=False)
class WaitingReply:
    """A reply on its way to a client.

    @ivar peer: the client's address.
    @ivar uid: its user, where that is known.
    @ivar document: what it answers, for the error that replaces a reply that is too large; None: this is that error.
    """

    body: bytes
    peer: Any
    uid: int | None
    document: bytes | None

    @property
    def size(self) -> int:
        return len(self.body) + len(self.document or b"") + _OVERHEAD


class _Queue(deque[tuple[float, WaitingReply]]):
    """What waits for one client, each reply with its deadline.

    @ivar size: in bytes.
    """

    size = 0


class WaitingReplies:
    """Tries to send what waits, again and again, each client's replies in their order.

    @param send: sends a reply; returns False where there is no room yet.
    @param drop: called with a client's address and the reason when a reply to it is given up.
    @param timeout: seconds that a reply may wait.
    @ivar timeout: may be set at any time.
    @ivar size: bytes that wait.
    """

    def __init__(
        self,
        send: Callable[[WaitingReply], bool],
        drop: Callable[[Any, str], None],
        timeout: float,
        clock: IReactorTime,
    ) -> None:
        self._send = send
        self._drop = drop
        self.timeout = timeout
        self.size = 0
        self._clock = clock
        self._queues: dict[Any, _Queue] = {}
        self._retry: Any = None
        self._finished: Deferred[None] | None = None

    def __contains__(self, peer: object) -> bool:
        return peer in self._queues

    def __bool__(self) -> bool:
        return bool(self._queues)

    def add(self, reply: WaitingReply) -> None:
        """Let a reply wait. If there are too many, the oldest replies to its client are dropped, or this one."""
        peer = reply.peer
        queue = self._queues.setdefault(peer, _Queue())
        while queue and (len(queue) >= MAX_WAITING or not self._has_room(queue, reply)):
            self._remove_oldest(queue)
            self._drop(peer, "newer replies to it wait, since it does not read")
        if self._has_room(queue, reply):
            queue.append((self._clock.seconds() + self.timeout, reply))
            queue.size += reply.size
            self.size += reply.size
        else:
            self._drop(peer, f"{self.size} bytes of other replies wait, since clients do not read")
            del self._queues[peer]
        if self._retry is None and self._queues:
            self._retry = self._clock.callLater(RETRY_DELAY, self._send_waiting)

    def finished(self) -> Deferred[None]:
        """@return: a Deferred that fires with None when no reply waits any longer."""
        self._finished = Deferred()
        if not self._queues:
            self._finished.callback(None)
        return self._finished

    def stop(self) -> None:
        """Drop all that wait."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._queues.clear()
        self.size = 0

    def _has_room(self, queue: _Queue, reply: WaitingReply) -> bool:
        return queue.size + reply.size <= (MAX_BYTES - self.size + queue.size) // CLIENT_SHARE

    def _remove_oldest(self, queue: _Queue) -> None:
        _, reply = queue.popleft()
        queue.size -= reply.size
        self.size -= reply.size

    def _send_waiting(self) -> None:
        self._retry = None
        began = perf_counter()
        now = self._clock.seconds()
        for peer, queue in list(self._queues.items()):
            while queue:
                deadline, reply = queue[0]
                if not self._send(reply):
                    if deadline - self.timeout <= now < deadline:  # earlier, if the clock was set back
                        break
                    self._drop(peer, "it does not read")
                self._remove_oldest(queue)
            if not queue:
                del self._queues[peer]
        if self._queues:
            delay = max(RETRY_DELAY, 9 * (perf_counter() - began))
            self._retry = self._clock.callLater(delay, self._send_waiting)
        elif self._finished is not None:
            self._finished.callback(None)
