"""The short way of a call that is passed on, and the general one: they give the same replies, byte for byte."""

import json
from collections.abc import Hashable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from jsonrpcs_tx import Dispatcher, Registry
from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.client.errors import BadReply, NotReachable, TimedOut
from jsonrpcs_tx.client.underway import Call, DeferredCall
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.gateway.answers import read_answer
from jsonrpcs_tx.gateway.callees import One
from jsonrpcs_tx.gateway.gateway import Gateway
from jsonrpcs_tx.rpc.envelope import DIALECTS
from jsonrpcs_tx.rpc.measures import BITS
from jsonrpcs_tx.rpc.measuring import MeasuringDispatcher
from jsonrpcs_tx.rpc.origin import Peer
from jsonrpcs_tx.rpc.replies import Reply

ANSWERS = (
    b'{"jsonrpc":"2.0","result":{"b" : 1.50, "a":[1e400,"\\u00e9"]},"id":1}',
    b'{"id":1,"result":null}',
    b'{"jsonrpc":"2.0","error":{"code":404,"message":"Not Found","data":[1.0]},"id":1}',
    b'{"jsonrpc":"2.0","error":{"code":-32601,"message":"x"},"id":1,"result":null}',
)
ERRORS = (NotReachable, TimedOut, BadReply)
ENDS = [*ANSWERS, *ERRORS, "cancel", "raise", "at once"]

ids = st.one_of(st.none(), st.integers(), st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False))
params = st.sampled_from(["", ',"params":[]', ',"params":[1.50, "x"]', ',"params":{"b":1e400}', ',"params":7'])
methods = st.sampled_from(
    ["core.echo", "core.uptime", "dispatcher.add", "dispatcher.reload", "x", "gateway.call", "a\\u0000"]
)


@attrs.define
class Sender:
    """The client of a node, in whose place a test answers.

    @ivar how: what comes of every call.
    """

    how: Any = None
    calls: list[Any] = attrs.field(factory=list)

    def carry(self, call: Call, params: bytes) -> None:
        if self.how == "raise":
            raise ZeroDivisionError
        call.link = self
        self.calls.append(call)
        if self.how == "at once":
            call.callback(read_answer(ANSWERS[0]))

    def forward(self, method: str, params: bytes, seconds: float, client: Hashable) -> Any:
        call = DeferredCall(1, method, b"", seconds, raises=True, client=client)
        self.carry(call, params)
        return call

    def is_sent(self, asked: Any) -> bool:
        return asked in self.calls

    def drop(self, call: Call) -> None:
        """Nobody wants the answer."""

    def end(self) -> None:
        """Answer all calls, and those that follow; a node that times out does so once, since no time passes."""
        for _ in range(20):
            if not self.calls:
                return
            call = self.calls.pop(0)
            if isinstance(self.how, bytes):
                call.callback(read_answer(self.how))
            elif isinstance(self.how, type):
                call.errback(self.how("unix:/x", call.method, "whatever"))
                self.how = BadReply if self.how is TimedOut else self.how


class Way:
    """A gateway with one node, whose calls go one of the ways.

    @param around: whether there is a function around every call, so that the general way is taken.
    """

    def __init__(self, dialect: str, pretty: bool, around: bool) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.dispatcher = Dispatcher(Registry(), self.clock, dialect=DIALECTS[dialect], pretty_format=pretty)
        if around:
            self.dispatcher.around(lambda call, proceed: proceed())
        settings = Settings(node=["n=unix:/nothing"], pretty_format=int(pretty))
        self.gateway = Gateway(settings, self.dispatcher, self.clock)
        self.node = self.gateway.nodes["n"]
        self.sender = Sender()
        self.node._client = self.sender  # type: ignore[assignment]
        peer = Peer(Caller("http", "192.0.2.1"))
        origin = self.dispatcher.origin("http", asynchronous=True, address="192.0.2.1", find_peer=lambda: peer)
        self.origin = self.gateway.callee("n").origin(origin)

    def replies(self, document: bytes, how: Any) -> list[Any]:
        """What a document is answered, and what is counted."""
        self.sender.how = how
        found: list[Any] = []
        reply: Any = self.dispatcher.dispatch(document, self.origin)
        if isinstance(reply, Reply):
            found.append(reply)
        else:
            reply.addCallback(found.append)
            if how == "cancel":
                reply.cancel()
            self.sender.end()
        self.clock.advance(0)
        self.clock.advance(120)  # a change that was let go of keeps its turn for a while
        assert self.dispatcher.delayed.slots.taken == 0
        assert self.node.under_way == 0
        counters = {(one.group, one.name): one.read() for one in self.dispatcher.counters.all()}
        return [*found, counters]


@given(
    requests=st.lists(st.tuples(methods, params, ids, st.booleans()), min_size=1, max_size=4),
    single=st.booleans(),
    dialect=st.sampled_from(["kamailio", "jsonrpc2"]),
    pretty=st.booleans(),
    how=st.sampled_from(ENDS),
)
def test_same(requests: list[Any], single: bool, dialect: str, pretty: bool, how: Any) -> None:
    """Single calls and batches are answered with the same bytes, and counted the same, whichever way they take,
    whatever comes of them; and nothing is left in progress.
    """
    parts = [
        f'{{"jsonrpc":"2.0","method":"{method}"{given}{"" if bare else f",{chr(34)}id{chr(34)}:{json.dumps(id)}"}}}'
        for method, given, id, bare in requests
    ]
    document = (parts[0] if single else f"[{','.join(parts)}]").encode()
    short = Way(dialect, pretty, around=False).replies(document, how)
    assert len(short) == 2
    assert Way(dialect, pretty, around=True).replies(document, how) == short


def test_sending_that_fails() -> None:
    """If sending raises, the call is answered with an internal error, and nothing of it is left."""
    way = Way("kamailio", pretty=False, around=False)
    document = b'{"jsonrpc":"2.0","method":"core.echo","id":1}'
    for _ in range(3):
        reply, _ = way.replies(document, "raise")
        assert reply.code == -32603
    reply, _ = way.replies(document, ANSWERS[1])
    assert reply.body == b'{"jsonrpc":"2.0","result":null,"id":1}'


def test_answer_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """If an answer cannot be made a reply, its client gets an internal error; the link, which others use, gets none."""

    def fail(one: One, json: bytes) -> bytes:
        raise RecursionError

    monkeypatch.setattr(One, "_written", fail)
    document = b'{"jsonrpc":"2.0","method":"core.echo","id":1}'
    for around in (False, True):
        reply, _ = Way("kamailio", pretty=True, around=around).replies(document, ANSWERS[0])
        assert reply.code == -32603


def test_each_is_measured() -> None:
    """Each call of a node is measured, also those after some that are answered at once."""
    clock = Clock()
    dispatcher = MeasuringDispatcher(Registry(), clock)
    gateway = Gateway(Settings(node=["n=unix:/nothing"]), dispatcher, clock)
    node = gateway.nodes["n"]
    node._client = sender = Sender()  # type: ignore[assignment]
    peer = Peer(Caller("http", "192.0.2.1"))
    origin = dispatcher.origin("http", asynchronous=True, address="192.0.2.1", find_peer=lambda: peer)
    origin = gateway.callee("n").origin(origin)
    row = dispatcher.measures.nodes["n"]
    for number in range(20):
        sender.how = "at once" if number % 5 else ANSWERS[1]
        dispatcher.dispatch(b'{"jsonrpc":"2.0","method":"core.echo","params":[%d],"id":1}' % number, origin)
        sender.end()
        assert sum(row[:BITS]) == number + 1
