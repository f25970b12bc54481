"""Plain JSON over TCP, as in newer versions of Kamailio: a document, its reply, and the connection is closed."""

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from jsonrpcs_tx.config.kinds import network_address
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Reply
from jsonrpcs_tx.transports.connections import Connections
from jsonrpcs_tx.transports.framing import Framer
from jsonrpcs_tx.transports.parts import Parts
from jsonrpcs_tx.transports.stream import StreamService

_log = make_logger(__name__)


@implementer(IHalfCloseableProtocol)
class TcpProtocol(Protocol, TimeoutMixin):
    """Answers the first document of a connection. A document that is still unfinished when the client stops writing, or
    goes idle, is answered as far as it has arrived. The client has C{http_timeout} to take the reply. If its request
    ends with a line feed, so does the reply: clients that send lines wait for one.

    @ivar factory: the L{TcpFactory} that made it.
    """

    factory: "TcpFactory"
    _reply: Deferred[Reply] | None = None
    used_at: float = 0.0

    @property
    def busy(self) -> bool:
        """Whether a request is still being answered: a batch that has given way."""
        return self._reply is not None

    @property
    def idle(self) -> bool:
        """Whether no request is being answered, and no part of one has arrived."""
        return not (self.busy or self._framer.unfinished or self.transport.disconnecting)  # type: ignore[union-attr]

    def connectionMade(self) -> None:
        self.forget_caller()
        self._framer = Framer(self.factory.settings.fifo_max_request)
        self.callLater: Any = self.factory.reactor.callLater  # TimeoutMixin asks for it
        self.setTimeout(self.factory.settings.http_timeout)
        self.factory.connections.add(self)

    def forget_caller(self) -> None:
        """Recreate the origin of the requests, with the facts that the rules now ask for."""
        peer = self.transport.getPeer()  # type: ignore[union-attr]
        self._origin = self.factory.dispatcher.origin(
            "tcp",
            connection=id(self),
            address=getattr(peer, "host", None),
            port=getattr(peer, "port", None),
            connected=self._is_connected,
        )

    def _is_connected(self) -> bool:
        return bool(self.connected)

    def dataReceived(self, data: bytes) -> None:
        self._answer(self._framer.feed(data), b"\n" if data.endswith(b"\n") else b"")

    def timeoutConnection(self) -> None:
        if self.transport.disconnecting:  # type: ignore[union-attr]
            self.factory.connections.cut_late(self)
        else:
            peer, seconds = self.transport.getPeer(), self.factory.settings.http_timeout  # type: ignore[union-attr]
            _log.debug("tcp: {peer} was idle for {seconds:g} s; closed", peer=peer, seconds=seconds)
            self.readConnectionLost()

    def readConnectionLost(self) -> None:
        """The client has closed its sending side."""
        self._answer(self._framer.give_up())
        self.close()

    def writeConnectionLost(self) -> None:
        """Nothing to do: the connection is closed after the reply anyway."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.connected = 0
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
        """Close the connection, once the reply, if there will be one, has been sent."""
        if not self.busy and not self.transport.disconnecting:  # type: ignore[union-attr]
            self.setTimeout(self.factory.settings.http_timeout)
            self.transport.loseConnection()  # type: ignore[union-attr]

    def retire(self) -> None:
        """Close the connection, after the reply to a request that has begun to arrive."""
        if self.idle:
            self.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abortConnection()  # type: ignore[union-attr]


class TcpFactory(Factory):
    """Makes the protocols.

    @param settings: C{fifo_max_request}, C{http_timeout} and C{max_connections} are used.
    @param dispatcher: answers the documents.
    """

    protocol: Any = TcpProtocol  # it names its factory
    noisy = False

    def __init__(self, settings: Settings, dispatcher: Dispatcher, reactor: Any) -> None:
        self.settings: Settings = settings
        self.dispatcher = dispatcher
        self.reactor = reactor
        self.connections: Connections = Connections(settings.max_connections, reactor)

    def admits(self, address: object) -> bool:
        """Whether a connection from an address is accepted: all are, and rules say what they may call."""
        return True

    def settings_changed(self, settings: Settings) -> None:
        """Apply C{max_connections} at once, and the other settings to new connections."""
        self.settings = settings
        self.connections.limit = settings.max_connections


def make_transports(parts: Parts) -> Iterator[StreamService]:
    """The service for C{tcp_socket}, if that is set."""
    settings, dispatcher, reactor = parts.settings, parts.dispatcher, parts.reactor
    if settings.tcp_socket:
        endpoint = settings.tcp_socket  # of a socket that systemd passes
        address = network_address("tcp", endpoint)
        if address is not None:
            host, port = address
            kind = "tcp6" if ":" in host else "tcp"
            endpoint = f"{kind}:{port}:interface={host}".replace("::", "\\:\\:")
        factory = TcpFactory(settings, dispatcher, reactor)
        yield StreamService("tcp_socket", endpoint, "tcp", factory, dispatcher.access, reactor)
