"""A client for programs with Twisted: many calls under way, each a Deferred."""

from collections.abc import Callable, Hashable, Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred, DeferredList, fail, inlineCallbacks, succeed

from jsonrpcs_tx.client import advice
from jsonrpcs_tx.client.batches import SCHEMES as ARRAY_SCHEMES
from jsonrpcs_tx.client.batches import Array, batching
from jsonrpcs_tx.client.blocking import MAX_REPLY, TIMEOUT
from jsonrpcs_tx.client.core import request, request_of
from jsonrpcs_tx.client.deferreddatagrams import DatagramLink
from jsonrpcs_tx.client.deferredfifo import FifoLink
from jsonrpcs_tx.client.deferredstreams import HttpLink, TcpLink
from jsonrpcs_tx.client.errors import BadRequest, ClientError, NotReachable
from jsonrpcs_tx.client.replies import AnyReply
from jsonrpcs_tx.client.routes import SMALL, asking, carried, only_reads
from jsonrpcs_tx.client.targets import Target, parse_target
from jsonrpcs_tx.client.underway import Call, DeferredCall, Detour, Link
from jsonrpcs_tx.interfaces import Reactor
from jsonrpcs_tx.rpc.faults import Fault

if TYPE_CHECKING:
    from jsonrpcs_tx.client.batches import Calls
    from jsonrpcs_tx.client.core import Params
    from jsonrpcs_tx.client.steps import Steps

UNDER_WAY: Final = 64
"""Calls that are under way at a time unless the client is told otherwise; further ones wait."""


class Client:
    """Calls the commands of one server; made by L{connect}."""

    def __init__(
        self,
        target: Target,
        timeout: float,
        max_reply: int,
        under_way: int,
        reads: Callable[[str], bool],
        reactor: Any,
        read: Callable[[bytes], AnyReply] | None = None,
        patience: float = 0.0,
    ) -> None:
        self.target = target
        self.timeout = timeout
        self._reads = reads
        self._seconds = reactor.seconds
        self._id = 0
        self._links = [_link(one, reactor, max_reply, under_way) for one in target.each]
        for link in self._links:
            link.patience = patience
            if read is not None:
                link.read = read
        self._first = self._links[0]
        self._only = self._first if len(self._links) == 1 else None
        self._steps: WeakKeyDictionary[Deferred[Any], list[Call]] = WeakKeyDictionary()
        self._takes_arrays: bool | None = None if target.scheme in ARRAY_SCHEMES else False

    def call(self, method: str, *params: object, timeout: float | None = None, **named: object) -> Deferred[Any]:
        """Call a command.

        @param params: its parameters by position.
        @param timeout: seconds that the call may take; None: the client's.
        @param named: its parameters by name, in place of C{params}. (Kamailio takes them in their order, and ignores
            the names. L{batch} takes a mapping with any names.)
        @return: fires with the result, in which numbers are exact: a C{Decimal} where a float would not be. Fails with
            L{Fault} if the server answered with a fault, with L{ClientError} if there is no reply. Cancelling it drops
            the reply, and calls what waits for its turn off; a command that runs goes on.
        """
        if params and named:
            reason = "parameters are given by position and by name"
            raise BadRequest(self.target, method, reason, "use one of them")
        limit = self.timeout if timeout is None else timeout
        if self._only is None:
            return self._call(method, named or params, limit).addCallback(_raised)
        try:
            id, document = self._request(method, named or params)
        except ClientError as error:
            return fail(error)
        return self._only.send(DeferredCall(id, method, document, limit, raises=True))

    def batch(self, calls: "Iterable[tuple[str, Params]]", timeout: float | None = None) -> Deferred[list[Any]]:
        """Make many calls: all at once, as far as the client lets them, and over TCP and HTTP many with one document if
        the server takes that (Kamailio does not).

        @param calls: pairs of a method and its parameters, a sequence or a mapping.
        @param timeout: seconds that each document may take, waiting for its turn included; None: the client's.
        @return: fires with, for each call, in order, its result, the L{Fault} that it was answered with, or the
            L{ClientError} that kept it from an answer. It does not fail. Cancelling it drops the replies.
        """
        limit = self.timeout if timeout is None else timeout

        def do(step: "Array | Calls") -> Deferred[list[Any]]:
            if isinstance(step, Array):
                return self._ask_array(step, limit)
            return _all([self._call(method, params, limit) for method, params in step])

        every = list(calls)
        if self._takes_arrays is False:
            return do(every)
        return _run(batching(every, self._request, self._takes_arrays), do)

    def forward(self, method: str, params: bytes, timeout: float, client: Hashable = None) -> Deferred[Any]:
        """Call a command with parameters that are JSON already; of its reply a reader makes what it likes.

        @param params: an array or an object; empty: there are none.
        @param timeout: seconds that the call may take.
        @param client: for whom it is made, see L{Link}; None: for nobody in particular.
        @return: fires with the C{outcome} that the reader of L{connect} has found. Fails with L{ClientError} if there
            is no reply. Cancelling it is as for L{call}.
        """
        self._id = id = self._id + 1
        document = request_of(method, params, id)
        only = self._only
        if only is not None and len(document) <= SMALL:
            return only.send(DeferredCall(id, method, document, timeout, raises=True, client=client))
        size = carried(self.target.each, document)
        if size is None:
            return fail(advice.too_large_request(self.target, method, len(document)))
        if only is not None:
            return only.send(DeferredCall(id, method, document, timeout, raises=True, client=client))
        steps: list[Call] = []
        asked = self._ask(id, method, document, size, timeout, client, steps)
        self._steps[asked] = steps
        return asked.addCallback(_raised)

    def is_sent(self, asked: Deferred[Any]) -> bool:
        """Whether anything of a call may have been sent.

        @param asked: what L{forward} has returned, not over yet.
        """
        call = asked if isinstance(asked, Call) else next(reversed(self._steps.get(asked, ())), None)
        return call is not None and call.link.is_sent(call)

    def settle(self, before: float = inf) -> None:
        """End the calls that nobody waits for any more, see L{Link.settle}."""
        for link in self._links:
            link.settle(before)

    def carry(self, call: Call, params: bytes) -> None:
        """Like L{forward}, for a call that takes its outcome itself, and costs less than a Deferred.

        @param call: has its method, seconds, deadline and client; it gets its id and document.
        """
        self._id = call.id = id = self._id + 1
        call.document = document = request_of(call.method, params, id)
        if self._only is not None and len(document) <= SMALL:
            self._only.take(call)
        else:
            Detour(self.forward(call.method, params, call.seconds, call.client), call)

    def close(self) -> Deferred[None]:
        """Close what is open, and remove what was made. Calls that are under way fail; a later call opens it again.

        @return: fires with None when all is closed.
        """
        closing = [closed for closed in [link.close() for link in self._links] if closed is not None]
        return DeferredList(closing).addCallback(lambda _: None)

    def _request(self, method: str, params: "Params") -> tuple[int, bytes]:
        self._id = id = self._id + 1
        try:
            return id, request(method, params, id)
        except (ValueError, TypeError) as error:
            raise advice.not_json(self.target, method, error) from None

    def _call(self, method: str, params: "Params", timeout: float) -> Deferred[Any]:
        """@return: fires with the result, the fault, or the L{ClientError}."""
        try:
            id, document = self._request(method, params)
        except ClientError as error:
            return succeed(error)
        if self._only is not None:
            return self._only.send(DeferredCall(id, method, document, timeout))
        return self._ask(id, method, document, len(document), timeout)

    def _ask(
        self,
        id: int,
        method: str,
        document: bytes,
        size: int,
        timeout: float,
        client: Hashable = None,
        made: "list[Call] | None" = None,
    ) -> Deferred[Any]:
        """Ask one target after the other.

        @param size: by which these are chosen.
        @param client: see L{forward}.
        @param made: takes the calls of the targets.
        @return: fires with the outcome, or the L{ClientError}.
        """
        steps = asking(self.target.each, size, timeout, self._reads(method), self._seconds)

        def do(step: tuple[int, float]) -> Deferred[Any]:
            call = DeferredCall(id, method, document, step[1], client=client)
            if made is not None:
                made.append(call)
            return self._links[step[0]].send(call)

        return _run(steps, do)

    def _ask_array(self, array: Array, timeout: float) -> Deferred[list[Any]]:
        """Ask the first target for many at once.

        @return: fires with the outcomes; empty: they have to be asked for one by one, and none has been run.
        """
        call = DeferredCall(array.ids[0], array.method, array.document, timeout)
        call.array = array

        def judge(found: Any) -> list[Any]:
            if isinstance(found, NotReachable):
                return []
            if isinstance(found, ClientError):
                return [found] * len(array.ids)
            self._takes_arrays = bool(found)
            return [advice.judged(self._first.target, array.method, outcome) for outcome in found]

        return self._first.send(call).addCallback(judge)


@inlineCallbacks
def _run(steps: "Steps[Any]", do: Callable[[Any], Deferred[Any]]) -> Any:
    """Run steps; see L{steps.run}."""
    try:
        step = next(steps)
        while True:
            step = steps.send((yield do(step)))
    except StopIteration as end:
        return end.value


def _all(waiting: list[Deferred[Any]]) -> Deferred[list[Any]]:
    """What all of them fire with. None of them fails, except that it is cancelled."""
    return DeferredList(waiting, consumeErrors=True).addCallback(lambda found: [value for _, value in found])


def _raised(outcome: Any) -> Any:
    """Fail with a fault or an error."""
    if isinstance(outcome, Fault | ClientError):
        raise outcome
    return outcome


def _link(target: Target, reactor: Any, max_reply: int, limit: int) -> Link:
    """How calls get to a target."""
    kinds: dict[str, type[Link]] = {"fifo": FifoLink, "tcp": TcpLink, "http": HttpLink, "https": HttpLink}
    return kinds.get(target.scheme, DatagramLink)(target, reactor, max_reply, limit)


def connect(
    target: Target | str,
    timeout: float = TIMEOUT,
    max_reply: int = MAX_REPLY,
    under_way: int = UNDER_WAY,
    reads: Callable[[str], bool] = only_reads,
    reactor: Reactor | None = None,
    read: Callable[[bytes], AnyReply] | None = None,
    patience: float = 0.0,
) -> Client:
    """A client. It opens what it needs with the first call.

    If the target has alternatives, a call that one cannot carry goes over the next, and so does one that has not got
    through. A call that may have been run goes there only if its method does not change anything.

    @param target: where the server is: a L{Target}, or text for L{parse_target}.
    @param timeout: seconds that a call may take, connecting and waiting for its turn included.
    @param max_reply: bytes of a reply above which it is given up.
    @param under_way: calls that are under way at a time over each of the targets; over TCP and HTTP that is the number
        of connections. Others wait for their turn.
    @param reads: says of a method whether it changes nothing, so that it may be run twice.
    @param reactor: default: Twisted's.
    @param read: reads the replies to what is forwarded, in place of L{jsonrpcs_tx.client.core.read_reply}.
    @param patience: seconds that a call forwarded for a client stays under way without anybody who waits, see L{Link}.
    @raise TargetError: the text is no target.
    """
    if reactor is None:
        from twisted.internet import reactor
    where = parse_target(target) if isinstance(target, str) else target
    return Client(where, timeout, max_reply, under_way, reads, reactor, read, patience)
