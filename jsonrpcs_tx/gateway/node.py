"""One server behind the gateway, and its calls in progress."""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, gatherResults

from jsonrpcs_tx.client.deferred import connect
from jsonrpcs_tx.client.errors import BadReply, ClientError, NotReachable
from jsonrpcs_tx.client.underway import Call
from jsonrpcs_tx.gateway.answers import Answer, read_answer
from jsonrpcs_tx.gateway.changes import PATIENCE
from jsonrpcs_tx.gateway.definitions import Definition
from jsonrpcs_tx.gateway.faults import UNAVAILABLE, fault_of, not_asked
from jsonrpcs_tx.gateway.peers import ALONE, Peers
from jsonrpcs_tx.gateway.turns import OVER, Turns
from jsonrpcs_tx.gateway.watch import DOWN, Watch
from jsonrpcs_tx.rpc.callee import Cancellable
from jsonrpcs_tx.rpc.faults import NodeFault

_IN_ORDER: Final = frozenset(("unix", "udp", "fifo"))
"""Schemes of targets at which Kamailio answers one call after the other."""


class Node:
    """A server that calls are passed on to.

    @param definition: where it is.
    @param reactor: the reactor to use.
    @param interval: seconds between two checks of whether it runs.
    @param peers: the other gateways before it.
    @param spare: gives the seconds by which the interval may be longer; see L{Watch}.
    @ivar names: its own name, and those of its groups.
    @ivar watch: knows its state.
    @ivar under_way: number of calls in progress.
    """

    def __init__(
        self,
        definition: Definition,
        reactor: Any,
        interval: float,
        peers: Peers = ALONE,
        spare: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.definition = definition
        self.name: str = definition.name
        self.names: frozenset[str] = frozenset((definition.name, *definition.groups))
        self.under_way: int = 0
        self._reactor = reactor
        patience = definition.timeout or PATIENCE
        self._client = connect(definition.target, reactor=reactor, read=read_answer, patience=patience)
        # A way of its own, since a node is not down because many calls of it are under way.
        self._watching = connect(definition.target, reactor=reactor, read=read_answer)
        self._turns = Turns(
            reactor,
            self._send,
            self._carry,
            self._is_sent,
            name=self.name,
            cache=definition.cache,
            patience=patience,
        )
        refuse, target = self._turns.refuse, str(definition.target)
        self._in_order = len(definition.target.each) == 1 and definition.target.scheme in _IN_ORDER
        self.peers: Peers = peers
        self.watch: Watch = Watch(
            self.name, self._ask, reactor, interval, refuse, self._restarted, target, self._answers, self._came, spare
        )
        self._retired: Deferred[None] | None = None
        self._is_closed = False

    def call(self, method: str, params: bytes, seconds: float, client: Hashable = None) -> Deferred[Answer]:
        """Call a command of the node.

        @param params: JSON, an array or an object; empty: there are none.
        @param seconds: that it may take.
        @param client: anything that tells the client from others; None: nobody in particular.
        @return: fires with the answer, also where that is a fault. Fails with L{NodeFault} where there is none.
            Cancelling it calls off what has not been sent, and lets go of what has.
        """

        def tell(outcome: Answer | BaseException) -> None:
            if isinstance(outcome, Answer):
                waiting.callback(outcome)
            else:
                waiting.errback(outcome)

        waiting: Deferred[Answer] = Deferred(lambda _: asked.cancel())
        asked = self.ask(method, params, seconds, client, tell)
        return waiting

    def ask(
        self,
        method: str,
        params: bytes,
        seconds: float,
        client: Hashable,
        then: Callable[[Answer | BaseException], None],
        now: float | None = None,
    ) -> Cancellable:
        """The same without a Deferred, which would take longer than the rest.

        @param then: called once, perhaps before this returns, with the answer, or with what there is in place of one.
        @param now: the time, in seconds of the reactor; None: it is found out.
        @return: can be cancelled as L{call}.
        """
        if self.watch.state == DOWN:
            then(not_asked(self.name, f"Is Down: {self.watch.reason}"))
            return OVER
        self.under_way += 1
        if now is None:
            now = self._reactor.seconds()
        return self._turns.call(method, params, now + seconds, client, partial(self._ended, seconds, then), now)

    def retire(self) -> Deferred[None]:
        """Take no more calls; those in progress are finished.

        @return: fires with None when the last one has ended.
        """
        self.watch.stop()
        if not self.under_way:
            return self.close()
        if self._retired is None:
            self._retired = Deferred()
        return self._retired

    def close(self) -> Deferred[None]:
        """End all calls in progress.

        @return: fires with None when everything is closed.
        """
        self.watch.stop()
        self._is_closed = True
        self._turns.close()
        return gatherResults([self._client.close(), self._watching.close()]).addCallback(lambda _: None)

    def _send(self, method: str, params: bytes, seconds: float, client: Hashable) -> Deferred[Answer]:
        if self.watch.state == DOWN:  # it may have gone down while the call waited for its turn
            return fail(NotReachable(self.name, method, self.watch.reason))
        if self.peers is ALONE:
            return self._client.forward(method, params, seconds, client)
        return self.peers.send(self, method, params, seconds, client, partial(self._forward, client=client))

    def _forward(self, method: str, params: bytes, seconds: float, client: Hashable) -> Deferred[Answer]:
        """Send a change whose turn has come, unless the node was closed while it waited for other gateways."""
        if self._is_closed:
            return fail(NotReachable(self.name, method, "the gateway has closed it"))
        return self._client.forward(method, params, seconds, client)

    def _is_sent(self, asked: Deferred[Any]) -> bool:
        """Whether anything of a call may have been sent: with other gateways, that cannot be told."""
        return self.peers is not ALONE or self._client.is_sent(asked)

    def _came(self) -> None:
        self.peers.came(self)

    def _carry(self, call: Call, params: bytes) -> None:
        try:
            if self.watch.state == DOWN:  # it may have gone down while the call was shared
                raise NotReachable(self.name, call.method, self.watch.reason)
            self._client.carry(call, params)
        except Exception as error:  # whatever it is, somebody waits
            call.errback(error)

    def _restarted(self) -> None:
        self._turns.lose(BadReply(self.name, "", "it was restarted; the command may have been run"))
        self._client.settle()

    def _answers(self, asked: float) -> None:
        """The node has answered a check that it was sent at a time. What came before over a way that has one process is
        done: certainly with Kamailio, while other servers may have several processes, of which one may be at work.
        """
        if self._in_order:
            self._client.settle(asked)
            if self.watch.version.startswith("kamailio"):
                self._turns.settle(asked, BadReply(self.name, "", "it has answered later calls, but not this one"))

    def _ask(self, method: str, seconds: float) -> Deferred[Answer]:
        return self._watching.forward(method, b"", seconds)

    def _ended(
        self, seconds: float, then: Callable[[Answer | BaseException], None], outcome: Answer | BaseException
    ) -> None:
        """@param seconds: that the call had.
        @param then: is told the answer, or the fault that a client is told.
        """
        self.under_way -= 1
        is_stopping = self._is_closed  # before the last call of a retired node closes it
        if self._retired is not None and not self.under_way:
            retired, self._retired = self._retired, None
            self.close().chainDeferred(retired)
        if type(outcome) is Answer:
            self.watch.heard = True
            then(outcome)
        else:
            assert isinstance(outcome, BaseException)
            then(self._fault(outcome, seconds, is_stopping))

    def _fault(self, error: BaseException, seconds: float, is_stopping: bool) -> BaseException:
        """What a client is told of a call that has not been answered."""
        if isinstance(error, ClientError):
            if is_stopping:
                reason = "this server is stopping; the command may have been run"
                return NodeFault(UNAVAILABLE, f"Node {self.name} Gave No Answer Yet: {reason}", sent=True)
            self.watch.failed(error)
            fault = fault_of(self.name, error, seconds)
            fault.__cause__ = error
            return fault
        if isinstance(error, NodeFault) and error.sent:
            self.watch.failed(error)
        return error
