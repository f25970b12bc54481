"""Which web pages may use the console: only its own."""

from typing import Final

from twisted.web.http_headers import Headers

from jsonrpcs_tx.transports.hosts import Hosts
from jsonrpcs_tx.transports.pages import Pages

_SAME: Final = [b"same-origin"]
_DIRECT: Final = [b"none"]


class OwnPages(Pages):
    """Only pages from the server's own origin, whatever C{http_origin} lists: a session must not be used from
    elsewhere.
    """

    def __init__(self, hosts: Hosts) -> None:
        super().__init__((), hosts, credentials=False)

    def allows(self, headers: Headers) -> bool:
        """Whether a request does not come from a web page, or comes from one of the server's own."""
        return super().allows(headers) and headers.getRawHeaders(b"Sec-Fetch-Site", _SAME) in (_SAME, _DIRECT)


class AnyLink(Pages):
    """For files that reveal nothing about the server: links on any page may lead to them."""

    def __init__(self, hosts: Hosts) -> None:
        super().__init__((), hosts, credentials=False)

    def allows(self, headers: Headers) -> bool:
        return True
