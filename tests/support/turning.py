"""Calls to a node of the gateway that wait for their turn, where the test is the node."""

import json
from collections.abc import Callable, Hashable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jsonrpcs_tx.client.underway import Call, Detour
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.turns import Turns
from jsonrpcs_tx.rpc.callee import Cancellable
from jsonrpcs_tx.rpc.faults import Fault


@attrs.define(eq=False)
class Sent:
    """A call that has been sent to a node.

    @ivar waiting: fires with the answer.
    @ivar dropped: whether nobody wants the answer any more.
    @ivar is_sent: whether the node had room for it.
    """

    method: str
    params: bytes
    seconds: float
    at: float
    waiting: Deferred[Answer] = attrs.field(init=False)
    dropped: bool = False
    client: Hashable = None
    is_sent: bool = True

    def __attrs_post_init__(self) -> None:
        self.waiting = Deferred(lambda _: setattr(self, "dropped", True))

    @property
    def open(self) -> bool:
        """Whether it has not been answered."""
        return not self.waiting.called

    def answer(self, result: Any = "ok") -> Answer:
        """Answer it with a result."""
        answer = Answer(json.dumps(result).encode())
        self.waiting.callback(answer)
        return answer

    def refuse(self, code: int, text: str) -> Answer:
        """Answer it with a fault."""
        answer = fault(code, text)
        self.waiting.callback(answer)
        return answer


def fault(code: int, text: str) -> Answer:
    """A fault as a node answers it."""
    return Answer(None, json.dumps({"code": code, "message": text}).encode(), Fault(code, text))


class Node:
    """A node that is told what to answer, and the turns of the calls to it.

    @ivar sent: all calls that have been sent, in order.
    @ivar has_room: whether there is room for what is sent from now on.
    """

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1000)  # it need not begin at 0
        self.sent: list[Sent] = []
        self.has_room = True
        self.turns = Turns(self.clock, self.send, self.carry, self.is_sent, name="n", **options)

    def send(self, method: str, params: bytes, seconds: float, client: Hashable = None) -> Deferred[Answer]:
        sent = Sent(method, params, seconds, self.clock.seconds(), client=client, is_sent=self.has_room)
        self.sent.append(sent)
        return sent.waiting

    def carry(self, call: Call, params: bytes) -> None:
        Detour(self.send(call.method, params, call.seconds, call.client), call)

    def is_sent(self, asked: Deferred[Answer]) -> bool:
        return next(sent.is_sent for sent in self.sent if sent.waiting is asked)

    def call(self, method: str, params: bytes = b"", seconds: float = 10, client: Hashable = None) -> "Outcome":
        """Make a call that has so many seconds."""
        outcome = Outcome()
        outcome.waiting = self.turns.call(method, params, self.clock.seconds() + seconds, client, outcome.take)
        return outcome

    @property
    def open(self) -> list[Sent]:
        """What has been sent and not answered."""
        return [sent for sent in self.sent if sent.open]

    @property
    def methods(self) -> list[str]:
        """What has been sent."""
        return [sent.method for sent in self.sent]


class Outcome:
    """What comes of a call.

    @ivar found: the answer or the error, and what comes after that, which must not be.
    @ivar then: called with it.
    @ivar waiting: the call, which can be cancelled.
    """

    waiting: Cancellable

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.then: Callable[[Any], object] = lambda outcome: None

    def take(self, outcome: Any) -> None:
        self.found.append(outcome)
        self.then(outcome)

    @property
    def text(self) -> str:
        """The only outcome, in words; empty: there is no outcome yet."""
        if not self.found:
            return ""
        (found,) = self.found
        return (found.result or found.error or b"").decode() if isinstance(found, Answer) else str(found)
