"""TLS for HTTPS: the server's certificate from files, or a self-signed one that is made on request."""

import datetime
import ipaddress
import os
import socket
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, trustRootFromCertificates
from zope.interface import implementer

from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.safefiles import open_regular
from jsonrpcs_tx.settings import Settings

_log = make_logger(__name__)

SELF_SIGNED_NAME = "tls.pem"
SELF_SIGNED_DAYS = 365

_PEM_CERTIFICATE_END = "-----END CERTIFICATE-----"


@implementer(IOpenSSLContextFactory)
class CurrentContext:
    """The server's side of TLS for new connections, as the files were when they were last read.

    @raise StartError: see L{context_factory}.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.reload()

    def reload(self) -> None:
        """Read the files again; connections that are open keep what they have.

        @raise StartError: a file cannot be used; then the former ones still count.
        """
        self._context = context_factory(self._settings).getContext()

    def getContext(self) -> SSL.Context:
        """What Twisted asks for at each connection."""
        return self._context


def context_factory(settings: Settings) -> CertificateOptions:
    """The server's side of TLS 1.2 and up.

    With C{tls_self_signed} a certificate is made first, if there is none yet.

    @raise StartError: a file cannot be read, or the key is not the certificate's.
    """
    path = settings.path(settings.tls_certificate or SELF_SIGNED_NAME)
    if settings.tls_self_signed and not settings.tls_private_key and not os.path.exists(path):
        make_self_signed(path)
    chain = _certificates("tls_certificate", path)
    key_path = settings.path(settings.tls_private_key) if settings.tls_private_key else path
    key = _private_key("tls_private_key" if settings.tls_private_key else "tls_certificate", key_path)
    options = CertificateOptions(
        privateKey=key,
        certificate=chain[0],
        extraCertChain=chain[1:],
        raiseMinimumTo=TLSVersion.TLSv1_2,
        trustRoot=trustRootFromCertificates(_client_authorities(settings)) if settings.tls_ca else None,
        acceptableProtocols=[b"http/1.1"],
    )
    try:
        context = options.getContext()
        context.check_privatekey()
    except SSL.Error:
        raise StartError(f"tls_private_key: {key_path}: not the key of {path}; allowed: its private key") from None
    return options


def _client_authorities(settings: Settings) -> list[Certificate]:
    return [Certificate(certificate) for certificate in _certificates("tls_ca", settings.path(settings.tls_ca))]


def _read(setting: str, path: str) -> str:
    try:
        with open_regular(path) as file:
            return file.read().decode("ascii", "replace")
    except OSError as error:
        raise StartError(f"{setting}: {path}: {error.strerror}; allowed: a readable file in PEM") from None
    except ValueError as error:
        raise StartError(f"{setting}: {path}: {error}") from None


def _certificates(setting: str, path: str) -> list[crypto.X509]:
    blocks = _read(setting, path).split(_PEM_CERTIFICATE_END)[:-1]
    try:
        if not blocks:
            raise ValueError
        return [
            crypto.load_certificate(crypto.FILETYPE_PEM, (block + _PEM_CERTIFICATE_END).encode()) for block in blocks
        ]
    except (crypto.Error, ValueError):
        raise StartError(f"{setting}: {path}: no certificate; allowed: certificates in PEM") from None


def _private_key(setting: str, path: str) -> crypto.PKey:
    text = _read(setting, path)
    try:
        return crypto.load_privatekey(crypto.FILETYPE_PEM, text.encode(), passphrase=b"")
    except (crypto.Error, ValueError, TypeError):
        raise StartError(f"{setting}: {path}: no private key; allowed: an unencrypted key in PEM") from None


def client_names(transport: Any) -> tuple[str, ...]:
    """The names in a client's certificate, which was verified: its DNS names and mail addresses, and its common name.

    @param transport: of the connection; without TLS, or without a certificate, there are none.
    """
    certificate = transport.getPeerCertificate() if hasattr(transport, "getPeerCertificate") else None
    if certificate is None:
        return ()
    decoded = certificate.to_cryptography()
    names = [str(name.value) for name in decoded.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        alternative = decoded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return tuple(names)
    for kind in (x509.DNSName, x509.RFC822Name):
        names += alternative.get_values_for_type(kind)
    return tuple(dict.fromkeys(names))


def make_self_signed(path: str) -> None:
    """Make a certificate for localhost, this machine's name and the loopback addresses, with its key, in one file
    that only its owner may read.

    @raise StartError: the file cannot be made.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in dict.fromkeys(("localhost", socket.gethostname()))]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"tls_certificate: {path}: {error.strerror}; allowed: a path that can be made") from None
    with os.fdopen(fd, "wb") as file:
        file.write(pem)
    _log.info("made a self-signed certificate for localhost: {path}", path=path)
