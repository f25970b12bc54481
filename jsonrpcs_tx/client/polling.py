"""Waits for a descriptor, with a time limit."""

import select
from time import monotonic

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import Protocol

    class HasFileno(Protocol):
        """A socket, for example."""

        def fileno(self) -> int: ...


READ, WRITE = select.POLLIN, select.POLLOUT


def left(deadline: float) -> float:
    """The seconds until a time.

    @raise TimeoutError: it has passed.
    """
    seconds = deadline - monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def is_readable(what: "HasFileno | int") -> bool:
    """Whether something can be read now, or has ended."""
    poll = select.poll()
    poll.register(what, READ)
    return bool(poll.poll(0))


def wait(what: "HasFileno | int", event: int, deadline: float) -> None:
    """Wait until something can be read or written, or has ended.

    @param event: L{READ} or L{WRITE}.
    @raise TimeoutError: that has not happened in time.
    """
    poll = select.poll()
    poll.register(what, event)
    if not poll.poll(left(deadline) * 1000):
        raise TimeoutError
