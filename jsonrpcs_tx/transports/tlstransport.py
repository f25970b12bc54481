"""TLS over a stream, with what Twisted leaves out: half-closed connections, and expiry in resumed sessions."""

import datetime
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.error import CertificateError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.protocols.tls import BufferingTLSTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from jsonrpcs_tx.access.peers import credentials

_REASONS: Final = {
    "peer did not return a certificate": "no client certificate",
    "certificate verify failed": "invalid client certificate",
}
"""OpenSSL's reasons for refusing clients, with their wording in the log."""


class _HalfClosed(Exception):
    """The client has closed its sending side."""


@implementer(IHalfCloseableProtocol)
class TlsTransport(BufferingTLSTransport):
    """The server's side of TLS over a connection.

    With TLS 1.3, a client may close its sending side (C{close_notify}) and still get the reply to its request; what it
    sends behind that is ignored (RFC 8446, section 6.1). With TLS 1.2, that closes both sides. An end without
    C{close_notify} ends the connection.

    A resumed session brings along the client's certificate. If that has expired in the meantime, the connection is
    refused.

    The factory behind it is told of each client that is refused in the handshake, by C{turned_away}.
    """

    _half_closed = False
    _refused = False

    def readConnectionLost(self) -> None:
        """The client has closed its sending side below TLS."""
        if not self._half_closed:
            self.transport.loseConnection()  # type: ignore[union-attr] # it is set until connectionLost

    def writeConnectionLost(self) -> None:
        """Never happens: the server does not close its sending side alone."""

    def _checkHandshakeStatus(self) -> None:
        super()._checkHandshakeStatus()
        if self._handshakeDone:
            self._refuse_expired()

    def _refuse_expired(self) -> None:
        """Close the connection, whose handshake is complete, if the client's certificate has expired."""
        if _has_expired(self._tlsConnection):
            self._tell("expired client certificate")
            self.failVerification(Failure(CertificateError("the client's certificate has expired")))

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        if reason is not None and not self._handshakeDone and isinstance(reason.value, SSL.Error):
            self._tell(_refusal(reason.value))
        super()._tlsShutdownFinished(reason)

    def _tell(self, why: str) -> None:
        """Report that the client is refused, and why; empty: it is not refused, but has left by itself."""
        if why and not self._refused:
            self._refused = True
            site: Any = self.factory
            transport: Any = self.transport
            site.wrappedFactory.turned_away(transport.getPeer(), why, credentials(transport))

    def _flushReceiveBIO(self) -> None:
        try:
            super()._flushReceiveBIO()
        except _HalfClosed:
            self._half_closed = True
            vars(self)["dataReceived"] = _ignore  # OpenSSL would keep it, and never read it
            self.wrappedProtocol.readConnectionLost()  # type: ignore[attr-defined] # it can be half-closed

    def _shutdownTLS(self) -> None:
        connection = self._tlsConnection
        if (
            not self.disconnecting
            and connection.get_shutdown() & SSL.RECEIVED_SHUTDOWN
            and connection.get_protocol_version_name() == "TLSv1.3"
            and IHalfCloseableProtocol.providedBy(self.wrappedProtocol)
        ):
            raise _HalfClosed
        super()._shutdownTLS()


def _ignore(data: bytes) -> None:
    """Take what a client sends that has closed its sending side."""


def _refusal(error: SSL.Error) -> str:
    """Why a client was refused in a failed handshake; empty where the client has refused, or has left."""
    reasons = [str(reason) for _, _, reason in error.args[0]] if error.args and isinstance(error.args[0], list) else []
    if not reasons or any(" alert " in reason or reason == "unexpected eof while reading" for reason in reasons):
        return ""
    known = [_REASONS[reason] for reason in reasons if reason in _REASONS]
    return known[0] if known else f"TLS handshake failed ({reasons[0]})"


def _has_expired(connection: SSL.Connection) -> bool:
    certificate = connection.get_peer_certificate()
    if certificate is None:
        return False
    return certificate.to_cryptography().not_valid_after_utc < _now()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
