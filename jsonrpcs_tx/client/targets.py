"""Where a server is, as text and in parts."""

import re

from jsonrpcs_tx.errors import JsonRpcsError

SCHEMES = ("unix", "udp", "fifo", "tcp", "http", "https")

ALLOWED = (
    "unix:PATH, fifo:PATH, udp:HOST:PORT, tcp:HOST:PORT, http://HOST:PORT/PATH or https://HOST:PORT/PATH, "
    "IPv6 addresses in brackets; several separated by commas"
)
"""The syntax of targets, for messages."""

DEFAULT_PATH = "/RPC"
"""The path of a URL without one: what servers usually have."""

REPLY_DIR = "/tmp"
"""Kamailio's default for C{fifo_reply_dir}."""

MAX_UNIX_PATH = 107
"""Bytes of the longest path of a Unix socket."""

_PORTS = {"http": 80, "https": 443}
_BOUNDARY = rf",(?=(?:{'|'.join(SCHEMES)}):)"
_HOST_PORT = r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:/@?#\s]+))(?::([0-9]{1,5}))?"
_PATH = r"(?:[/?][!-~]*)?"
"""Compiled on first use, since that takes time."""

_OPTIONS = {
    "user": ("http", "https"),
    "password": ("http", "https"),
    "tls_ca": ("https",),
    "tls_certificate": ("https",),
    "tls_private_key": ("https",),
    "reply_dir": ("fifo", "unix"),
}
"""Each option with the schemes that take it."""


class TargetError(JsonRpcsError, ValueError):
    """A text is not a target.

    @param text: the text, without a password.
    @param reason: what is wrong with it, for messages.
    @param allowed: what is allowed, for messages.
    """

    def __init__(self, text: str, reason: str, allowed: str = ALLOWED) -> None:
        super().__init__(text, reason, allowed)
        self.text = text
        self.reason = reason
        self.allowed = allowed

    def __str__(self) -> str:
        return f"target {self.text!r}: {self.reason}; allowed: {self.allowed}"


class Target:
    """Where a server is. Immutable; made by L{parse_target}. As text it is a URL without a password.

    @ivar scheme: one of L{SCHEMES}.
    @ivar path: the path of the socket or the FIFO; for HTTP the path with the query.
    @ivar host: a name or an IP address without brackets; empty for a Unix socket or a FIFO.
    @ivar port: 1 to 65535; 0 for a Unix socket or a FIFO.
    @ivar user: the user for HTTP; None: no authentication.
    @ivar password: the password for HTTP; never in C{str} and C{repr}.
    @ivar tls_ca: path of a PEM file with the CAs that are trusted instead of the system's.
    @ivar tls_certificate: path of a PEM file with the client's certificate.
    @ivar tls_private_key: path of a PEM file with its key; None: it is in the same file.
    @ivar reply_dir: for C{fifo:} the directory for reply FIFOs, the server's C{fifo_reply_dir}; for C{unix:} the
        directory for the reply socket, None: an abstract name if the server is in the same network namespace, otherwise
        a private directory.
    @ivar alternatives: further targets of the same server, for requests that are too large for this one, or that it
        does not answer.
    """

    scheme: str
    path: str
    host: str
    port: int
    user: str | None
    password: str | None
    tls_ca: str | None
    tls_certificate: str | None
    tls_private_key: str | None
    reply_dir: str | None
    alternatives: tuple["Target", ...]

    def __init__(
        self,
        scheme: str,
        *,
        path: str = "",
        host: str = "",
        port: int = 0,
        user: str | None = None,
        password: str | None = None,
        tls_ca: str | None = None,
        tls_certificate: str | None = None,
        tls_private_key: str | None = None,
        reply_dir: str | None = None,
        alternatives: tuple["Target", ...] = (),
    ) -> None:
        parts = dict(locals())
        del parts["self"]
        vars(self).update(parts)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name}: a target cannot be changed")

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    def __eq__(self, other: object) -> bool:
        return type(other) is Target and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __str__(self) -> str:
        return ",".join((self.url, *map(str, self.alternatives)))

    def __repr__(self) -> str:
        return f"<Target {self}>"

    @property
    def url(self) -> str:
        """The target alone, without its alternatives, the user and the password."""
        if not self.host:
            return f"{self.scheme}:{self.path}"
        if self.scheme not in _PORTS:
            return f"{self.scheme}:{self.authority}"
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """Host and port, as in URLs and in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def each(self) -> tuple["Target", ...]:
        """The target and its alternatives, in the order in which they are tried."""
        return (self, *self.alternatives)


def parse_target(text: str, **options: str | None) -> Target:
    """Read a target: one, or several of the same server separated by commas, such as
    C{unix:/run/kamailio/kamailio_rpc.sock,fifo:/run/kamailio/kamailio_rpc.fifo}.

    @param options: C{user}, C{password}, C{tls_ca}, C{tls_certificate}, C{tls_private_key} and C{reply_dir} of
        L{Target}, for each of the targets that takes it; None: not given.
    @raise TargetError: it is not a target, or an option is given that none of the targets takes.
    """
    parts = re.split(_BOUNDARY, text) if "," in text else [text]
    given = {name: value for name, value in options.items() if value is not None}
    schemes = {part.partition(":")[0] for part in parts}
    for name in given:
        takers = _OPTIONS.get(name)
        if takers is None:
            raise TypeError(f"{name}: no such option; allowed: {', '.join(_OPTIONS)}")
        if schemes.isdisjoint(takers):
            raise TargetError(_shown(text), f"it does not take {name}", f"{name} with {' and '.join(takers)}")
    first, *others = (_parse_one(part, given) for part in parts)
    return Target(**{**vars(first), "alternatives": tuple(others)}) if others else first


def _parse_one(text: str, options: dict[str, str]) -> Target:
    scheme, colon, rest = text.partition(":")
    taken = {name: value for name, value in options.items() if scheme in _OPTIONS[name]}
    if "\0" in text:
        raise TargetError(_shown(text), "it has a null byte")
    if scheme in ("unix", "fifo"):
        return _parse_path(text, scheme, rest, taken)
    if scheme in ("udp", "tcp"):
        host, port = _host_and_port(text, rest, None)
        return Target(scheme, host=host, port=port)
    if scheme in _PORTS:
        return _parse_url(text, scheme, rest, taken)
    reason = f"unknown scheme {scheme!r}" if colon else "it has no scheme"
    raise TargetError(_shown(text), reason)


def _parse_path(text: str, scheme: str, path: str, options: dict[str, str]) -> Target:
    if path.startswith("//"):
        path = path[2:]
        if not path.startswith("/"):
            raise TargetError(text, "after // there must be an absolute path", f"{scheme}:PATH or {scheme}:///PATH")
    if not path:
        raise TargetError(text, "the path is missing", f"{scheme}:PATH")
    if scheme == "unix" and len(path.encode(errors="surrogateescape")) > MAX_UNIX_PATH:
        raise TargetError(text, "the path is too long", f"{MAX_UNIX_PATH} bytes, for a Unix socket")
    if scheme == "fifo":
        options = {"reply_dir": REPLY_DIR, **options}
    return Target(scheme, path=path, **options)  # type: ignore[arg-type] # they are texts


def _parse_url(text: str, scheme: str, rest: str, options: dict[str, str]) -> Target:
    allowed = f"{scheme}://HOST:PORT/PATH"
    if not rest.startswith("//"):
        raise TargetError(_shown(text), f"no // after {scheme}:", allowed)
    end = re.search(r"[/?#]", rest[2:])
    authority, path = (rest[2 : 2 + end.start()], rest[2 + end.start() :]) if end else (rest[2:], "")
    if "#" in path or not re.fullmatch(_PATH, path):
        raise TargetError(_shown(text), "the path has a fragment, a blank, or a character that is not ASCII", allowed)
    user, at, authority = authority.rpartition("@")
    host, port = _host_and_port(text, authority, _PORTS[scheme])
    if at:
        user, colon, password = user.partition(":")
        options = {"user": _unquoted(user), **({"password": _unquoted(password)} if colon else {}), **options}
    name = options.get("user", "" if "password" in options else "-")
    if not name or ":" in name:
        raise TargetError(_shown(text), "the user is empty, or has a colon", "a user without a colon")
    path = path if path.startswith("/") else f"{DEFAULT_PATH}{path}"
    return Target(scheme, path=path, host=host, port=port, **options)  # type: ignore[arg-type] # they are texts


def _host_and_port(text: str, part: str, default: int | None) -> tuple[str, int]:
    found = re.fullmatch(_HOST_PORT, part)
    if found is None:
        raise TargetError(_shown(text), "the host is missing or invalid")
    ipv6, name, port = found.groups()
    if port is None and default is None:
        raise TargetError(_shown(text), "the port is missing")
    number = int(port) if port else default or 0
    if not 1 <= number <= 65535:
        raise TargetError(_shown(text), "the port is out of range", "ports from 1 to 65535")
    return ipv6 or name, number


def _unquoted(text: str) -> str:
    from urllib.parse import unquote  # few targets need it, and it takes 2 ms

    return unquote(text)


def _shown(text: str) -> str:
    """A text that should be a target, with anything that may be a password hidden."""
    return re.sub(r"//.*@", "//***@", text, flags=re.DOTALL)
