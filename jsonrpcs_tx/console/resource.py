"""The twisted.web resource of the console: its paths, and the headers that all of its answers have."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from twisted.web import http, server

from jsonrpcs_tx.console.assetfiles import PAGE, Asset
from jsonrpcs_tx.console.signing import SessionPage
from jsonrpcs_tx.console.visitors import JSON, Visitor, Visitors, is_foreign_scheme
from jsonrpcs_tx.openrpc.resource import OpenRpcResource
from jsonrpcs_tx.transports.httpresource import JsonRpcResource
from jsonrpcs_tx.transports.pageresource import Page, refuses_method
from jsonrpcs_tx.transports.refusals import refuse

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The Content Security Policy: the page runs no code but its own files, and asks no other server."""

HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
"""The headers that all answers have."""

ASSETS: Final = b"assets"
SESSION: Final = b"session"
CALLS: Final = b"RPC"
OPENRPC: Final = b"openrpc.json"
EVENTS: Final = b"events"
TABLE: Final = b"table"

_DOCUMENT: Final = b'{"jsonrpc":"2.0","method":"console"}'
"""The request that the audit log shows for a refused one, since the body may contain a password."""

_JSON: Final = re.compile(rb"[ \t]*application/json[ \t]*(;.*)?", re.IGNORECASE)


class ConsoleResource(Page):
    """Answers at its own path and below.

    The page and its files reveal nothing about the server: every client within C{http_allow} may have them. Everything
    else is for those who have signed in, or, where the server has no users, for those whom rules allow something.

    @param jsonrpc: makes the checks, and answers calls.
    @param assets: the files of the page.
    @param visitors: finds out who sends requests.
    @param session: answers at L{SESSION}.
    @param openrpc: answers at L{OPENRPC}.
    @param events: answers at L{EVENTS}.
    @param table: answers at L{TABLE}.
    """

    has_below = True

    def __init__(
        self,
        jsonrpc: JsonRpcResource,
        assets: Mapping[bytes, Asset],
        visitors: Visitors,
        session: SessionPage,
        openrpc: OpenRpcResource,
        events: Callable[[Visitor], object],
        table: Callable[[Visitor], object],
    ) -> None:
        super().__init__()
        self._jsonrpc = jsonrpc
        self._assets = assets
        self._visitors = visitors
        self._session = session
        self._pages: Mapping[bytes, Callable[[Visitor], object]] = {
            OPENRPC: lambda visitor: openrpc.check(visitor.request, visitor.client, visitor.user),
            EVENTS: events,
            TABLE: table,
        }

    def render(self, request: server.Request) -> int:
        """Answer a request, now or later. What follows the path of the console is in its C{postpath}."""
        for name, value in HEADERS.items():
            request.setHeader(name.encode(), value.encode())
        path = list(request.postpath or [])
        if not path or path == [b""] or path[0] == ASSETS:
            self._jsonrpc.admit(
                request, lambda client: self._answer_static(request, path), self._visitors.any_link, _DOCUMENT
            )
        else:
            self._jsonrpc.admit(request, partial(self._answer, request, path), self._visitors.own, _DOCUMENT)
        return server.NOT_DONE_YET

    def _answer_static(self, request: server.Request, path: list[bytes]) -> None:
        """Answer with a file of the page, or redirect from the path without a slash at its end."""
        if refuses_method(request):
            return
        if not path:
            # Relative, since a proxy may have the console at another path.
            request.redirect(request.path.rpartition(b"/")[2] + b"/")
            request.setHeader(b"Cache-Control", b"no-store")
            request.setHeader(b"Content-Length", b"0")
            request.finish()
            return
        name = PAGE.encode() if path == [b""] else b"/".join(path[1:])
        asset = self._assets.get(name)
        if asset is None or (len(path) > 1 and name == PAGE.encode()):
            refuse(request, http.NOT_FOUND, "there is no such file")
            return
        request.setHeader(b"Content-Type", asset.type)
        request.setHeader(b"Cache-Control", b"no-cache")
        body = b"" if request.setETag(asset.tag) is http.CACHED else asset.body
        if body:
            request.setHeader(b"Content-Length", b"%d" % len(body))
        request.write(body)
        request.finish()

    def _answer(self, request: server.Request, path: list[bytes], client: str | None) -> None:
        """Answer a request from a client that may send it, and from no foreign page."""
        if is_foreign_scheme(request):
            refuse(request, http.FORBIDDEN, "pages that were loaded over http:// may not use the console over HTTPS")
        elif path == [SESSION]:
            self._session.render(request, client)
        elif path[0] == CALLS:
            self._call(request, path[1:], client)
        elif len(path) == 1 and path[0] in self._pages:
            if not refuses_method(request):
                visitor = self._visitors.admit(request, client)
                if visitor is not None:
                    self._pages[path[0]](visitor)
        else:
            refuse(request, http.NOT_FOUND, "there is no such page")

    def _call(self, request: server.Request, names: list[bytes], client: str | None) -> None:
        """Answer a document, as at the path of JSON-RPC, for the user of the session.

        @param names: of the nodes that it is for; empty: it is for this server.
        """
        if request.method != b"POST":
            request.setHeader(b"Allow", b"POST")
            refuse(request, http.NOT_ALLOWED, "allowed: POST")
        elif not _JSON.fullmatch(request.getHeader(b"Content-Type") or b""):
            # Pages of other sites cannot send this type, unless a preflight request is answered.
            refuse(request, http.UNSUPPORTED_MEDIA_TYPE, f"allowed: Content-Type: {JSON.decode()}")
        else:
            document = self._jsonrpc.read(request)
            visitor = None if document is None else self._visitors.admit(request, client)
            if document is not None and visitor is not None:
                request.postpath = names
                request.setHeader(b"Cache-Control", b"no-store")
                self._jsonrpc.dispatch(request, document, client, visitor.user)
