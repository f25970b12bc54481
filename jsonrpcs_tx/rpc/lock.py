"""The lock of commands that must not run at the same time."""

from twisted.internet.defer import DeferredLock


class Lock(DeferredLock):
    """A lock that any number of commands may wait for.

    Twisted's own is handed on from within the function that releases it. If those who get it release it at once, each
    does so further down the call stack, until some hundred commands exhaust it, and the others wait for ever. This
    one is handed on in a loop.
    """

    def __init__(self) -> None:
        super().__init__()
        self._released = 0  # how often, while it is being handed on
        self._hands_on = False

    def release(self) -> None:
        """Hand the lock on to the command that has waited longest; free it if no command waits."""
        self._released += 1
        if self._hands_on:
            return
        self._hands_on = True
        try:
            while self._released:
                self._released -= 1
                super().release()
        finally:
            self._hands_on = False
