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

    def connectionMade(self) -> None:
        address = getattr(self.transport.getPeer(), "host", None)  # type: ignore[union-attr]
        self._origin = self.factory.dispatcher.origin("tcp", address=address)
        self._framer = Framer(self.factory.max_request)
        self.callLater = self.factory.reactor.callLater  # type: ignore[method-assign] # TimeoutMixin asks for it
        self.setTimeout(self.factory.timeout)
        self.factory.connections.add(self)

    def dataReceived(self, data: bytes) -> None:
        self.resetTimeout()
        self._answer(self._framer.feed(data))

    def timeoutConnection(self) -> None:
        self._answer(self._framer.give_up())
        self._close()

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
            self._close()

    def _close(self) -> None:
        self.setTimeout(None)
        self.transport.loseConnection()  # type: ignore[union-attr]


class TcpFactory(Factory):
    """Makes the protocols.

    @param dispatcher: answers the documents.
    @param max_request: bytes of a document above which it is given up.
    @param timeout: seconds after which an idle connection is closed.
    """

    protocol = TcpProtocol  # type: ignore[assignment] # it names its factory
    noisy = False

    def __init__(self, dispatcher: Dispatcher, max_request: int, timeout: float, reactor: Any) -> None:
        self.dispatcher = dispatcher
        self.max_request = max_request
        self.timeout = timeout
        self.reactor = reactor
        self.connections = Connections()

    def settings_changed(self, settings: Settings) -> None:
        """Take on C{fifo_max_request} and C{http_timeout}, for connections that are opened from now on."""
        self.max_request = settings.fifo_max_request
        self.timeout = settings.http_timeout
