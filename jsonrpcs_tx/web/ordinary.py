"""Recognizes ordinary HTTP requests: those so plain that the direct path parses them as twisted.web would.

This module only parses. A request that is not ordinary is left to twisted.web, so in doubt only time is lost.
"""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs

from jsonrpcs_tx.web.proxies import FORWARDING

MAX_HEAD: Final = 2048
"""Bytes of the longest head that may be ordinary."""

MAX_CHUNKS: Final = 16
"""The most chunks of an ordinary body. They are parsed again whenever more of the body arrives."""

CHUNKED: Final = -1
"""Stands for the size of a body that is chunked."""

Place: TypeAlias = tuple[str, str]
"""Whom a document is for, as its URL says: the names of nodes, and the query, which says when they have to answer."""

OWN: Final[Place] = ("", "")
"""The place of this server's own commands."""

_HEAD = re.compile(rb"(POST|GET) (/[!-~]*) HTTP/1\.1\r\n((?:[A-Za-z0-9-]+:[\t -~]*\r\n)*)\r\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_BEGUN_CHUNK = re.compile(rb"[0-9A-Fa-f]{0,8}\r?")
_LAST_CHUNK: Final = b"0\r\n\r\n"
_UNUSUAL: Final = FORWARDING | {
    *(b"origin", b"sec-fetch-site", b"upgrade", b"cookie", b"trailer", b"te", b"content-encoding"),
}


@attrs.frozen
class Head:
    """The head of an ordinary request.

    @ivar size: of the body in bytes; or L{CHUNKED}.
    @ivar expects: the client waits for C{100 Continue} before it sends the body.
    @ivar authorization: what is said in the header of this name; None: there is none.
    @ivar place: whom the request is for.
    """

    size: int
    expects: bool = False
    authorization: bytes | None = None
    place: Place = OWN


def read_head(
    head: bytes,
    find_place: Callable[[bytes], Place | None],
    is_own: Callable[[bytes], bool],
    usual: frozenset[bytes] = frozenset(),
) -> Head | None:
    """Parse a head, from the request line to the empty line.

    @param find_place: tells whom a URL is for, by its path and its query; None: it is not for JSON-RPC.
    @param is_own: tells whether the value of a Host header is a name of the server.
    @param usual: headers, in lower case, that have no effect on this server and so leave a head ordinary.
    @return: None where it is not ordinary: no POST over HTTP/1.1 to such a URL, nor a GET with a body; not exactly one
        Host, and one Content-Length or C{Transfer-Encoding: chunked}; a foreign host; or a header that asks for more
        than an answer.
    """
    match = _HEAD.fullmatch(head) if len(head) <= MAX_HEAD else None
    place = None if match is None else find_place(match[2])
    if match is None or place is None:
        return None
    once: dict[bytes, bytes] = {}
    for line in match[3].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name in _ONCE:
            if name in once or not _ONCE[name](value):
                return None
            once[name] = value
        elif (name in _UNUSUAL and name not in usual) or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
    chunked, length = b"transfer-encoding" in once, once.get(b"content-length")
    expects = b"expect" in once
    if chunked == (length is not None) or (chunked and (expects or match[1] == b"GET")):
        return None
    size = CHUNKED if length is None else int(length)
    if b"host" not in once or not is_own(once[b"host"].lower()) or (size == 0 and match[1] == b"GET"):
        return None
    return Head(size, expects, once.get(b"authorization"), place)


_ONCE: Final[dict[bytes, Callable[[bytes], bool]]] = {
    b"host": bool,
    b"content-length": lambda value: value.isdigit() and len(value) <= 9,
    b"transfer-encoding": lambda value: value.lower() == b"chunked",
    b"expect": lambda value: value.lower() == b"100-continue",
    b"authorization": bool,
}
"""Headers that an ordinary head has at most once, and functions that return whether a value is ordinary."""


def read_chunks(data: bytes, start: int, limit: int) -> tuple[bytes, int] | None:
    """Parse a chunked body.

    @param start: where it begins.
    @param limit: bytes of the largest body.
    @return: the body, and where it ends; if it is incomplete, C{b""} and a position after the end of the data. None if
        it is not ordinary: it is malformed, too large or in too many chunks, or has extensions or trailers.
    """
    pieces: list[bytes] = []
    for _ in range(MAX_CHUNKS):
        line = _CHUNK.match(data, start)
        if line is None:
            return (b"", len(data) + 1) if _BEGUN_CHUNK.fullmatch(data, start) else None
        size = int(line[1], 16)
        if not size:
            ending = data[line.start() : line.start() + len(_LAST_CHUNK)]
            if ending == _LAST_CHUNK:
                return b"".join(pieces), line.start() + len(_LAST_CHUNK)
            return (b"", len(data) + 1) if _LAST_CHUNK.startswith(ending) else None
        start = line.end() + size + 2
        limit -= size
        if limit < 0 or not b"\r\n".startswith(data[start - 2 : start]):
            return None
        if start > len(data):
            return b"", start
        pieces.append(data[line.end() : start - 2])
    return None


def basic_credentials(authorization: bytes) -> tuple[bytes, bytes] | None:
    """The name and the password in the value of an Authorization header (RFC 7617).

    @return: None if they are not in the ordinary form.
    """
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
    except binascii.Error:
        return None
    return (name, password) if name and colon else None
