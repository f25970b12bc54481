"""TLS for HTTPS: the server's certificate from files, or a self-signed one made on request."""

import datetime
import ipaddress
import os
import socket
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import (
    AcceptableCiphers,
    Certificate,
    CertificateOptions,
    TLSVersion,
    trustRootFromCertificates,
)
from zope.interface import implementer

from jsonrpcs_tx.access.peers import alternative_names
from jsonrpcs_tx.config.problems import FIRST, Problems
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.errors import NotAllowed, StartError
from jsonrpcs_tx.files.owners import User
from jsonrpcs_tx.files.safefiles import open_regular
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

SELF_SIGNED_DAYS = 365

PROTOCOLS: Final = (b"http/1.1", b"http/1.0")
"""What a client may choose from (ALPN), in the order of the server's preference."""

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""The suites of TLS 1.2: those with forward secrecy and authenticated encryption, for any kind of key. All suites of
TLS 1.3 are of that kind."""

_PEM_CERTIFICATE_END = "-----END CERTIFICATE-----"


@implementer(IOpenSSLContextFactory)
class CurrentContext:
    """The server's side of TLS for new connections, from the files as they were last read.

    @ivar names: the DNS names in the server's certificate.
    @raise StartError: see L{context_factory}.
    """

    def __init__(self, settings: Settings, user: User | None = None) -> None:
        """@param user: the one that the process becomes, and that will own a certificate that is made."""
        self._settings = settings
        self._user = user
        self.reload()

    def reload(self) -> None:
        """Read the files again, for new connections. Earlier sessions are not resumed: the keys of their tickets belong
        to the former context.

        @raise StartError: a file cannot be used; the former certificate stays in use.
        """
        options = context_factory(self._settings, self._user)
        context = options.getContext()
        context.set_alpn_select_callback(_choose_protocol)
        assert options.certificate is not None  # context_factory sets it
        self.names: list[str] = alternative_names(options.certificate.to_cryptography(), x509.DNSName)
        self._context = context

    def getContext(self) -> SSL.Context:
        """The context for a new connection, which Twisted asks for."""
        return self._context


def _choose_protocol(_: SSL.Connection, offered: Sequence[bytes]) -> bytes:
    """Choose the protocol of a connection.

    @raise SSL.Error: the client offers none of L{PROTOCOLS}; it is sent the alert no_application_protocol.
    """
    for protocol in PROTOCOLS:
        if protocol in offered:
            return protocol
    raise SSL.Error([("SSL routines", "", "no application protocol")])


def context_factory(settings: Settings, user: User | None = None) -> CertificateOptions:
    """The server's side of TLS 1.2 and up.

    With C{tls_self_signed}, a certificate is made first if its file does not exist.

    @param user: see L{CurrentContext}.
    @raise StartError: a file cannot be used, or the key is not the certificate's.
    """
    path = settings.path(settings.certificate)
    if _makes_self_signed(settings, path):
        make_self_signed(path, user)
    files = _Files(settings, path, FIRST)
    assert files.key is not None  # any problem was raised
    return _options(files, files.key)


def check(settings: Settings, problems: Problems) -> None:
    """Check the files of L{context_factory}, and make none.

    @param problems: takes what is wrong.
    """
    path = settings.path(settings.certificate)
    if _makes_self_signed(settings, path):
        if not os.access(os.path.dirname(path) or ".", os.W_OK | os.X_OK, effective_ids=True):
            problems.note(_not_made(path, "its directory cannot be written"))
        if settings.tls_ca:
            with problems.noted():
                _client_authorities(settings)
        return
    files = _Files(settings, path, problems)
    if files.chain and files.chain[0].has_expired():
        _log.warn("tls_certificate: {path}: it has expired", path=path)
    if files.chain and files.key is not None:
        with problems.noted():
            _options(files, files.key)


def _makes_self_signed(settings: Settings, path: str) -> bool:
    return settings.tls_self_signed and not settings.tls_private_key and not os.path.exists(path)


class _Files:
    """What is in the files of TLS.

    @param path: of the certificate.
    @param problems: takes what is wrong.
    @ivar path: of the certificate.
    @ivar chain: the certificates; empty: they cannot be used.
    @ivar key_path: of the private key.
    @ivar key: the private key; None: it cannot be used.
    @ivar authorities: those whose clients are accepted; None: all clients are.
    """

    key: crypto.PKey | None = None
    authorities: list[Certificate] | None = None

    def __init__(self, settings: Settings, path: str, problems: Problems) -> None:
        self.path = path
        self.chain: list[crypto.X509] = []
        with problems.noted():
            self.chain = _certificates("tls_certificate", path)
        self.key_path = settings.path(settings.tls_private_key) if settings.tls_private_key else path
        with problems.noted():
            setting = "tls_private_key" if settings.tls_private_key else "tls_certificate"
            self.key = _private_key(setting, self.key_path)
        if settings.tls_ca:
            self.authorities = []
            with problems.noted():
                self.authorities = _client_authorities(settings)


def _options(files: _Files, key: crypto.PKey) -> CertificateOptions:
    """@raise StartError: the key is not the certificate's."""
    options = CertificateOptions(
        privateKey=key,
        certificate=files.chain[0],
        extraCertChain=files.chain[1:],
        raiseMinimumTo=TLSVersion.TLSv1_2,
        trustRoot=None if files.authorities is None else trustRootFromCertificates(files.authorities),
        acceptableCiphers=AcceptableCiphers.fromOpenSSLCipherString(CIPHERS),
        enableSessionTickets=True,
    )
    try:
        context = options.getContext()
        context.check_privatekey()
    except SSL.Error:
        raise StartError("tls_private_key", files.key_path, f"not the key of {files.path}", "its private key") from None
    return options


def _client_authorities(settings: Settings) -> list[Certificate]:
    return [Certificate(certificate) for certificate in _certificates("tls_ca", settings.path(settings.tls_ca))]


def _read(setting: str, path: str) -> str:
    try:
        with open_regular(path) as file:
            return file.read().decode("ascii", "replace")
    except OSError as error:
        raise StartError(setting, path, error.strerror, "a readable file in PEM") from None
    except NotAllowed as error:
        raise StartError(setting, path, error.reason, error.allowed) from None


def _certificates(setting: str, path: str) -> list[crypto.X509]:
    blocks = _read(setting, path).split(_PEM_CERTIFICATE_END)[:-1]
    try:
        if not blocks:
            raise ValueError
        return [
            crypto.load_certificate(crypto.FILETYPE_PEM, (block + _PEM_CERTIFICATE_END).encode()) for block in blocks
        ]
    except (crypto.Error, ValueError):
        raise StartError(setting, path, "no certificate", "certificates in PEM") from None


def _private_key(setting: str, path: str) -> crypto.PKey:
    text = _read(setting, path)
    try:
        return crypto.load_privatekey(crypto.FILETYPE_PEM, text.encode(), passphrase=b"")
    except (crypto.Error, ValueError, TypeError):
        raise StartError(setting, path, "no private key", "an unencrypted key in PEM") from None


def _not_made(path: str, reason: str | None) -> StartError:
    return StartError("tls_certificate", path, reason, "a file that can be created")


def make_self_signed(path: str, user: User | None = None) -> None:
    """Make a certificate for localhost, this machine's name and the loopback addresses. It goes into one file with its
    key, which only the owner may read.

    @param user: the owner; None: the process's user.
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
        raise _not_made(path, error.strerror) from None
    with os.fdopen(fd, "wb") as file:
        file.write(pem)
        if user is not None and not os.geteuid():  # once it has become that user, it owns what it makes
            os.chown(fd, user.uid, user.gid)
    _log.info("made a self-signed certificate for localhost: {path}", path=path)
