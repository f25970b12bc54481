"""How many connections are accepted before others get their turn."""

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from jsonrpcs_tx.transports.accepting import MAX_ACCEPTED, Acceptor
from jsonrpcs_tx.transports.connections import Connections


class AcceptorTests(TestCase):
    async def test_few_at_once(self) -> None:
        """Of a crowd that waits, only some are accepted in a turn of the reactor, however long it keeps coming."""
        accepted: list[Protocol] = []

        class Accepted(Protocol):
            def connectionMade(self) -> None:
                accepted.append(self)

        factory: Any = Factory.forProtocol(Accepted)
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1", backlog=500)
        self.addCleanup(port.stopListening)
        port.stopReading()
        acceptor = Acceptor(port, "tcp:0:backlog=500", Connections(1000, reactor), reactor)
        clients = [socket.create_connection(("127.0.0.1", port.getHost().port)) for _ in range(MAX_ACCEPTED * 5)]
        for turn in range(1, 6):
            port.doRead()
            assert len(accepted) == turn * MAX_ACCEPTED
        acceptor.close()
        for client in clients:
            client.close()
        for protocol in accepted:
            assert protocol.transport is not None
            protocol.transport.abortConnection()  # type: ignore[attr-defined] # it is one of TCP
