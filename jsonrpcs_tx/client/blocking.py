"""A client that waits for each reply, for scripts and the command line. Imports nothing that is slow to import."""

from collections.abc import Callable, Iterable
from time import monotonic

from jsonrpcs_tx.client.core import NotReply, Reply, read_reply, reply_to, request
from jsonrpcs_tx.client.errors import BadRequest, ClientError, NotReachable
from jsonrpcs_tx.client.targets import Target, parse_target
from jsonrpcs_tx.rpc.faults import Fault

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import Any, Protocol, Self, TypeVar

    from jsonrpcs_tx.client.batches import Array, Calls
    from jsonrpcs_tx.client.core import Params

    T = TypeVar("T")

    class Link(Protocol):
        """Exchanges documents with one target."""

        def exchange(self, method: str, document: bytes, timeout: float, accept: Callable[[bytes], T | None]) -> T: ...

        def close(self) -> None: ...


TIMEOUT = 5.0
"""Seconds that a call may take by default."""

MAX_REPLY = 67_108_864
"""Bytes of the largest reply by default."""


class Client:
    """Calls the commands of one server. Not thread-safe. As a context manager it closes itself.

    If the target has alternatives, a call that is too large for one target or does not get through is sent over the
    next one. A call that may have been run is sent again only if its method does not change anything.

    @param target: where the server is: a L{Target}, or text for L{parse_target}.
    @param timeout: seconds that a call may take, including the time to connect.
    @param max_reply: bytes of the largest reply.
    @param reads: returns whether a method changes nothing, so that it may be run twice; None: the catalogue of
        Kamailio's commands decides.
    @param read: reads the document with the reply to a call, for example with L{read_reply} and a decoder of its own
        for numbers. It is not used for replies to arrays of requests.
    @raise TargetError: the text is not a target.
    """

    def __init__(
        self,
        target: Target | str,
        timeout: float = TIMEOUT,
        max_reply: int = MAX_REPLY,
        reads: Callable[[str], bool] | None = None,
        read: Callable[[bytes], Reply] = read_reply,
    ) -> None:
        self.target: Target = parse_target(target) if isinstance(target, str) else target
        self.timeout = timeout
        self.max_reply = max_reply
        self._reads = reads
        self._read = read
        self._id = 0
        self._links: list[Link | None] = [None] * len(self.target.each)
        self._takes_arrays: bool | None = None

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def call(self, method: str, *params: object, timeout: float | None = None, **named: object) -> "Any":
        """Call a command.

        @param params: its parameters by place.
        @param timeout: seconds that the call may take; None: the client's.
        @param named: its parameters by name, in place of C{params}. (Kamailio takes them in their order, and ignores
            the names. L{batch} takes a mapping with any names.)
        @return: the result. Numbers are exact: a C{Decimal} where a float would not be.
        @raise Fault: the server answered with a fault.
        @raise ClientError: there is no reply; the subclasses say why.
        """
        if params and named:
            raise BadRequest(self.target, method, "parameters are given by position and by name", "use one of them")
        outcome = self._call(method, named or params, self._limit(timeout))
        if isinstance(outcome, Fault | ClientError):
            raise outcome
        return outcome

    def batch(self, calls: "Iterable[tuple[str, Params]]", timeout: float | None = None) -> "list[Any]":
        """Make many calls: one after the other, or over TCP and HTTP many in one document if the server takes that
        (Kamailio does not).

        @param calls: pairs of a method and its parameters, a sequence or a mapping.
        @param timeout: seconds that each document may take; None: the client's.
        @return: for each call, in order, its result, the L{Fault} that the server answered with, or the L{ClientError}
            if there is no reply. Errors are returned, not raised.
        """
        from jsonrpcs_tx.client.batches import SCHEMES, Array, batching
        from jsonrpcs_tx.client.steps import run

        limit = self._limit(timeout)

        def do(step: "Array | Calls") -> list[object]:
            if isinstance(step, Array):
                return self._ask_array(step, limit)
            return [self._call(method, params, limit) for method, params in step]

        calls = list(calls)
        if self._takes_arrays is False or self.target.scheme not in SCHEMES:
            return do(calls)
        outcomes: list[Any] = run(batching(calls, self._request, self._takes_arrays), do)
        return outcomes

    def raw(self, document: bytes, timeout: float | None = None) -> bytes:
        """Send a document unchanged, and return the reply unchanged. It goes to the first target only.

        Over a FIFO, the name of the reply FIFO is put into the first object, and two backslashes are escaped in the way
        that Kamailio needs.

        @param document: a request or a batch, or anything else.
        @param timeout: seconds that it may take; None: the client's.
        @raise ClientError: there is no reply; the subclasses say why.
        """
        return self._link(0).exchange("", document, self._limit(timeout), lambda reply: reply)

    def close(self) -> None:
        """Close connections and sockets, and remove the files that were made. A later call opens them again."""
        for link in self._links:
            if link is not None:
                link.close()

    def _limit(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else timeout

    def _link(self, index: int) -> "Link":
        link = self._links[index]
        if link is None:
            link = self._links[index] = _link(self.target.each[index], self.max_reply)
        return link

    def _request(self, method: str, params: "Params") -> tuple[int, bytes]:
        self._id += 1
        try:
            return self._id, request(method, params, self._id)
        except (ValueError, TypeError) as error:
            from jsonrpcs_tx.client.advice import not_json  # after a mistake only

            raise not_json(self.target, method, error) from None

    def _call(self, method: str, params: "Params", timeout: float) -> object:
        """@return: the result, the fault, or the L{ClientError}."""
        try:
            id, document = self._request(method, params)
        except ClientError as error:
            return error
        targets = self.target.each
        if len(targets) == 1:
            return self._ask(0, id, method, document, timeout)
        from jsonrpcs_tx.client.routes import asking, only_reads
        from jsonrpcs_tx.client.steps import run

        may_repeat = (self._reads or only_reads)(method)
        return run(
            asking(targets, len(document), timeout, may_repeat, monotonic),
            lambda step: self._ask(step[0], id, method, document, step[1]),
        )

    def _ask(self, index: int, id: int, method: str, document: bytes, timeout: float) -> object:
        """Ask one target."""
        try:
            reply = self._link(index).exchange(method, document, timeout, lambda reply: reply_to(id, reply, self._read))
        except NotReply as error:
            return _judged(self.target.each[index], method, error)
        except ClientError as error:
            return error
        return _judged(self.target.each[index], method, reply.outcome)

    def _ask_array(self, array: "Array", timeout: float) -> list[object]:
        """Ask the first target for many at once.

        @return: the outcomes; empty: they have to be asked for one by one, and none has been run.
        """
        try:
            found = self._link(0).exchange(array.method, array.document, timeout, array.outcomes)
        except NotReachable:
            return []
        except NotReply as error:
            found = [error] * len(array.ids)
        except ClientError as error:
            return [error] * len(array.ids)
        self._takes_arrays = bool(found)
        return [_judged(self.target, array.method, outcome) for outcome in found]


def _judged(target: Target, method: str, outcome: object) -> object:
    """The outcome of a call, or the error that it means."""
    if not isinstance(outcome, Exception):
        return outcome
    from jsonrpcs_tx.client.advice import judged  # most calls do not need it

    return judged(target, method, outcome)


def _link(target: Target, max_reply: int) -> "Link":
    """The link to a target; imports only what that needs."""
    if target.scheme in ("unix", "udp"):
        from jsonrpcs_tx.client.blockingdatagrams import DatagramLink

        return DatagramLink(target, max_reply)
    if target.scheme == "fifo":
        from jsonrpcs_tx.client.blockingfifo import FifoLink

        return FifoLink(target, max_reply)
    from jsonrpcs_tx.client.blockingstreams import HttpLink, TcpLink

    return TcpLink(target, max_reply) if target.scheme == "tcp" else HttpLink(target, max_reply)
