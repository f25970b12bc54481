"""Who sends a request to the console: the user of its session, or the caller of its connection if nobody signs in."""

import ipaddress
from collections.abc import Hashable
from typing import Final
from urllib.parse import urlsplit

import attrs
import msgspec
from twisted.web import http, server

from jsonrpcs_tx.console.cookies import read_token
from jsonrpcs_tx.console.ownpages import AnyLink, OwnPages
from jsonrpcs_tx.console.sessions import NO_RIGHTS, Session, Sessions
from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.transports.httpresource import JsonRpcResource, is_connected
from jsonrpcs_tx.transports.pageresource import respond
from jsonrpcs_tx.transports.refusals import refuse

JSON: Final = b"application/json"

_SIGN_IN: Final = msgspec.json.encode({"needs": "password"})


@attrs.frozen
class Visitor:
    """Who sends a request.

    @ivar request: the request.
    @ivar client: the address, see L{JsonRpcResource.client}.
    @ivar session: the session; None: nobody signs in on this server.
    """

    request: server.Request
    client: str | None
    session: Session | None

    @property
    def user(self) -> str | None:
        """The user who has signed in."""
        return None if self.session is None else self.session.user


class Visitors:
    """Finds out who sends requests.

    @param jsonrpc: makes the checks of calls, and has the rules.
    @ivar sessions: those who have signed in.
    @ivar own: the web pages that may use the console.
    @ivar any_link: the web pages that may lead there.
    """

    def __init__(self, jsonrpc: JsonRpcResource, sessions: Sessions) -> None:
        self.sessions = sessions
        self.own: OwnPages = OwnPages(jsonrpc.hosts)
        self.any_link: AnyLink = AnyLink(jsonrpc.hosts)
        self._jsonrpc = jsonrpc

    def find(self, request: server.Request, client: str | None) -> Visitor | None:
        """Who sends a request; None: somebody who must sign in first."""
        if not self._jsonrpc.authenticates:
            return Visitor(request, client, None)
        token = read_token(request.requestHeaders)
        session = None if token is None else self.sessions.find(token)
        return None if session is None else Visitor(request, client, session)

    def admit(self, request: server.Request, client: str | None) -> Visitor | None:
        """Who sends a request; None: it has been refused, as nobody is signed in, or rules allow nothing."""
        visitor = self.find(request, client)
        if visitor is None:
            ask_to_sign_in(request)
            return None
        if not self.may_call(self.origin(visitor)):
            self.forbid(visitor, "console", "the rules do not allow you anything")
            self.shut_out(visitor)
            return None
        if visitor.session is not None:
            self.sessions.use(visitor.session)
        return visitor

    def origin(self, visitor: Visitor) -> Origin:
        """The origin of what a visitor sends, for the rules."""
        request = visitor.request
        return self._jsonrpc.origin(request.channel, lambda: is_connected(request), visitor.client, visitor.user)

    def source(self, visitor: Visitor) -> Hashable:
        """Whose limits apply to a visitor: those of the user, or of the address if nobody signs in."""
        return visitor.user or self.origin(visitor).peer().source

    def may_call(self, origin: Origin) -> bool:
        """Whether rules allow a caller anything."""
        return origin.caller is None or self._jsonrpc.dispatcher.access.admits(origin.caller)

    def forbid(self, visitor: Visitor, method: str, told: str) -> None:
        """Refuse a request that rules forbid, count it, and enter it in the logs.

        @param method: the one that a rule would have to allow.
        @param told: why, for the client.
        """
        self._jsonrpc.dispatcher.forbid(self.origin(visitor), method)
        refuse(visitor.request, http.FORBIDDEN, told)

    def shut_out(self, visitor: Visitor) -> None:
        """End the session of a visitor whom rules allow nothing."""
        if visitor.session is not None:
            self.sessions.end(visitor.session, NO_RIGHTS)


def ask_to_sign_in(request: server.Request) -> None:
    """Answer a request of somebody who is not signed in, without the header that makes browsers ask for a password."""
    respond(request, JSON, _SIGN_IN, http.UNAUTHORIZED)


def is_foreign_scheme(request: server.Request) -> bool:
    """Whether a request over HTTPS comes from a page that was loaded over HTTP, which anybody on the network may have
    written.
    """
    origin = request.getHeader("origin")
    return origin is not None and request.isSecure() and not origin.lower().startswith("https:")


def is_private(request: server.Request, client: str | None) -> bool:
    """Whether nobody on the network can read what a browser sends: it uses HTTPS, to this server or to a proxy before
    it, or it is on this machine. The origin of its page shows which protocol it uses.
    """
    if request.isSecure():
        return True
    origin = request.getHeader("origin")
    if origin is None:
        return client is None or _is_loopback(client)
    try:
        parts = urlsplit(origin.lower())
        host = parts.hostname or ""
    except ValueError:
        return False
    return parts.scheme == "https" or host == "localhost" or host.endswith(".localhost") or _is_loopback(host)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
