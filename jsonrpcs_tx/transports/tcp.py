"""Plain JSON over TCP, as newer Kamailio has it: a document, its reply, and the connection is closed."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Reply
from jsonrpcs_tx.transports.connections import Connections
from jsonrpcs_tx.transports.framing import Framer


@implementer(IHalfCloseableProtocol)
class TcpProtocol(Protocol, TimeoutMixin):
    """Answers the first document of a connection. What is unfinished when the client stops writing, or goes idle, is
    answered as it is. The client has C{http_timeout} to take the reply. Where its request ends a line, so does the
    reply: clients that send lines wait for one.

    @ivar factory: the L{TcpFactory} that made it.
    """

    factory: "TcpFactory"
    _reply: Deferred[Reply] | None = None
    used_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether a batch that has given way is being answered."""
        return self._reply is not None

    @property
    def idle(self) -> bool:
        """Whether nothing of a request has come."""
        return not (self.busy or self._framer.unfinished or self.transport.disconnecting)  # type: ignore[union-attr]

    def connectionMade(self) -> None:
        address = getattr(self.transport.getPeer(), "host", None)  # type: ignore[union-attr]
        self._origin = self.factory.dispatcher.origin("tcp", connection=id(self), address=address)
        self._framer = Framer(self.factory.settings.fifo_max_request)
        self.callLater = self.factory.reactor.callLater  # type: ignore[method-assign] # TimeoutMixin asks for it
        self.setTimeout(self.factory.settings.http_timeout)
        self.factory.connections.add(self)

    def dataReceived(self, data: bytes) -> None:
        self._answer(self._framer.feed(data), b"\n" if data.endswith(b"\n") else b"")

    def timeoutConnection(self) -> None:
        if self.transport.disconnecting:  # type: ignore[union-attr]
            self.factory.connections.cut_late(self)
        else:
            self.readConnectionLost()

    def readConnectionLost(self) -> None:
        """The client writes no more."""
        self._answer(self._framer.give_up())
        self.close()

    def writeConnectionLost(self) -> None:
        """Nothing to do: the connection is closed after the reply anyhow."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.setTimeout(None)
        self.factory.connections.discard(self)
        later, self._reply = self._reply, None
        if later is not None:
            later.cancel()

    def _answer(self, documents: list[bytes], end: bytes = b"") -> None:
        if documents and not self.busy and not self.transport.disconnecting:  # type: ignore[union-attr]
            reply = self.factory.dispatcher.dispatch(documents[0], self._origin)
            if type(reply) is Reply:
                self._send(reply, end)
            else:
                self.setTimeout(None)
                self._reply = reply
                reply.addCallback(self._send_late, end)

    def _send_late(self, reply: Reply, end: bytes) -> None:
        if self._reply is not None:  # the client has not gone
            self._reply = None
            self._send(reply, end)

    def _send(self, reply: Reply, end: bytes) -> None:
        self.transport.write(reply.body + end)  # type: ignore[union-attr]
        self.close()
        self.factory.connections.unread.add(self)

    def close(self) -> None:
        """Close the connection, once what is written has been sent, and after the reply that is to come."""
        if not self.busy and not self.transport.disconnecting:  # type: ignore[union-attr]
            self.setTimeout(self.factory.settings.http_timeout)
            self.transport.loseConnection()  # type: ignore[union-attr]

    def retire(self) -> None:
        """Close the connection, once what has come of a request is answered."""
        if self.idle:
            self.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abortConnection()  # type: ignore[union-attr]


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
        self.connections = Connections(settings.max_connections, reactor)

    def admits(self, address: object) -> bool:
        """Whether a connection from an address is taken: each is, and rules say what it may call."""
        return True

    def settings_changed(self, settings: Settings) -> None:
        """Take on these settings: C{max_connections} at once, others for connections that are opened from now on."""
        self.settings = settings
        self.connections.limit = settings.max_connections
