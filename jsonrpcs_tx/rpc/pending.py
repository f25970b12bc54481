"""Replies that come later: each step from a command's result to its client is a plain function call."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class Pending(Deferred[Any]):
    """A Deferred of what a command in progress gives, and of what is made of that.

    A callback costs as much as all that is done for an ordinary request besides. So what the server itself does with
    the outcome are steps (L{then}), which are run before any callback, and who asks for that (L{take}) gets what comes
    of them in place of the callbacks.

    @param stop: called without arguments if it is cancelled; it has to L{deliver} something.
    """

    def __init__(self, stop: Callable[[], object]) -> None:
        super().__init__()
        self._stop: Callable[[], object] | None = stop
        self._steps: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self._takes: Callable[[Any], object] | None = None

    def then(self, step: Callable[..., Any], *arguments: Any) -> None:
        """Add a step. It gets what the one before it has returned, or a Failure of what that has raised, and
        C{arguments}. Steps are added before the outcome is there.
        """
        self._steps.append((step, arguments))

    def take(self, function: Callable[[Any], object]) -> None:
        """Have a function called with what the last step returns. The Deferred itself does not fire then."""
        self._takes = function

    def deliver(self, outcome: Any) -> None:
        """Take all steps, and fire.

        @param outcome: a result, or a Failure.
        """
        self._stop = None  # else the two would keep each other alive
        for step, arguments in self._steps:
            try:
                outcome = step(outcome, *arguments)
            except BaseException:
                outcome = Failure()
        if self._takes is None:
            self.callback(outcome)
        else:
            self._takes(outcome)

    def cancel(self) -> None:
        """Stop what is in progress. It fires at once with what that makes of it."""
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()
        elif self.called:  # and may wait for another Deferred
            super().cancel()


def then(later: Deferred[Any], step: Callable[..., Any], *arguments: Any) -> None:
    """Have a function called with the outcome of a Deferred, a result or a Failure, and C{arguments}. What it returns
    is the outcome from there on.
    """
    if type(later) is Pending:
        later.then(step, *arguments)
    else:
        later.addBoth(step, *arguments)
