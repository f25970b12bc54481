"""What RFC 9112 demands of the head of a request, where twisted.web accepts more than it allows.

A head that two programs can read in different ways lets a request hide in the body of another. Such heads are refused.
"""

import re
from collections.abc import Iterable
from typing import Final

from twisted.web import http
from twisted.web.http_headers import Headers

MAX_LENGTH_DIGITS: Final = 18
"""Digits of a Content-Length; no document is that long."""

_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?")
_TARGET = re.compile(rb"/[!-~]*")
_SINGLETONS: Final = (b"Authorization", b"Origin")
"""Fields besides Host and Content-Length that mean something here and that RFC 9110 and RFC 6454 allow once: of two,
others might heed the other one.
"""

_BLANKS: Final = (b" ", b"\t")
_ONE_LINE: Final = "allowed: header lines NAME: VALUE, one line each, no control characters"
_ABSOLUTE = re.compile(rb"https?://([^/?]*)([!-~]*)", re.IGNORECASE)


class BadHead(Exception):
    """A head is refused. The connection is then closed, since nobody can tell where the next request begins.

    @ivar code: HTTP status.
    @ivar reason: what is wrong, and what is allowed.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def host_name(value: bytes) -> str | None:
    """The name or address in the value of a Host header, in lower case, without brackets, port and final dot.

    @return: None if the value is not HOST or HOST:PORT.
    """
    match = _HOST.fullmatch(value)
    return None if match is None else match[1].decode().lower().strip("[]").removesuffix(".")


def check_fold(line: bytes) -> None:
    """Check that a line of a head does not go on with the one before it (obs-fold in RFC 9112): programs disagree on
    what such a head says.

    @raise BadHead: it does.
    """
    if line[:1] in _BLANKS:
        raise BadHead(http.BAD_REQUEST, _ONE_LINE)


def check_field(line: bytes) -> None:
    """Check a header line by itself.

    @param line: the line.
    @raise BadHead: the line is not NAME: VALUE, or it gives the length of the body in a way that is not allowed.
    """
    if _FIELD.fullmatch(line) is None:
        raise BadHead(http.BAD_REQUEST, _ONE_LINE)
    if line[0] in b"CcTt":
        name, _, value = line.lower().partition(b":")
        if name == b"content-length":
            _check_length(value.strip(b" \t"))
        elif name == b"transfer-encoding":
            _check_codings([coding.strip(b" \t") for coding in value.split(b",")])


def check_trailers(lines: Iterable[bytes]) -> None:
    """Check the lines behind the last chunk of a body, which are otherwise ignored.

    @raise BadHead: a line is not NAME: VALUE.
    """
    if not all(map(_FIELD.fullmatch, lines)):
        raise BadHead(http.BAD_REQUEST, "allowed: trailer lines NAME: VALUE")


def check_head(method: bytes, target: bytes, version: bytes, headers: Headers) -> None:
    """Check a head as a whole.

    @param target: as L{origin_form} gives it.
    @param headers: each line of which has passed L{check_field}.
    @raise BadHead: the head is refused.
    """
    hosts = headers.getRawHeaders(b"Host") or ()
    if len(hosts) > 1 or (not hosts and version == b"HTTP/1.1"):
        raise BadHead(http.BAD_REQUEST, f"{len(hosts)} Host headers; allowed: 1")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise BadHead(http.BAD_REQUEST, "the host is malformed; allowed: HOST or HOST:PORT")
    for name in _SINGLETONS:
        number = len(headers.getRawHeaders(name) or ())
        if number > 1:
            raise BadHead(http.BAD_REQUEST, f"{number} {name.decode()} headers; allowed: 1")
    if not _TARGET.fullmatch(target) and (method, target) != (b"OPTIONS", b"*"):
        raise BadHead(http.BAD_REQUEST, "the target is malformed; allowed: a path, or a URL with http or https")
    if version != b"HTTP/1.1" and headers.hasHeader(b"Transfer-Encoding"):
        raise BadHead(http.BAD_REQUEST, "Transfer-Encoding needs HTTP/1.1")


def origin_form(target: bytes, headers: Headers) -> bytes:
    """The path and query of a target. If the target is a whole URL, its host replaces the one in the Host header.

    @return: C{/RPC?x} for C{http://localhost/RPC?x}; any other target unchanged.
    """
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        return target
    hosts = headers.getRawHeaders(b"Host", [])
    headers.setRawHeaders(b"Host", [absolute[1]] * len(hosts))  # still as many as there were: check_head counts them
    return absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]


def connection_options(headers: Headers) -> frozenset[bytes]:
    """What the Connection headers ask for, in lower case."""
    values = headers.getRawHeaders(b"Connection")
    if values is None:
        return frozenset()
    return frozenset(option.strip(b" \t").lower() for value in values for option in value.split(b","))


def _check_length(value: bytes) -> None:
    if not value.isdigit():
        raise BadHead(http.BAD_REQUEST, "Content-Length is not a number; allowed: digits")
    if len(value) > MAX_LENGTH_DIGITS:
        raise BadHead(http.REQUEST_ENTITY_TOO_LARGE, f"allowed: a Content-Length of up to {MAX_LENGTH_DIGITS} digits")


def _check_codings(codings: list[bytes]) -> None:
    if codings == [b"chunked"]:
        return
    if codings[-1] == b"chunked" and codings.count(b"chunked") == 1:
        raise BadHead(http.NOT_IMPLEMENTED, "allowed: Transfer-Encoding: chunked")
    raise BadHead(http.BAD_REQUEST, "the length of the body is unclear; allowed: Transfer-Encoding: chunked")
