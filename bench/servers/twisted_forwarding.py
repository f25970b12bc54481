"""What passing calls on takes with Twisted's own transports, without a server: see C{forwarding_loop.py}.

python twisted_forwarding.py HTTP_PORT HTTPS_PORT PEM NODE
"""

import socket
import sys
from collections import deque
from contextlib import suppress
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.endpoints import serverFromString
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from zope.interface import implementer

from bench.servers.forwarding_loop import CALL, HEAD, PARAMS, ROOM

reactor = cast(EPollReactor, installed)


@implementer(IReadDescriptor)
class Node:
    """The link to the node."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(b"")
        self._socket.connect(path)
        self._socket.setblocking(False)
        self._asked: dict[int, Any] = {}
        self._waiting: deque[tuple[Any, bytes]] = deque()
        self._id = 0
        self.fileno: Any = self._socket.fileno

    def ask(self, client: Any, params: bytes) -> None:
        """Call core.echo for a client, now or when there is room."""
        if len(self._asked) == ROOM:
            self._waiting.append((client, params))
            return
        self._id += 1
        self._asked[self._id] = client
        self._socket.send(CALL % (params, self._id))

    def doRead(self) -> None:
        answers = []
        with suppress(BlockingIOError):
            while self._asked:
                outcome, _, id = self._socket.recv(65_536).rpartition(b',"id":')
                answers.append((self._asked.pop(int(id.rstrip(b"}\n"))), b'%b,"id":1}' % outcome))
        while self._waiting and len(self._asked) < ROOM:
            self.ask(*self._waiting.popleft())
        for client, body in answers:
            client.write(HEAD % (len(body), body))

    def connectionLost(self, reason: object) -> None:
        """The reactor has stopped."""

    def logPrefix(self) -> str:
        return "node"


class Client(Protocol):
    """A connection."""

    node: Node

    def dataReceived(self, data: bytes) -> None:
        params = data[data.index(PARAMS) + len(PARAMS) : data.rindex(b',"id":')]
        self.node.ask(self.transport, params)


def main() -> None:
    """Pass calls on until it is killed."""
    http, https, pem, path = sys.argv[1:]
    Client.node = Node(path)
    cast(Any, reactor).addReader(Client.node)
    factory = Factory.forProtocol(Client)
    serverFromString(reactor, f"tcp:{http}:interface=127.0.0.1").listen(factory)
    cast(Any, reactor).listenSSL(int(https), factory, DefaultOpenSSLContextFactory(pem, pem), interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main()
