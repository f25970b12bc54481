"""Limits how many calls may wait for one node, in all and of each client."""

from collections.abc import Hashable
from typing import Final

MAX_CALLS: Final = 4096
"""Calls that may wait for a node."""
MAX_BYTES: Final = 8 << 20
"""Bytes that they may take together."""


class Room:
    """Counts waiting calls. A client may have as much of the room as is left: one alone half of it, a second one half
    of the rest.

    @param calls: how many calls may wait.
    @param size: bytes that they may take together. (A single call may take more: transports limit it.)
    @ivar calls: how many calls wait.
    @ivar size: bytes that they take.
    """

    def __init__(self, calls: int = MAX_CALLS, size: int = MAX_BYTES) -> None:
        self.most_calls: int = calls
        self.most_size: int = size
        self.calls: int = 0
        self.size: int = 0
        self._calls: dict[Hashable, int] = {}
        self._sizes: dict[Hashable, int] = {}

    def refusal(self, size: int, client: Hashable) -> str:
        """Why there is no room for one more call, for messages; empty: there is.

        @param size: bytes that it takes.
        @param client: whose it is; None: nobody's in particular, for whom there is no share.
        """
        if self.calls >= self.most_calls or (self.size and self.size + size > self.most_size):
            return f"{self.calls} calls with {self.size} bytes are already waiting for it"
        if client is not None:
            calls, own = self._calls.get(client, 0), self._sizes.get(client, 0)
            if calls >= self.most_calls - self.calls or (own and own + size > self.most_size - self.size):
                return f"{calls} calls of this client with {own} bytes are already waiting for it"
        return ""

    def take(self, size: int, client: Hashable) -> None:
        """Count one more call."""
        self.calls += 1
        self.size += size
        _add(self._calls, client, 1)
        _add(self._sizes, client, size)

    def leave(self, client: Hashable) -> None:
        """A call no longer waits."""
        self.calls -= 1
        _add(self._calls, client, -1)

    def free(self, size: int, client: Hashable) -> None:
        """The bytes of a call are freed.

        @param client: the one for whom they were taken.
        """
        self.size -= size
        _add(self._sizes, client, -size)


def _add(counts: dict[Hashable, int], client: Hashable, number: int) -> None:
    """Count for a client. One with nothing left is forgotten."""
    if client is None or not number:
        return
    count = counts.get(client, 0) + number
    if count:
        counts[client] = count
    else:
        del counts[client]
