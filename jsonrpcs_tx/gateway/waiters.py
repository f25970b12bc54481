"""Callers who wait for an answer that several may share."""

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeAlias, TypeVar

from twisted.internet.defer import Deferred

from jsonrpcs_tx.gateway.answers import Answer

T = TypeVar("T")

Outcome: TypeAlias = Answer | BaseException | None
"""The outcome of a call. (None is included because a Failure's value may be None for the type checker.)"""


class Waiter(Generic[T]):
    """A waiting caller.

    @param of: what it waits for.
    @param seconds: seconds until C{deadline}.
    @param left: called if C{waiting} is cancelled.
    @param client: anything that tells the client from others, for limits; None: nobody in particular.
    @ivar waiting: fires with the L{Answer}.
    @ivar timer: the delayed call that ends the wait at the deadline; None if no timer is set.
    """

    __slots__ = ("client", "deadline", "of", "seconds", "timer", "waiting")

    def __init__(
        self, of: T, seconds: float, deadline: float, left: "Callable[[Waiter[T]], None]", client: Hashable = None
    ) -> None:
        self.client: Hashable = client
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
        """End the wait, unless the caller has left meanwhile, because of what another caller did with its answer."""
        if self.waiting.called:
            return
        if isinstance(outcome, Answer):
            self.waiting.callback(outcome)
        else:
            self.waiting.errback(outcome)


def told(waiting: Deferred[Answer], then: Callable[[Answer | BaseException], None]) -> Deferred[None]:
    """Have a function called with what a Deferred fires with, or with the exception that it fails with.

    @return: the same Deferred.
    """
    return waiting.addCallbacks(then, lambda failure: then(failure.value))
