"""Plain JSON over TCP, as newer Kamailio has it: a document, its reply, and the connection is closed."""

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from jsonrpcs_tx.dispatcher import Dispatcher, Reply
from jsonrpcs_tx.settings import Settings
from jsonrpcs_tx.transports.framing import Framer
from jsonrpcs_tx.transports.stream import Connections


@implementer(IHalfCloseableProtocol)
class TcpProtocol(Protocol, TimeoutMixin):
    """Answers the first document of a connection. What is unfinished when the client stops writing, or goes idle, is
    answered as it is.

    @ivar factory: the L{TcpFactory} that made it.
    """

    factory: "TcpFactory"
    busy = False

    def connectionMade(self) -> None:
        address = getattr(self.transport.getPeer(), "host", None)  # type: ignore[union-attr]
        self._origin = self.factory.dispatcher.origin("tcp", address=address)
        self._framer = Framer(self.factory.settings.fifo_max_request)
        self.callLater = self.factory.reactor.callLater  # type: ignore[method-assign] # TimeoutMixin asks for it
        self.setTimeout(self.factory.settings.http_timeout)
        self.factory.connections.add(self)

    def dataReceived(self, data: bytes) -> None:
        self._answer(self._framer.feed(data))

    def timeoutConnection(self) -> None:
        self._answer(self._framer.give_up())
        self.close()

    def readConnectionLost(self) -> None:
        """The client writes no more."""
        self.timeoutConnection()

    def writeConnectionLost(self) -> None:
        """Nothing to do: the connection is closed after the reply anyhow."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.setTimeout(None)
        self.factory.connections.discard(self)

    def _answer(self, documents: list[bytes]) -> None:
        if documents and not self.transport.disconnecting:  # type: ignore[union-attr]
            reply = self.factory.dispatcher.dispatch(documents[0], self._origin)
            assert type(reply) is Reply  # the origin is not asynchronous
            self.transport.write(reply.body)  # type: ignore[union-attr]
            self.close()

    def close(self) -> None:
        """Close the connection, once what is written has been sent."""
        self.setTimeout(None)
        self.transport.loseConnection()  # type: ignore[union-attr]


class TcpFactory(Factory):
    """Makes the protocols.

    @param settings: of them C{fifo_max_request}, C{http_timeout} and C{max_connections} count.
    @param dispatcher: answers the documents.
    """

    protocol = TcpProtocol  # type: ignore[assignment] # it names its factory
    noisy = False

    def __init__(self, settings: Settings, dispatcher: Dispatcher, reactor: Any) -> None:
        self.settings = settings
        self.dispatcher = dispatcher
        self.reactor = reactor
        self.connections = Connections(settings.max_connections)

    def settings_changed(self, settings: Settings) -> None:
        """Take on these settings, for connections that are opened from now on."""
        self.settings = settings
        self.connections.limit = settings.max_connections
