"""How much may wait for one node."""

from typing import Final

MAX_CALLS: Final = 4096
"""Calls that may wait for a node."""
MAX_BYTES: Final = 8 << 20
"""Bytes that they may have together."""


class Room:
    """Counts what waits.

    @param calls: how many calls there may be.
    @param size: bytes that may be kept of them. (A single one may have more: transports limit it.)
    @ivar calls: how many there are.
    @ivar size: bytes that are kept of them.
    """

    def __init__(self, calls: int = MAX_CALLS, size: int = MAX_BYTES) -> None:
        self.most_calls: int = calls
        self.most_size: int = size
        self.calls: int = 0
        self.size: int = 0

    def take(self, size: int) -> bool:
        """Count one more call, if there is room.

        @param size: the bytes that are kept of it.
        @return: whether there is.
        """
        if self.calls >= self.most_calls or (self.size and self.size + size > self.most_size):
            return False
        self.calls += 1
        self.size += size
        return True

    @property
    def full(self) -> str:
        """Why there is no more room, in words."""
        return f"{self.calls} calls with {self.size} bytes wait for it already"

    def leave(self) -> None:
        """A call waits no longer."""
        self.calls -= 1

    def free(self, size: int) -> None:
        """The bytes of a call are no longer kept."""
        self.size -= size
