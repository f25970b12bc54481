"""The direct path of TLS: what a connection ordinarily does, without detours.

It takes the handshake of a connection. Then it takes data that is exactly one record: one call decrypts it, and OpenSSL
is not asked for more in vain. And it takes writes that fit in one record, while nothing else waits to be written: they
are encrypted and sent at once. Alerts, records in pieces, errors and closing are left to Twisted, and so is every write
while another waits. What they give is sent at once as well, but for the tickets that end a handshake of TLS 1.3: they
go with what is sent first.
"""

from collections.abc import Callable
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from jsonrpcs_tx.reactor.atonce import sender
from jsonrpcs_tx.transports.tlsrecords import (
    HEADER,
    MAX_PLAIN,
    MAX_RECORD,
    collect,
    decrypt,
    encrypt,
    receive,
    shake_hands,
)
from jsonrpcs_tx.transports.tlstransport import TlsTransport
from jsonrpcs_tx.transports.twistedprivates import tls_creator

_APPLICATION_DATA = 23
_LOST: Final = Failure(CONNECTION_LOST)

_provided: Final[dict[type, Any]] = {}
"""What transports provide that are below TLS, by their class, as C{zope.interface} keeps it for an object."""


class DirectTlsTransport(TlsTransport):
    """TLS with the direct path.

    @ivar _due: bytes still to come of a record that has begun to arrive; -1 once that is unknown.
    @ivar _finishes: the data that is being read may complete the handshake, and nothing is to be sent then.
    @ivar _tickets: there may be tickets that have not been sent.
    """

    _due = 0
    _finishes = False
    _tickets = True
    _send: Callable[[bytes], None]
    __provides__: Any

    def makeConnection(self, transport: Any) -> None:
        """Wait for the client to begin.

        Twisted would begin a handshake, in vain, and declare the interfaces of each transport again.
        """
        self._send = sender(transport)
        create = tls_creator(self.factory)
        if create is None:
            super().makeConnection(transport)
            return
        self._tlsConnection = create(self)
        self._appSendBuffer: list[bytes] = []
        if type(transport) not in _provided:
            directlyProvides(self, providedBy(transport))
            _provided[type(transport)] = vars(self)["__provides__"]
        self.__provides__ = _provided[type(transport)]
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)
        self.wrappedProtocol.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        if not (self._handshakeDone or self._aborted):
            self._shake_hands(data)
            return
        whole = self._due == 0 and len(data) == HEADER + int.from_bytes(data[3:HEADER], "big")
        if not whole or data[0] != _APPLICATION_DATA or self._aborted or self._appSendBuffer:
            self._follow(data)
            super().dataReceived(data)
            return
        plain = decrypt(self._tlsConnection, data)
        if plain is None:
            self._flushReceiveBIO()  # meets the same error, and handles it
        else:
            self.wrappedProtocol.dataReceived(plain)

    def _shake_hands(self, data: bytes) -> None:
        """Go on with the handshake. What has come behind it is received as well."""
        self._follow(data)
        try:
            self._handshakeDone = shake_hands(self._tlsConnection, data)
        except SSL.Error:
            self._tlsShutdownFinished(Failure())
            return
        if not self._handshakeDone:
            self._flushSendBIO()
            return
        self._refuse_expired()
        self._finishes = not self._appSendBuffer
        if self._appSendBuffer:
            self._unbufferPendingWrites()
        plain = receive(self._tlsConnection)
        if plain and not self._aborted:
            self.wrappedProtocol.dataReceived(plain)
        if plain == b"":
            self._flushSendBIO()
        else:
            self._flushReceiveBIO()  # the rest, or the same error, which it handles
        self._finishes = False

    def send_at_once(self, data: bytes) -> None:
        """Encrypt application data, and send it straight to the socket if that takes it."""
        waiting = getattr(self._aggregator, "_buffer", True) or self._appSendBuffer
        if waiting or len(data) > MAX_PLAIN or self.disconnecting or self._lostTLSConnection:
            self.write(data)
            return
        records = encrypt(self._tlsConnection, data)
        if records is None:
            self.write(data)  # meets the same error, and handles it
            return
        self._tickets = False
        self._send(records)
        if len(records) == MAX_RECORD:
            self._flushSendBIO()

    def _write(self, octets: bytes) -> None:
        if self._handshakeDone:
            self._tickets = False  # they go with what is written
        super()._write(octets)

    def _flushSendBIO(self) -> None:
        connection = self._tlsConnection
        complete = self._finishes and self._tickets and self._handshakeDone and not connection.get_shutdown()
        if complete and connection.get_protocol_version() >= SSL.TLS1_3_VERSION:
            return
        while data := collect(connection):
            self._send(data)
            if len(data) < MAX_RECORD:
                return

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection has ended. If that was without C{close_notify}, OpenSSL has given all that has come, and is
        not asked for more: it would give an error, which Twisted would turn into this reason.
        """
        if self._handshakeDone and not self._lostTLSConnection and not self._tlsConnection.get_shutdown():
            self._lostTLSConnection = True
            self._reason = self._reason or _LOST
        super().connectionLost(reason)
        self._producer = None  # it leads back here

    def _follow(self, data: bytes) -> None:
        """Keep track of where records end."""
        if self._due < 0:
            return
        position = self._due
        while position + HEADER <= len(data):
            position += HEADER + int.from_bytes(data[position + 3 : position + HEADER], "big")
        self._due = position - len(data) if position >= len(data) else -1
