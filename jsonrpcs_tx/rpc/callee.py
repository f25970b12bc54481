"""Who runs the commands of a document in place of this server: another one, or several."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

from jsonrpcs_tx.rpc.replies import Reply


class Cancellable(Protocol):
    """What can be cancelled, such as a Deferred."""

    def cancel(self) -> None:
        """Call it off, or let go of its outcome. Nothing happens if it is over."""


class Callee(Protocol):
    """Another server that commands are called on, or several at once. Its text is for the log: C{node edge1}."""

    @property
    def each(self) -> Sequence[frozenset[str]]:
        """The names that rules know each of the servers by: its own, and those of its groups."""

    @property
    def is_one_of_many(self) -> bool:
        """It is asked as one of several at once, so that what rules refuse there is no attempt to get in."""

    @property
    def keeps_time(self) -> bool:
        """Each answer comes by the deadline that L{ask} is given, whatever happens, so nobody else has to see to it."""

    def ask(
        self,
        request: Any,
        deadline: float,
        client: Hashable,
        answered: Callable[[Any], None],
    ) -> Cancellable:
        """Pass a request on, if it keeps the time.

        @param request: a L{jsonrpcs_tx.rpc.envelope.Request} that was read to be passed on.
        @param deadline: in seconds of the reactor.
        @param client: who shares the limits for one client, see L{jsonrpcs_tx.rpc.origin.Origin}.
        @param answered: called once, perhaps before this returns: with the answer, of which L{reply} makes the reply;
            or with the L{Fault<jsonrpcs_tx.rpc.faults.Fault>} or other exception that there is in place of one.
        @return: cancelling it lets go of the answer; then C{answered} is called at once.
        """

    def reply(self, answer: Any, request: Any) -> Reply:
        """The whole reply to a request.

        @param answer: what L{ask} has given, no exception.
        """

    def origin(self, origin: Any) -> Any:
        """The origin of documents for it.

        @param origin: a L{jsonrpcs_tx.rpc.origin.Origin} of those for this server.
        """

    def command(self, method: str) -> Any:
        """The command that asks it for a method, whether it has that or not. It takes the call alone, with the params
        as they came.

        @return: a L{jsonrpcs_tx.rpc.registry.Command}; None where it cannot have that method.
        """
