"""Handshakes and records of TLS, by OpenSSL's own functions.

pyOpenSSL calls the same functions. But each time it also allocates as much memory as a record may need, and asks for
errors where there are none, which takes longer than OpenSSL itself does. So its private names are used here, and here
alone. If the installed pyOpenSSL lacks one of them, its public methods are called.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from OpenSSL import SSL

from jsonrpcs_tx.transports.twistedprivates import Names, available

MAX_PLAIN: Final = 16_384
"""Bytes of data that one record can have."""

HEADER: Final = 5
MAX_RECORD: Final = HEADER + MAX_PLAIN + 2048
"""Bytes of the longest record (RFC 5246, section 6.2.3; RFC 8446, section 5.2, allows less)."""

NAMES: Final[Names] = {
    "OpenSSL.SSL": ("_ffi", "_lib"),
    "OpenSSL.SSL._ffi": ("buffer", "new"),
    "OpenSSL.SSL._lib": (
        "BIO_read",
        "BIO_write",
        "ERR_clear_error",
        "SSL_ERROR_WANT_READ",
        "SSL_do_handshake",
        "SSL_get_error",
        "SSL_read",
        "SSL_write",
    ),
    "OpenSSL.SSL.Connection": ("_from_ssl", "_into_ssl", "_raise_ssl_error", "_ssl"),
}
"""The private names of pyOpenSSL that are used: those of modules, of its interface to OpenSSL, and of connections."""


class Functions(NamedTuple):
    """What is called for a connection.

    @ivar shake_hands: takes what has come before the handshake is complete, and tells whether it is now. It raises
        C{SSL.Error} if the handshake has failed.
    @ivar receive: returns the data of what has come already; empty: there is none. None: it cannot be decrypted, which
        the next call of pyOpenSSL's C{recv} will tell.
    @ivar decrypt: takes one whole record. Returns its data; None: it has none, or cannot be decrypted, as with
        C{receive}.
    @ivar encrypt: takes 1 to L{MAX_PLAIN} bytes. Returns what is to be sent, with what else waits in memory; if that is
        L{MAX_RECORD} bytes, there may be more. None: the data was not encrypted, which the next call of pyOpenSSL's
        C{send} will tell why.
    @ivar collect: returns what is to be sent; if that is L{MAX_RECORD} bytes, there may be more.
    """

    shake_hands: Callable[[SSL.Connection, bytes], bool]
    receive: Callable[[SSL.Connection], bytes | None]
    decrypt: Callable[[SSL.Connection, bytes], bytes | None]
    encrypt: Callable[[SSL.Connection, bytes], bytes | None]
    collect: Callable[[SSL.Connection], bytes]


def _handshake_by_pyopenssl(connection: SSL.Connection, data: bytes) -> bool:
    connection.bio_write(data)
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return False
    return True


def by_pyopenssl() -> Functions:
    """The functions, by pyOpenSSL's public methods."""

    def receive(connection: SSL.Connection) -> bytes | None:
        try:
            return connection.recv(MAX_PLAIN)
        except SSL.WantReadError:
            return b""
        except SSL.Error:
            return None

    def decrypt(connection: SSL.Connection, record: bytes) -> bytes | None:
        connection.bio_write(record)
        try:
            return connection.recv(MAX_PLAIN)
        except SSL.Error:
            return None

    def encrypt(connection: SSL.Connection, data: bytes) -> bytes | None:
        try:
            connection.send(data)
            return connection.bio_read(MAX_RECORD)
        except SSL.Error:
            return None

    def collect(connection: SSL.Connection) -> bytes:
        try:
            return connection.bio_read(MAX_RECORD)
        except SSL.WantReadError:
            return b""

    return Functions(_handshake_by_pyopenssl, receive, decrypt, encrypt, collect)


def _handshake_by_openssl(openssl: Any) -> Callable[[SSL.Connection, bytes], bool]:
    bio_write, do_handshake = openssl.BIO_write, openssl.SSL_do_handshake
    get_error, want_read = openssl.SSL_get_error, openssl.SSL_ERROR_WANT_READ

    def shake_hands(connection: Any, data: bytes) -> bool:
        if bio_write(connection._into_ssl, data, len(data)) != len(data):
            openssl.ERR_clear_error()
            raise MemoryError
        result = do_handshake(connection._ssl)
        if result <= 0 and get_error(connection._ssl, result) != want_read:
            connection._raise_ssl_error(connection._ssl, result)
        return bool(result > 0)

    return shake_hands


def by_openssl() -> Functions:
    """The functions, by OpenSSL's.

    All connections share a buffer, from which exactly those bytes are copied that OpenSSL has just written to it, so
    these functions must be called in one thread only, the reactor's.
    """
    pyopenssl: Any = SSL
    openssl, ffi = pyopenssl._lib, pyopenssl._ffi
    bio_read, bio_write, clear_errors = openssl.BIO_read, openssl.BIO_write, openssl.ERR_clear_error
    ssl_read, ssl_write = openssl.SSL_read, openssl.SSL_write
    get_error, want_read = openssl.SSL_get_error, openssl.SSL_ERROR_WANT_READ
    buffer = ffi.new("char[]", MAX_RECORD)
    content = ffi.buffer(buffer)

    def receive(connection: Any) -> bytes | None:
        size = ssl_read(connection._ssl, buffer, MAX_RECORD)
        if size <= 0 and get_error(connection._ssl, size) != want_read:
            clear_errors()
            return None
        data: bytes = content[: max(size, 0)]
        return data

    def decrypt(connection: Any, record: bytes) -> bytes | None:
        if bio_write(connection._into_ssl, record, len(record)) != len(record):
            clear_errors()
            raise MemoryError
        size = ssl_read(connection._ssl, buffer, MAX_RECORD)
        if size <= 0:
            clear_errors()
            return None
        data: bytes = content[:size]
        return data

    def encrypt(connection: Any, data: bytes) -> bytes | None:
        if ssl_write(connection._ssl, data, len(data)) <= 0:
            clear_errors()
            return None
        return collect(connection)

    def collect(connection: Any) -> bytes:
        size = bio_read(connection._from_ssl, buffer, MAX_RECORD)
        records: bytes = content[: max(size, 0)]
        return records

    return Functions(_handshake_by_openssl(openssl), receive, decrypt, encrypt, collect)


def fastest() -> Functions:
    """The functions as the installed pyOpenSSL allows them."""
    return by_openssl() if available(NAMES) else by_pyopenssl()


shake_hands: Callable[[SSL.Connection, bytes], bool]
receive: Callable[[SSL.Connection], bytes | None]
decrypt: Callable[[SSL.Connection, bytes], bytes | None]
encrypt: Callable[[SSL.Connection, bytes], bytes | None]
collect: Callable[[SSL.Connection], bytes]
shake_hands, receive, decrypt, encrypt, collect = fastest()
