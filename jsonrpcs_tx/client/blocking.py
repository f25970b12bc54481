"""A client that waits for each reply, for scripts and the command line. Imports nothing that is slow to import."""

from collections.abc import Iterable

from jsonrpcs_tx.client.core import NotReply, Reply, read_reply, request
from jsonrpcs_tx.client.datagrams import DatagramLink
from jsonrpcs_tx.client.errors import BadReply, BadRequest, ClientError
from jsonrpcs_tx.client.targets import Target, TargetError, parse_target
from jsonrpcs_tx.rpc.faults import Fault

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import Any, Self

    from jsonrpcs_tx.client.core import Params

TIMEOUT = 5.0
"""Seconds that a call may take unless it is told otherwise."""

MAX_REPLY = 67_108_864
"""Bytes of a reply above which it is given up, unless the client is told otherwise."""


class Client:
    """Calls the commands of one server. Not for several threads at a time. As a context manager it closes itself.

    @param target: where the server is: a L{Target}, or text for L{parse_target}.
    @param timeout: seconds that a call may take, connecting included.
    @param max_reply: bytes of a reply above which it is given up.
    @raise TargetError: the text is no target.
    """

    def __init__(self, target: Target | str, timeout: float = TIMEOUT, max_reply: int = MAX_REPLY) -> None:
        self.target = parse_target(target) if isinstance(target, str) else target
        self.timeout = timeout
        self.max_reply = max_reply
        self._id = 0
        self._link = _link(self.target, max_reply)

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def call(self, method: str, *params: object, timeout: float | None = None, **named: object) -> "Any":
        """Call a command.

        @param params: its parameters by place.
        @param timeout: seconds that the call may take; None: the client's.
        @param named: its parameters by name, in place of C{params}. (Kamailio takes them in their order, and ignores
            the names.)
        @return: the result. Numbers are exact: a C{Decimal} where a float would not be.
        @raise Fault: the server answered with a fault.
        @raise ClientError: there is no reply; the subclasses say why.
        """
        if params and named:
            raise BadRequest(self.target, method, "parameters are given by place and by name", "use one of them")
        outcome = self._outcome(method, named or params, timeout)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def batch(self, calls: "Iterable[tuple[str, Params]]", timeout: float | None = None) -> "list[Any]":
        """Make many calls.

        @param calls: pairs of a method and its parameters, a sequence or a mapping.
        @param timeout: seconds that each call may take; None: the client's.
        @return: for each call, in order, its result, the L{Fault} that it was answered with, or the L{ClientError}
            that kept it from an answer. None of them is raised.
        """
        outcomes = []
        for method, params in calls:
            try:
                outcomes.append(self._outcome(method, params, timeout))
            except ClientError as error:
                outcomes.append(error)
        return outcomes

    def raw(self, document: bytes, timeout: float | None = None) -> bytes:
        """Send a document as it is, and return the reply as it comes.

        Over a FIFO a request needs a C{reply_name}, which is put into it.

        @param document: a request or a batch, or anything else.
        @param timeout: seconds that it may take; None: the client's.
        @raise ClientError: there is no reply; the subclasses say why.
        """
        return self._link.exchange("", document, self.timeout if timeout is None else timeout, lambda reply: reply)

    def close(self) -> None:
        """Close what is open, and remove what was made. A later call opens it again."""
        self._link.close()

    def _outcome(self, method: str, params: "Params", timeout: float | None) -> object:
        self._id = id = self._id + 1
        try:
            document = request(method, params, id)
        except (ValueError, TypeError) as error:
            raise BadRequest(self.target, method, f"JSON cannot say the parameters: {error}") from None

        def accept(document: bytes) -> Reply | None:
            try:
                reply = read_reply(document)
            except NotReply as error:
                raise BadReply(self.target, method, error) from None
            return reply if reply.id == id or reply.refuses_document else None

        return self._link.exchange(method, document, self.timeout if timeout is None else timeout, accept).outcome


def _link(target: Target, max_reply: int) -> DatagramLink:
    if target.scheme in ("unix", "udp"):
        return DatagramLink(target, max_reply)
    raise TargetError(str(target), f"{target.scheme} is not there yet", "unix and udp")


__all__ = ["Client", "Fault", "Target", "TargetError", "parse_target"]
