"""What an HTTP client that is refused before its command is looked up is told: a status, and a line of plain text."""

from collections.abc import Iterable
from typing import Final

from twisted.web import http, server

from jsonrpcs_tx.access.authentication import Refused
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

FOREIGN_NETWORK: Final = "clients of this network may not call"
"""What a client outside C{http_allow} is told."""

_REASONS: Final = {**http.RESPONSES, 429: b"Too Many Requests"}


def refuse(request: server.Request, code: int, message: str) -> None:
    """Answer a request with an HTTP error and a line of text."""
    log_refusal(request.getClientAddress(), code, message)
    body = _line(code, message)
    request.setResponseCode(code, _REASONS[code])
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(b"" if request.method == b"HEAD" else body)
    request.finish()


def log_refusal(peer: object, code: int, message: str) -> None:
    """Log the reason at level debug. What is wrong with the caller, not with the request, is logged as a warning where
    it is found.
    """
    _log.debug("http: {peer} is answered {code}: {reason}", peer=peer, code=code, reason=message)


def refuse_caller(request: server.Request, refusal: Refused) -> None:
    """Answer a request whose name and password are missing, are wrong or cannot be checked now."""
    if refusal.code == http.UNAUTHORIZED:
        request.setHeader(b"WWW-Authenticate", b'Basic realm="jsonrpcs_tx", charset="UTF-8"')
    if refusal.retry_after is not None:
        request.setHeader(b"Retry-After", b"%d" % refusal.retry_after)
    refuse(request, refusal.code, refusal.text)


def closing_response(code: int, message: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """The bytes of a response after which the connection is closed: the request was not read to its end.

    @param headers: further headers.
    """
    body = _line(code, message)
    further = b"".join(b"%b: %b\r\n" % header for header in headers)
    return (
        b"HTTP/1.1 %d %b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n"
        b"%b\r\n%b" % (code, _REASONS[code], len(body), further, body)
    )


def _line(code: int, message: str) -> bytes:
    return b"%d %b: %b\n" % (code, _REASONS[code], message.encode())
