"""Those who wait for an answer that may be for several."""

from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

from twisted.internet.defer import Deferred

from jsonrpcs_tx.gateway.answers import Answer

T = TypeVar("T")

Outcome: TypeAlias = Answer | BaseException | None
"""What became of a call. (None is there because a Failure says that it may have no value.)"""


class Waiter(Generic[T]):
    """Somebody who waits.

    @param of: what for.
    @param seconds: that there are until C{deadline}.
    @param left: called if C{waiting} is cancelled.
    @ivar waiting: fires with the L{Answer}.
    @ivar timer: the call that ends the wait at the deadline; None: there is none.
    """

    __slots__ = ("deadline", "of", "seconds", "timer", "waiting")

    def __init__(self, of: T, seconds: float, deadline: float, left: "Callable[[Waiter[T]], None]") -> None:
        self.of: T = of
        self.seconds: float = seconds
        self.deadline: float = deadline
        self.timer: Any = None
        self.waiting: Deferred[Answer] = Deferred(lambda _: left(self))

    def untimed(self) -> None:
        """Cancel the timer."""
        if self.timer is not None:
            if self.timer.active():
                self.timer.cancel()
            self.timer = None

    def tell(self, outcome: Outcome) -> None:
        """End the wait, unless what others were told at the same time has made this one leave."""
        if self.waiting.called:
            return
        if isinstance(outcome, Answer):
            self.waiting.callback(outcome)
        else:
            self.waiting.errback(outcome)
