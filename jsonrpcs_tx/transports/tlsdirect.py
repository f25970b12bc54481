"""The direct path of TLS: what an established connection ordinarily does, without detours.

It takes data that is exactly one record: one call decrypts it, and OpenSSL is not asked for more in vain. And it takes
writes that fit in one record, while nothing else waits to be written: they are encrypted and sent at once. Handshakes,
alerts, records in pieces, errors and closing are left to Twisted, and so is every write while another waits.
"""

from typing import Any

from OpenSSL import SSL
from twisted.internet import tcp

from jsonrpcs_tx.transports.tlstransport import TlsTransport

_APPLICATION_DATA = 23
_HEADER = 5
_MAX_PLAIN = 16_384
_MAX_RECORD = _HEADER + _MAX_PLAIN + 2048
"""Bytes of the longest record (RFC 5246, section 6.2.3; RFC 8446, section 5.2, allows less)."""


def send_at_once(transport: Any, data: bytes) -> None:
    """Send what the socket takes right now, without another turn of the reactor; the transport sends the rest."""
    if isinstance(transport, tcp.Connection) and not transport.dataBuffer and not transport._tempDataBuffer:
        try:
            sent = transport.socket.send(data)
        except OSError:
            sent = 0  # the transport meets the same error, and handles it
        if sent == len(data):
            return
        data = data[sent:]
    transport.write(data)


class DirectTlsTransport(TlsTransport):
    """TLS with the direct path.

    @ivar _due: bytes still to come of a record that has begun to arrive; -1 once that is unknown.
    """

    _due = 0

    def dataReceived(self, data: bytes) -> None:
        whole = self._due == 0 and len(data) == _HEADER + int.from_bytes(data[3:_HEADER], "big")
        if not whole or data[0] != _APPLICATION_DATA or not self._handshakeDone or self._appSendBuffer:
            self._follow(data)
            super().dataReceived(data)
            return
        connection = self._tlsConnection
        connection.bio_write(data)
        try:
            plain = connection.recv(_MAX_PLAIN)
        except SSL.Error:
            self._flushReceiveBIO()  # meets the same error, and handles it
        else:
            if not self._aborted:
                self.wrappedProtocol.dataReceived(plain)

    def send_at_once(self, data: bytes) -> None:
        """Encrypt application data, and send it straight to the socket if that takes it."""
        waiting = getattr(self._aggregator, "_buffer", True) or self._appSendBuffer
        if waiting or len(data) > _MAX_PLAIN or self.disconnecting or self._lostTLSConnection:
            self.write(data)
            return
        try:
            self._tlsConnection.send(data)  # all of it: it fits in one record, which goes to memory
        except SSL.Error:
            self.write(data)  # meets the same error, and handles it
        else:
            send_at_once(self.transport, self._tlsConnection.bio_read(_MAX_RECORD))

    def _follow(self, data: bytes) -> None:
        """Keep track of where records end."""
        if self._due < 0:
            return
        position = self._due
        while position + _HEADER <= len(data):
            position += _HEADER + int.from_bytes(data[position + 3 : position + _HEADER], "big")
        self._due = position - len(data) if position >= len(data) else -1
