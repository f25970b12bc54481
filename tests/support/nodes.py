"""Servers behind a gateway, whose answers a test writes itself."""

import json
from collections.abc import Callable
from typing import Any, TypeAlias

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from tests.support import PATIENCE, http_request
from tests.support.http import HttpCase, Response
from tests.support.reactor import until

Answers: TypeAlias = Callable[[Any], bytes | None]


_listen: Any = reactor.listenUDP  # type: ignore[attr-defined] # every reactor has it


class Node(DatagramProtocol):
    """Answers over UDP what C{answers} makes of a request: a whole member such as C{b'"result":1.10'}, or nothing.

    @ivar target: where it is.
    @ivar requests: the documents that have come, without those of the gateway's own watching.
    @ivar silent: it answers nothing at all.
    @ivar uptime: what C{core.uptime} says.
    """

    def __init__(self, answers: Answers | None = None) -> None:
        self.answers: Answers = answers or (lambda request: b'"result":' + json.dumps(request.get("params")).encode())
        self.requests: list[bytes] = []
        self.silent = False
        self.uptime = 100
        self._askers: list[tuple[int, Any]] = []
        self._awaited: list[tuple[int, Deferred[None]]] = []
        self._port: Any = _listen(0, self, interface="127.0.0.1")
        self.target = f"udp:127.0.0.1:{self._port.getHost().port}"

    def stop(self) -> Any:
        return self._port.stopListening()

    async def received(self, count: int) -> None:
        """Wait until so many requests have come."""
        if len(self.requests) < count:
            waiting: Deferred[None] = Deferred()
            self._awaited.append((count, waiting))
            await waiting.addTimeout(PATIENCE, reactor)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if b'"method":' not in datagram:
            return  # a late reply to whoever had this port before
        request = json.loads(datagram)
        if request["method"] in ("core.uptime", "core.version"):
            member: bytes | None = b'"result":{"uptime":%d}' % self.uptime
            if request["method"] == "core.version":
                member = b'"result":"a node"'
        else:
            self.requests.append(datagram)
            self._askers.append((request["id"], addr))
            member = self.answers(request)
        if member is not None and not self.silent:
            self.answer(member, request["id"], addr)
        for count, waiting in self._awaited[:]:
            if len(self.requests) >= count:
                self._awaited.remove((count, waiting))
                waiting.callback(None)

    def answer_late(self, place: int, member: bytes) -> None:
        """Answer the request that came in that place."""
        self.answer(member, *self._askers[place])

    def answer(self, member: bytes, id: int, addr: Any) -> None:
        assert self.transport is not None
        whole = member if member.startswith(b"!") else b'{"jsonrpc":"2.0",%b,"id":%d}' % (member, id)
        self.transport.write(whole.removeprefix(b"!"), addr)


def request(method: str, params: str = "", id: str = "1") -> bytes:
    with_params = f'"params":{params},' if params else ""
    return f'{{"jsonrpc":"2.0","method":"{method}",{with_params}"id":{id}}}'.encode()


class GatewayCase(HttpCase):
    """A gateway, and nodes whose answers a test writes.

    @cvar groups: the nodes that there are, each with its options.
    """

    groups: dict[str, str] = {"a": "group=g", "b": "group=g", "c": ""}

    def setUp(self) -> None:
        super().setUp()
        self.nodes = {name: Node() for name in self.groups}
        for node in self.nodes.values():
            self.addCleanup(node.stop)

    def serve(self, **options: Any) -> None:
        written = [f"{name}={node.target} {self.groups[name]}" for name, node in self.nodes.items()]
        super().serve(**{"node": written, **options})

    @property
    def gateway(self) -> Any:
        return next(child for child in self.service if type(child).__name__ == "Gateway")

    async def up(self) -> None:
        """Wait until all nodes are seen to be up."""
        await until(lambda: all(node.watch.version for node in self.gateway.nodes.values()))

    async def post(self, path: str, document: bytes) -> Response:
        return await self.ask(http_request(document, path=path))

    def answer(self, answers: Answers, *names: str) -> None:
        for name in names or self.nodes:
            self.nodes[name].answers = answers
