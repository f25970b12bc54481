"""The direct path of TLS: what an established connection ordinarily does, without detours.

It takes data that is exactly one record: one call decrypts it, and OpenSSL is not asked for more in vain. And it takes
writes that fit in one record, while nothing else waits to be written: they are encrypted and sent at once. Handshakes,
alerts, records in pieces, errors and closing are left to Twisted, and so is every write while another waits. What they
give is sent at once as well, but for the tickets that end a handshake of TLS 1.3: they go with what is sent first.
"""

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure

from jsonrpcs_tx.atonce import sender
from jsonrpcs_tx.transports.tlsrecords import HEADER, MAX_PLAIN, MAX_RECORD, decrypt, encrypt
from jsonrpcs_tx.transports.tlstransport import TlsTransport
from jsonrpcs_tx.transports.twistedprivates import tls_creator

_APPLICATION_DATA = 23
_MAX_FLUSH = 32_768


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

    def makeConnection(self, transport: Any) -> None:
        """Wait for the client to begin.

        Twisted would begin a handshake, in vain, and declare the transport's interfaces one by one, and then again.
        """
        self._send = sender(transport)
        create = tls_creator(self.factory)
        if create is None:
            super().makeConnection(transport)
            return
        self._tlsConnection = create(self)
        self._appSendBuffer: list[bytes] = []
        ProtocolWrapper.makeConnection(self, transport)

    def dataReceived(self, data: bytes) -> None:
        whole = self._due == 0 and len(data) == HEADER + int.from_bytes(data[3:HEADER], "big")
        if not whole or data[0] != _APPLICATION_DATA or not self._handshakeDone or self._appSendBuffer:
            self._follow(data)
            self._finishes = not (self._handshakeDone or self._appSendBuffer)
            super().dataReceived(data)
            self._finishes = False
            return
        plain = decrypt(self._tlsConnection, data)
        if plain is None:
            self._flushReceiveBIO()  # meets the same error, and handles it
        elif not self._aborted:
            self.wrappedProtocol.dataReceived(plain)

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
        try:
            while True:
                data = connection.bio_read(_MAX_FLUSH)
                self._send(data)
                if len(data) < _MAX_FLUSH:
                    return
        except SSL.WantReadError:
            pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection has ended. If that was without C{close_notify}, OpenSSL, which has given all that has come,
        needs not be asked for more: it would give an error, of which Twisted makes this reason.
        """
        if self._handshakeDone and not self._lostTLSConnection and not self._tlsConnection.get_shutdown():
            self._lostTLSConnection = True
            self._reason = self._reason or Failure(CONNECTION_LOST)
        super().connectionLost(reason)

    def _follow(self, data: bytes) -> None:
        """Keep track of where records end."""
        if self._due < 0:
            return
        position = self._due
        while position + HEADER <= len(data):
            position += HEADER + int.from_bytes(data[position + 3 : position + HEADER], "big")
        self._due = position - len(data) if position >= len(data) else -1
