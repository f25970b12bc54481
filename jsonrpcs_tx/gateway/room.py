"""Limits how many calls may wait for one node."""

from typing import Final

MAX_CALLS: Final = 4096
"""Calls that may wait for a node."""
MAX_BYTES: Final = 8 << 20
"""Bytes that they may take together."""


class Room:
    """Counts waiting calls.

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

    def take(self, size: int) -> bool:
        """Count one more call, if there is room.

        @param size: bytes that it takes.
        @return: whether there is room.
        """
        if self.calls >= self.most_calls or (self.size and self.size + size > self.most_size):
            return False
        self.calls += 1
        self.size += size
        return True

    @property
    def full(self) -> str:
        """Why there is no more room, for messages."""
        return f"{self.calls} calls with {self.size} bytes are already waiting for it"

    def leave(self) -> None:
        """A call no longer waits."""
        self.calls -= 1

    def free(self, size: int) -> None:
        """The bytes of a call are freed."""
        self.size -= size
