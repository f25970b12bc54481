"""Where Redis is, as text and in parts."""

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote

import attrs

from jsonrpcs_tx.catalogue import nearest
from jsonrpcs_tx.client import deferredtls
from jsonrpcs_tx.client.targets import MAX_UNIX_PATH
from jsonrpcs_tx.errors import NotAllowed
from jsonrpcs_tx.secretfiles import read_secret

ALLOWED: Final = (
    "redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://... for TLS, redis+unix:/PATH, "
    "redis+sentinel://HOST[:PORT],.../MASTER or rediss+sentinel://...; then options, such as ?password_file=/PATH"
)
"""The syntax, for messages."""

PORT: Final = 6379
SENTINEL_PORT: Final = 26379
MAX_DB: Final = 65535
_OF_ALL: Final = ("user", "password_file")
_OF_TLS: Final = ("ca", "certificate", "private_key")
_OF_SENTINEL: Final = ("db", "sentinel_user", "sentinel_password_file")
_OPTIONS: Final = {
    "redis": _OF_ALL,
    "rediss": (*_OF_ALL, *_OF_TLS),
    "redis+unix": (*_OF_ALL, "db"),
    "redis+sentinel": (*_OF_ALL, *_OF_SENTINEL),
    "rediss+sentinel": (*_OF_ALL, *_OF_SENTINEL, *_OF_TLS),
}
"""Each scheme with the options that it takes."""
_FILES: Final = ("password_file", "sentinel_password_file", *_OF_TLS)
_HOST_PORT: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:/@?#,\s]+))(?::([0-9]{1,5}))?")
_MASTER: Final = re.compile(r"[\w.-]{1,100}", re.ASCII)


@attrs.frozen
class Address:
    """Where one server listens.

    @ivar host: a name or an IP address without brackets; empty for a Unix socket.
    @ivar port: 1 to 65535; 0 for a Unix socket.
    @ivar path: of a Unix socket; otherwise empty.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class Login:
    """How to log in to a server.

    @ivar user: empty: the default user.
    @ivar password: None: there is no login.
    """

    user: str = ""
    password: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Tls:
    """The files for TLS.

    @ivar ca: path of a PEM file with the CAs that are trusted instead of the system's.
    @ivar certificate: path of a PEM file with the client's certificate.
    @ivar private_key: path of a PEM file with its key; None: it is in the same file.
    """

    ca: str | None = None
    certificate: str | None = None
    private_key: str | None = None


@attrs.frozen
class RedisLocation:
    """Where Redis is. As text it is a URL without user, password and options.

    @ivar addresses: of Redis, one; or of its Sentinels.
    @ivar master: the name of the master that the Sentinels are asked for; empty: there are no Sentinels.
    @ivar db: the number of the database.
    @ivar login: for Redis.
    @ivar sentinel_login: for the Sentinels.
    @ivar tls: None: there is no TLS.
    """

    addresses: tuple[Address, ...]
    master: str = ""
    db: int = 0
    login: Login = Login()
    sentinel_login: Login = Login()
    tls: Tls | None = None

    def __str__(self) -> str:
        where = ",".join(map(str, self.addresses))
        scheme = "redis" if self.tls is None else "rediss"
        if self.master:
            return f"{scheme}+sentinel://{where}/{self.master}"
        if self.addresses[0].path:
            return f"redis+unix:{where}"
        return f"{scheme}://{where}" + (f"/{self.db}" if self.db else "")

    @classmethod
    def parse(cls, text: str, path: Callable[[str], str] = str) -> "RedisLocation":
        """Read a URL, as L{ALLOWED} says. Special characters of user and password are escaped by C{%}.

        Options: C{user} and C{password_file} (the password is its first line) for Redis, C{sentinel_user} and
        C{sentinel_password_file} for Sentinels; C{db}, where it is not in the path; C{ca}, C{certificate} and
        C{private_key} (files in PEM) for TLS.

        @param path: makes a relative path of a file or a socket absolute.
        @raise NotAllowed: it is not the location of a Redis, or a file that it names cannot be used. The message does
            not show the password.
        """
        scheme, colon, rest = text.partition(":")
        if not colon or scheme not in _OPTIONS:
            raise NotAllowed("it does not begin with a scheme of Redis", ALLOWED)
        if "\0" in text or "#" in text:
            raise NotAllowed("it contains a # or a null byte", "%23 for a # in a password")
        rest, _, query = rest.partition("?")
        options = _options(scheme, query, path)
        if scheme == "redis+unix":
            return cls((_unix(rest, path),), db=_db(options.get("db", "")), login=_login("", options))
        if not rest.startswith("//"):
            raise NotAllowed(f"no // after {scheme}:", ALLOWED)
        authority, _, behind = rest[2:].partition("/")
        user, _, where = authority.rpartition("@")
        tls = Tls(*map(options.get, _OF_TLS)) if scheme.startswith("rediss") else None
        if not scheme.endswith("sentinel"):
            location = cls((_address(where, PORT),), db=_db(behind), login=_login(user, options), tls=tls)
        else:
            if not _MASTER.fullmatch(behind):
                raise NotAllowed("the name of the master is missing or invalid", ALLOWED)
            location = cls(
                tuple(_address(one, SENTINEL_PORT) for one in where.split(",")),
                behind,
                _db(options.get("db", "")),
                _login(user, options),
                _login("", options, "sentinel_"),
                tls,
            )
        location.check_tls()
        return location

    def tls_target(self, address: Address) -> "TlsAddress":
        """An address together with the files for TLS."""
        tls = self.tls or Tls()
        return TlsAddress(address.host, tls.ca, tls.certificate, tls.private_key)

    def check_tls(self) -> None:
        """@raise NotAllowed: a file for TLS cannot be used."""
        if self.tls is not None:
            try:
                deferredtls.options(self.tls_target(self.addresses[0]))
            except OSError as error:
                raise NotAllowed(str(error), "files with certificates and keys in PEM") from None


@attrs.frozen
class TlsAddress:
    """A L{TlsTarget<jsonrpcs_tx.client.deferredtls.TlsTarget>}."""

    host: str
    tls_ca: str | None
    tls_certificate: str | None
    tls_private_key: str | None


def _options(scheme: str, query: str, path: Callable[[str], str]) -> dict[str, str]:
    taken = _OPTIONS[scheme]
    found: dict[str, str] = {}
    for part in query.split("&") if query else ():
        option, _, value = part.partition("=")
        value = unquote(value, errors="surrogateescape")
        if option not in taken:  # which is not shown: it may be part of a password
            near = nearest(option[:40], taken, 1)
            meant = f"; did you mean {near[0]}=?" if near else ""
            raise NotAllowed(f"{scheme} has no such option{meant}", f"{'=, '.join(taken)}=")
        if option in found or not value:
            raise NotAllowed(f"{option}: it is given twice, or empty", "one value")
        found[option] = path(value) if option in _FILES else value
    if "private_key" in found and "certificate" not in found:
        raise NotAllowed("private_key: there is no certificate", "certificate= and private_key=, or neither")
    return found


def _login(userinfo: str, options: Mapping[str, str], prefix: str = "") -> Login:
    """
    @param userinfo: what is before the C{@}.
    @param prefix: of the options.
    """
    user, colon, password = userinfo.partition(":")
    user, given = unquote(user), unquote(password) if colon and password else None
    user_option, file_option = options.get(f"{prefix}user"), options.get(f"{prefix}password_file")
    if (user and user_option) or (given is not None and file_option):
        raise NotAllowed("user or password: it is given twice", f"{prefix}user= or {prefix}password_file=, or before @")
    if file_option is not None:
        given = read_secret(file_option, f"{prefix}password_file")
    user = user or user_option or ""
    if user and given is None:
        raise NotAllowed("there is a user without a password", f"USER:PASSWORD@, or {prefix}password_file=")
    return Login(user, given)


def _address(text: str, default: int) -> Address:
    found = _HOST_PORT.fullmatch(text)
    if found is None:
        raise NotAllowed("the host or the port is missing or invalid", ALLOWED)
    ipv6, name, port = found.groups()
    number = int(port) if port else default
    if not 1 <= number <= 65535:
        raise NotAllowed("the port is out of range", "ports from 1 to 65535")
    return Address(ipv6 or name, number)


def _unix(text: str, path: Callable[[str], str]) -> Address:
    name = unquote(text.removeprefix("//"), errors="surrogateescape")
    if not name or (text.startswith("//") and not name.startswith("/")):
        raise NotAllowed("the path is missing, or relative after //", "redis+unix:PATH or redis+unix:///PATH")
    name = path(name)
    if len(name.encode(errors="surrogateescape")) > MAX_UNIX_PATH:
        raise NotAllowed("the path is too long", f"{MAX_UNIX_PATH} bytes, for a Unix socket")
    return Address(path=name)


def _db(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > MAX_DB:
        raise NotAllowed("the database is not a number", f"0 to {MAX_DB}")
    return int(text)
