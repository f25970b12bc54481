"""What several servers may share: how a change leaves for all of them, and how it is made once it has its place in the
order that all follow.

A hash table, the destinations, a group of variables: each is L{Shareable}. While nobody shares it, a change is made at
once. With a L{Share}, the same methods hand the change over, and return a Deferred of what they return otherwise, which
fires when the change has been made here.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

from twisted.internet.defer import Deferred

from jsonrpcs_tx.errors import JsonRpcsError

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


class PendingChange(Deferred[_Given]):
    """The outcome of a change that is on its way to all who share it.

    It has a deadline of its own, a few seconds away. So a command that waits for it may be called over every transport.
    Cancelling it before the next turn of the reactor withdraws the change; later, the change goes on.
    """


class Share(Protocol):
    """Takes the changes of one thing that is shared."""

    def submit(self, operation: str, *arguments: Any) -> PendingChange[Any]:
        """Have a change made by all who share.

        @param operation: one of the thing's L{Shareable.OPERATIONS}.
        @param arguments: numbers, strings, None, and lists of these.
        @return: fires with what the change returns once it has been made here. Fails with what it raises, or with a
            L{Fault<jsonrpcs_tx.rpc.faults.Fault>} that says why it has not been made, or may not have been.
        """


class UnknownOperation(JsonRpcsError):
    """There is no such change of a thing, or it takes other arguments: another version may know it."""


class Shareable:
    """Something that several servers may share.

    To be made in the same order on each of them, a change depends on nothing but the thing, its arguments, and the
    time, which is that of the order.

    @cvar OPERATIONS: the methods that make changes, with the number of their arguments.
    @ivar share: takes the changes; None: they are made at once, since nobody shares it.
    """

    OPERATIONS: ClassVar[dict[str, int]] = {}
    share: Share | None = None

    def apply(self, operation: str, arguments: Sequence[Any]) -> Any:
        """Make a change that has come from L{share}.

        @return: what the method returns.
        @raise UnknownOperation: there is no such change.
        @raise Exception: whatever the method raises; then nothing is changed.
        """
        if self.OPERATIONS.get(operation) != len(arguments):
            raise UnknownOperation(f"{operation!r:.60} with {len(arguments)} arguments")
        share, self.share = self.share, None
        try:
            return getattr(self, operation)(*arguments)
        finally:
            self.share = share

    def contents(self) -> Any:
        """All that is shared of it, in the types of L{Share.submit}, and maps of these by strings."""
        raise NotImplementedError

    def replace(self, contents: Any) -> Any:
        """Replace all that is shared by what L{contents} has returned, perhaps elsewhere."""
        raise NotImplementedError

    def touches(self, operation: str, arguments: Sequence[Any]) -> str | None:
        """The part of it that a change is about; None: perhaps all of it."""
        return None


def after(outcome: _Given | Deferred[_Given], function: Callable[[_Given], _Made]) -> _Made:
    """Go on with an outcome, now or when it comes.

    @return: what the function returns. If the outcome has not come yet, a Deferred of that, which its type does not
        tell: commands are annotated with what their callers get.
    """
    if isinstance(outcome, Deferred):
        later: Any = outcome.addCallback(function)
        return later  # type: ignore[no-any-return]
    return function(outcome)
