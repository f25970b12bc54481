"""What a document is answered with."""

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias, final

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jsonrpcs_tx.log import make_logger, report

_log = make_logger(__name__)

FAULTS: Final = "faults"
"""The counter of the errors of commands."""


@final
class Reply(msgspec.Struct, frozen=True, gc=False):
    """What a document is answered with.

    @ivar body: the reply document; empty where the client gets none (dialect C{jsonrpc2}, notifications).
    @ivar code: 200, or the code of the fault; of a batch always 200; 207 where only some of those
        who were asked have given a result; 204 where the client gets no result.
    @ivar text: OK, or the text of the fault, whole.
    @ivar fault: it is a fault, whatever its code, and whether the client gets it or not.
    @ivar outcome: C{refused} by rules, C{cancelled} or C{timed out}; of a call to a node C{not sent}, C{no answer},
        or C{fault} if the node has answered it; empty: nothing of that.
    @ivar kind: of a fault, the counter in the group C{jsonrpc} that it counts in.
    """

    body: bytes
    code: int = 200
    text: str = "OK"
    fault: bool = False
    outcome: str = ""
    kind: str = FAULTS


SOME: Final = 207
"""The code of a reply in which only some of those who were asked have given a result (HTTP's Multi-Status)."""

NO_REPLY: Final = Reply(b"", 204, "No Content")


class Cancellable(Protocol):
    """What can be cancelled, such as a Deferred."""

    def cancel(self) -> None:
        """Call it off, or let go of its outcome. Nothing happens if it is over."""


class Pending:
    """The reply to a call that is passed on: like a Deferred that nobody chains or pauses, at a quarter of the cost.

    @ivar asked: what is cancelled with it; None: nothing yet.
    """

    __slots__ = ("_functions", "_has_come", "_reply", "asked")

    def __init__(self) -> None:
        self.asked: Cancellable | None = None
        self._has_come = False
        self._reply: Any = None
        self._functions: list[tuple[bool, Callable[..., Any], tuple[Any, ...]]] = []

    def addCallback(self, function: Callable[..., Any], *arguments: Any) -> "Pending":
        """Call a function with the reply; what it returns takes its place."""
        self._functions.append((False, function, arguments))
        if self._has_come:
            self.come(self._reply)
        return self

    def addBoth(self, function: Callable[..., Any], *arguments: Any) -> "Pending":
        """The same, but the function is also called if one before it has failed, with the C{Failure}."""
        self._functions.append((True, function, arguments))
        if self._has_come:
            self.come(self._reply)
        return self

    def come(self, reply: Any) -> None:
        """Call the functions, since the reply has come; with those that they add."""
        self._has_come = False
        for takes_failure, function, arguments in self._functions:
            if takes_failure or not isinstance(reply, Failure):
                try:
                    reply = function(reply, *arguments)
                except BaseException as error:
                    reply = Failure()
                    report(_log, "a reply that was passed on could not be handled", error)
        self._functions.clear()
        self._reply, self._has_come = reply, True

    def cancel(self) -> None:
        """Cancel the call, which is answered with a reply that says so."""
        if not self._has_come and self.asked is not None:
            self.asked.cancel()

    def deferred(self) -> Deferred[Reply]:
        """A Deferred that fires with the reply. Cancelling it cancels the call."""
        waiting: Deferred[Reply] = Deferred(lambda _: self.cancel())
        self.addBoth(waiting.callback)
        return waiting


Later: TypeAlias = Deferred[Reply] | Pending
"""A reply that comes later."""
