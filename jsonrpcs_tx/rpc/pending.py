"""Replies that come later: each step from a command's result to its client is a plain function call."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jsonrpcs_tx.log import make_logger, report

_log = make_logger(__name__)


class Pending(Deferred[Any]):
    """A Deferred of what a command in progress gives, and of what is made of that.

    A callback costs as much as all that is done for an ordinary request besides. So what the server itself does with
    the outcome are steps (L{then}), which are run before any callback, and who asks for that (L{take}) gets what comes
    of them in place of the callbacks.

    @ivar stop: called without arguments if it is cancelled; it has to L{deliver} something. None: nothing can be
        stopped.
    """

    def __init__(self, stop: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.stop: Callable[[], object] | None = stop
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

        @param outcome: what the first step gets: a result, or a Failure or exception.
        """
        self.stop = None  # else the two would keep each other alive
        for step, arguments in self._steps:
            try:
                outcome = step(outcome, *arguments)
            except BaseException:
                outcome = Failure()
        if self._takes is None:
            self.callback(outcome)
            return
        try:
            self._takes(outcome)
        except BaseException as error:  # else the reactor would close the socket that the outcome came by
            report(_log, "a reply that came later could not be sent", error)

    def cancel(self) -> None:
        """Stop what is in progress. It fires at once with what that makes of it."""
        stop, self.stop = self.stop, None
        if stop is not None:
            stop()
        elif self.called:  # and may wait for another Deferred
            super().cancel()


def then(later: Deferred[Any], step: Callable[..., Any], *arguments: Any) -> None:
    """Have a function called with the outcome of a Deferred, a result or a Failure, and C{arguments}. What it returns
    is the outcome from there on.
    """
    if isinstance(later, Pending):
        later.then(step, *arguments)
    else:
        later.addBoth(step, *arguments)


def take(later: Deferred[Any], function: Callable[[Any], object]) -> None:
    """Have a function called with the result of a Deferred, in place of what was added to that as callbacks, or after
    them.
    """
    if isinstance(later, Pending):
        later.take(function)
    else:
        later.addCallback(function)
