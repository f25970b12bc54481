"""The callees of a document that goes to nodes: one node, or many at once."""

from collections.abc import Callable, Generator, Hashable, Sequence
from functools import lru_cache, partial
from math import inf
from typing import Any, Final

import attrs
import msgspec
from msgspec import UNSET
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jsonrpcs_tx.access.auditentries import FAULT
from jsonrpcs_tx.access.roles import catalogued_effect
from jsonrpcs_tx.access.secrets import catalogued
from jsonrpcs_tx.catalogue import READ
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.faults import BAD_GATEWAY
from jsonrpcs_tx.gateway.node import Node
from jsonrpcs_tx.reactor.slices import Slices
from jsonrpcs_tx.rpc.call import Call
from jsonrpcs_tx.rpc.callee import Cancellable
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.rpc.envelope import Envelope, Request
from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.rpc.pending import take
from jsonrpcs_tx.rpc.registry import Command, command, commands_of
from jsonrpcs_tx.rpc.replies import SOME, Reply

MAX_METHOD: Final = 200
"""Characters of the longest method name that is passed on. The longest of Kamailio's is not half as long."""

NOT_PASSED_ON: Final = frozenset(("gateway.call", "fleet.call", "fleet.counters"))
"""Methods that are never passed on: this server's rules would not see what they call, and on which server."""

MAX_METHODS: Final = 4096
"""Number of methods that are remembered."""

MARGIN: Final = 0.1
"""The fraction of a call's time that is reserved for its reply, and the maximum of that in seconds. So the calls to
single nodes time out before the call that made them.
"""

MAX_OUTCOMES: Final = 16 * 1024 * 1024
"""Bytes that the results of many nodes may have together; any further result is dropped when it comes."""

MAX_NAMED: Final = 10
"""Nodes that are named where several are meant."""

MAX_TEXT: Final = 1000
"""Characters of the text of a fault that is kept until all nodes have answered."""

_TOO_LARGE: Final = (
    b'{"error":{"code":500,"message":"Not Shown: the results before this one take all %d bytes that are allowed"}}'
    % MAX_OUTCOMES
)


@attrs.frozen(eq=False)
class One:
    """A node.

    @ivar compact: what it answers is written without blanks, since it is laid out later.
    @ivar seconds: that its answer may take at most.
    @ivar is_one_of_many: see L{jsonrpcs_tx.rpc.callee.Callee}, as for C{keeps_time}.
    """

    node: Node
    clock: Any
    compact: bool = False
    seconds: float = inf
    is_one_of_many: bool = False
    keeps_time: bool = True

    def __str__(self) -> str:
        return f"node {self.node.name}"

    @property
    def each(self) -> tuple[frozenset[str]]:
        return (self.node.names,)

    def origin(self, origin: Origin) -> Origin:
        return msgspec.structs.replace(origin, callee=self, node=self.node.name, nodes=self.node.names)

    def command(self, method: str) -> Command | None:
        return _command(method) if len(method) <= MAX_METHOD else None

    def answer(self, call: Call) -> Deferred[Reply]:
        """Pass a call on; see L{ask}."""
        assert call.deadline is not None
        asked: Deferred[Any] = Deferred(lambda _: asking.cancel())
        asking = self.ask(call.request, call.deadline, call.origin.client, partial(_fire, asked))
        return asked.addCallback(self.reply, call.request)

    def ask(
        self, request: Request, deadline: float, client: Hashable, answered: Callable[[Answer | BaseException], None]
    ) -> Cancellable:
        params = request.params
        raw = b"" if params is UNSET else bytes(params)  # type: ignore[arg-type] # it was read to be passed on
        now = self.clock.seconds()
        left = deadline - now
        seconds = min(self.seconds, left - (MARGIN if left > 1 else left * MARGIN))
        return self.node.ask(request.method, raw, seconds, client, answered, now)

    def reply(self, answer: Answer, request: Request) -> Reply:
        result = answer.result
        if result is not None:
            written = self._written(result) if self.compact else result
            return Reply(Envelope.passed_on(b"result", written, request.id))
        fault = answer.fault
        assert fault is not None
        assert answer.error is not None
        error = self._written(answer.error) if self.compact else answer.error
        body = Envelope.passed_on(b"error", error, request.id)
        return Reply(body, fault.code, fault.text, fault=True, outcome=FAULT)

    def _written(self, json: bytes) -> bytes:
        """JSON without blanks."""
        return msgspec.json.format(json, indent=-1)


@attrs.frozen(eq=False)
class Many:
    """Several nodes at once. The result is an object that maps the name of each node to its outcome.

    @ivar members: the nodes.
    @ivar slices: in which calls are sent.
    @ivar quorum: number of results after which the reply is given; calls that have been sent go on. None: the reply is
        given when all have answered.
    """

    members: Sequence[One]
    dispatcher: Dispatcher
    slices: Slices
    quorum: int | None = None
    is_one_of_many: bool = False
    keeps_time: bool = False

    def __str__(self) -> str:
        names = [member.node.name for member in self.members]
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        return f"node{'' if len(names) == 1 else 's'} {', '.join(names[:MAX_NAMED])}{more}"

    @property
    def each(self) -> Sequence[frozenset[str]]:
        return [member.node.names for member in self.members]

    def origin(self, origin: Origin) -> Origin:
        return msgspec.structs.replace(origin, callee=self)

    def command(self, method: str) -> Command | None:
        return _command(method, "many") if len(method) <= MAX_METHOD else None

    def answer(self, call: Call) -> Deferred[Reply]:
        """Pass a call on to each.

        @return: fires with the whole reply.
        """
        return _Asking(self, call).begin()

    def ask(
        self,
        request: Request,
        deadline: float,
        client: Hashable,
        answered: Callable[[Any], None],
    ) -> Cancellable:
        raise NotImplementedError("many nodes are asked by answer")

    def reply(self, answer: Any, request: Request) -> Reply:
        raise NotImplementedError("many nodes are asked by answer")


class _Asking:
    """A call of many nodes in progress."""

    def __init__(self, many: Many, call: Call) -> None:
        self._many = many
        self._call = call
        self._outcomes: dict[int, Reply] = {}  # without their bodies
        self._written: dict[int, bytes] = {}
        self._size = 0
        self._waiting: dict[int, Deferred[Reply]] = {}
        self._results = 0
        self._reply: Deferred[Reply] | None = Deferred(self._cancel)

    def begin(self) -> Deferred[Reply]:
        """Ask, and wait; see L{Many.answer}."""
        reply = self._reply
        assert reply is not None
        self._many.slices.run(self._ask()).addErrback(self._fail)
        return reply

    def _ask(self) -> Generator[None, None, None]:
        """Ask one node after the other, for as long as the outcomes are wanted."""
        many, call = self._many, self._call
        origin = msgspec.structs.replace(call.origin.fixed(), deadline=call.deadline)
        for place, member in enumerate(many.members):
            if self._reply is None:
                return
            outcome = many.dispatcher.answer(call.request, member.origin(origin))
            if type(outcome) is Reply:
                self._take(place, outcome)
            else:
                self._waiting[place] = outcome
                take(outcome, partial(self._take, place))
            yield
        self._end()

    def _fail(self, failure: Failure) -> None:
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.errback(failure)

    def _take(self, place: int, outcome: Reply) -> None:
        self._waiting.pop(place, None)
        if self._reply is None:
            return
        written = Envelope.outcome(outcome.body, self._call.request.id) if outcome.body else b"{}"
        self._size += len(written)
        self._written[place] = written if self._size <= MAX_OUTCOMES else _TOO_LARGE
        self._outcomes[place] = Reply(b"", outcome.code, outcome.text[:MAX_TEXT], outcome.fault, outcome.outcome)
        self._results += not outcome.fault
        self._end()

    def _end(self) -> None:
        """Reply if enough have answered."""
        many = self._many
        enough = many.quorum is not None and self._results >= many.quorum
        if self._reply is not None and (enough or len(self._outcomes) == len(many.members)):
            reply, self._reply = self._reply, None
            reply.callback(self._joined(enough))

    def _joined(self, enough: bool) -> Reply:
        names = (msgspec.json.encode(member.node.name) for member in self._many.members)
        parts = [b"%b:%b" % (name, self._written[place]) for place, name in enumerate(names) if place in self._written]
        body = Envelope.passed_on(b"result", b"{%b}" % b",".join(parts), self._call.request.id)
        if enough or self._results == len(self._many.members):
            return Reply(body)
        if self._results:
            return Reply(body, SOME, "Multi-Status")
        codes = {(outcome.code, outcome.text, outcome.outcome) for outcome in self._outcomes.values()}
        if len(codes) == 1:
            (code, text, how) = codes.pop()
            return Reply(body, code, text, fault=True, outcome=how)
        return Reply(body, BAD_GATEWAY, f"None Of {len(self._many.members)} Nodes Gave A Result", fault=True)

    def _cancel(self, _: object) -> None:
        self._reply = None
        for waiting in list(self._waiting.values()):
            waiting.cancel()


def _fire(waiting: Deferred[Any], outcome: Any) -> None:
    if isinstance(outcome, BaseException):
        waiting.errback(outcome)
    else:
        waiting.callback(outcome)


def _is_passed_on(method: str) -> bool:
    """Whether nodes are asked for a method. Control characters are in no name, but Kamailio drops null characters, so
    that C{core.k\\0ill} would be C{core.kill} there and another method for rules, turns and the audit log here.
    """
    return method.isprintable() and method not in NOT_PASSED_ON


@command("gateway.pass_on")
def _pass_on(call: Call) -> Deferred[Reply]:
    """Passes a call on to its nodes."""
    callee: Any = call.origin.callee
    answered: Deferred[Reply] = callee.answer(call)
    return answered


_PASS_ON: Final = commands_of(_pass_on)[0]


@lru_cache(MAX_METHODS)
def _command(method: str, how: str = "one") -> Command | None:
    """The command that passes a method on; None: nodes are not asked for it. The catalogue says whether it changes
    something, and which of its parameters are secret. A call of many nodes itself changes nothing: the calls of single
    nodes that it makes do.
    """
    if not _is_passed_on(method):
        return None
    changes = how == "one" and catalogued_effect(method) != READ
    return attrs.evolve(_PASS_ON, name=method, changes=changes, concealment=catalogued(method))
