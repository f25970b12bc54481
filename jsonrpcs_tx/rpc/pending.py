"""Replies that come later: each step from a command's result to its client is a plain function call."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jsonrpcs_tx.log import make_logger, report

_log = make_logger(__name__)


class Pending(Deferred[Any]):
    """A Deferred of the outcome of a command in progress, and of what is made of that.

    A callback costs as much as the rest of an ordinary request. So the server itself handles the outcome in steps
    (L{then}), which are run before any callback. A function that asks for the outcome (L{take}) gets what the steps
    return, in place of the callbacks.

    @ivar stop: called without arguments if it is cancelled; it has to L{deliver} something. None: nothing can be
        stopped.
    @ivar steps: the functions that L{then} has added, with their arguments.
    @ivar takes: the function that L{take} has set.
    """

    stop: Callable[[], object] | None = None
    steps: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...] = ()
    takes: Callable[[Any], object] | None = None

    def __init__(self, stop: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.stop = stop

    def deliver(self, outcome: Any) -> None:
        """Take all steps, and fire.

        @param outcome: what the first step gets: a result, or a Failure or exception.
        """
        self.give(self.follow(outcome) if self.steps else outcome)

    def follow(self, outcome: Any) -> Any:
        """Take all steps.

        @return: what comes of them.
        """
        steps, self.steps = self.steps, ()
        for step, arguments in steps:
            try:
                outcome = step(outcome, *arguments)
            except BaseException:
                outcome = Failure()
        return outcome

    def give(self, outcome: Any) -> None:
        """Fire with what has come of the steps."""
        takes = self.takes
        self.stop = self.takes = None  # else these would keep each other alive
        if takes is None:
            self.callback(outcome)
            return
        try:
            takes(outcome)
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

    Of a L{Pending} it is a step: that gets what the one before it has returned, or a Failure of what that has raised.
    Steps are added before the outcome is there.
    """
    pending: Any = later
    if Pending in type(later).__mro__:  # isinstance takes three times as long
        pending.steps = (*pending.steps, (step, arguments))
    else:
        later.addBoth(step, *arguments)


def take(later: Deferred[Any], function: Callable[[Any], object]) -> None:
    """Have a function called with the result of a Deferred: in place of what was added to that as callbacks, and in
    place of firing, if it is a L{Pending}; of any other, after them.
    """
    pending: Any = later
    if Pending in type(later).__mro__:
        pending.takes = function
    else:
        later.addCallback(function)
