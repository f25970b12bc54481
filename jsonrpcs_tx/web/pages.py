"""Which web pages may call, and the CORS headers with which their browser lets them read replies."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from twisted.web.http_headers import Headers

from jsonrpcs_tx.web.hosts import Hosts

MAX_AGE: Final = 600
"""Seconds for which a browser may remember what a page may send."""

_HEADER_NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z, \t-]{1,1024}")
_OWN_FETCHES: Final = frozenset((b"none", b"same-origin"))


class Pages:
    """The web pages that may call.

    @param origins: origins, in lower case, besides the server's own.
    @param hosts: the names of the server, from which its own origins come.
    @param credentials: whether pages may send names and passwords.
    """

    def __init__(self, origins: Iterable[str], hosts: Hosts, credentials: bool) -> None:
        self._origins = frozenset(origins)
        self._hosts = hosts
        self._credentials = credentials

    def allows(self, headers: Headers) -> bool:
        """Whether a request does not come from a web page, or comes from one that may call.

        A browser that sends no Origin says with Sec-Fetch-Site whether another site made it send the request.
        """
        origins = headers.getRawHeaders(b"Origin")
        if not origins:
            sites = headers.getRawHeaders(b"Sec-Fetch-Site")
            return sites is None or _OWN_FETCHES.issuperset(sites)
        return len(origins) == 1 and (self._lists(origins[0]) or self._is_own(origins[0], headers))

    def reply_headers(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """The headers with which a page of a listed origin may read the reply; empty for any other request."""
        origins = headers.getRawHeaders(b"Origin", []) if self._origins else []
        if len(origins) != 1 or not self._lists(origins[0]):
            return []
        allowed = [(b"Access-Control-Allow-Origin", origins[0]), (b"Vary", b"Origin")]
        if self._credentials:
            allowed.append((b"Access-Control-Allow-Credentials", b"true"))
        return allowed

    def preflight_headers(self, method: bytes, headers: Headers) -> list[tuple[bytes, bytes]]:
        """The further headers of the reply to a preflight request, by which a browser asks what a page may send.

        @return: empty if the request is not a preflight from a listed origin.
        """
        if method != b"OPTIONS" or not headers.hasHeader(b"Access-Control-Request-Method"):
            return []
        if not self.reply_headers(headers):
            return []
        allowed = [(b"Access-Control-Allow-Methods", b"POST, GET"), (b"Access-Control-Max-Age", b"%d" % MAX_AGE)]
        names = b", ".join(headers.getRawHeaders(b"Access-Control-Request-Headers", []))
        if _HEADER_NAMES.fullmatch(names):  # headers from a listed page do no harm, whatever their names
            allowed.append((b"Access-Control-Allow-Headers", names))
        if headers.getRawHeaders(b"Access-Control-Request-Private-Network") == [b"true"]:
            allowed.append((b"Access-Control-Allow-Private-Network", b"true"))
        return allowed

    def _lists(self, origin: bytes) -> bool:
        return origin.decode("latin-1").lower() in self._origins

    def _is_own(self, origin: bytes, headers: Headers) -> bool:
        """Whether an origin names the host that the request names, and that is the server's."""
        hosts = headers.getRawHeaders(b"Host", [])
        try:
            netloc = urlsplit(origin.decode("latin-1").lower()).netloc
        except ValueError:
            return False
        return [netloc] == [host.decode("latin-1").lower() for host in hosts] and self._hosts.owns(hosts[0])
