"""TLS for the client with Deferreds."""

import re
from typing import Any, Protocol

from OpenSSL.SSL import Error
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)


class TlsTarget(Protocol):
    """What has the attributes of a L{Target<jsonrpcs_tx.client.targets.Target>} that are about TLS."""

    @property
    def host(self) -> str:
        """A name or an IP address."""

    @property
    def tls_ca(self) -> str | None:
        """The path of a PEM file with the CAs that are trusted; None: the system's."""

    @property
    def tls_certificate(self) -> str | None:
        """The path of a PEM file with the client's certificate."""

    @property
    def tls_private_key(self) -> str | None:
        """The path of a PEM file with its key; None: it is in the same file."""


def options(target: TlsTarget) -> IOpenSSLClientConnectionCreator:
    """What a target asks of TLS: who signs the server's certificate, which has to be for the name or the IP address
    of the target, and the client's own certificate.

    @raise OSError: a file cannot be read, or does not contain what it should.
    """
    trust = platformTrust()
    if target.tls_ca is not None:
        trust = trustRootFromCertificates([_loaded(target.tls_ca, one) for one in _certificates(target.tls_ca)])
    own: Any = None
    extra: Any = None
    if target.tls_certificate is not None:
        first, *chain = _certificates(target.tls_certificate)
        key = _read(target.tls_private_key or target.tls_certificate)
        own = _loaded(target.tls_certificate, key + b"\n" + first, PrivateCertificate)
        extra = {"extraCertChain": [_loaded(target.tls_certificate, one).original for one in chain]} if chain else None
    return optionsForClientTLS(target.host, trust, own, extraCertificateOptions=extra)


def reason(error: BaseException | None) -> str:
    """What is wrong, in the words of OpenSSL where it has some."""
    if isinstance(error, Error):
        queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
        return ", ".join(str(entry[-1]) for entry in queue if entry) or "the handshake has failed"
    return str(error) or type(error).__name__


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise OSError(f"{path}: {error.strerror}") from None


def _certificates(path: str) -> list[bytes]:
    found = _CERTIFICATE.findall(_read(path))
    if not found:
        raise OSError(f"{path}: it has no certificate in PEM")
    return found


def _loaded(path: str, pem: bytes, kind: Any = Certificate) -> Any:
    try:
        return kind.loadPEM(pem)
    except Exception as error:  # of OpenSSL and of cryptography, depending on their versions
        raise OSError(f"{path}: {reason(error)}") from None
