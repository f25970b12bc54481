"""The page C{session}: says who is signed in, and signs users in and out."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from twisted.web import http, server

from jsonrpcs_tx._version import __version__
from jsonrpcs_tx.access.authentication import Refused
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.console.cookies import remove_token, set_token
from jsonrpcs_tx.console.sessions import SIGNED_OUT
from jsonrpcs_tx.console.visitors import JSON, Visitor, Visitors, is_private
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.transports.httpresource import JsonRpcResource
from jsonrpcs_tx.transports.pageresource import respond
from jsonrpcs_tx.transports.refusals import refuse, refuse_caller

if TYPE_CHECKING:
    from jsonrpcs_tx.gateway.gateway import Gateway  # only few servers are gateways

_log = make_logger(__name__)

SIGN_IN: Final = "console.sign_in"
"""The method that the audit log has for signing in. It is not a command."""

SIGN_OUT: Final = "console.sign_out"
"""The same for signing out."""

AUDIT: Final = "console.audit"
"""The method that rules must allow to those who may read the audit log. It is not a command."""

MAX_BODY: Final = 8192
"""Bytes of a name and a password in JSON."""

_DOCUMENT: Final = msgspec.json.encode({"jsonrpc": "2.0", "method": SIGN_IN})
_METHODS: Final = (b"GET", b"HEAD", b"POST", b"DELETE")


class _Credentials(msgspec.Struct):
    user: str
    password: str


class SessionPage:
    """Answers requests for C{session}.

    @param jsonrpc: checks names and passwords.
    @param visitors: finds out who sends requests, and has the sessions.
    @param settings: returns the current settings.
    @param gateway: has the nodes; None: there are no nodes.
    """

    def __init__(
        self,
        jsonrpc: JsonRpcResource,
        visitors: Visitors,
        settings: Callable[[], Settings],
        gateway: "Gateway | None",
    ) -> None:
        self._jsonrpc = jsonrpc
        self._visitors = visitors
        self._settings = settings
        self._gateway = gateway

    def render(self, request: server.Request, client: str | None) -> None:
        """Answer a request from a client that may send it."""
        if request.method in (b"GET", b"HEAD"):
            respond(request, JSON, msgspec.json.encode(self._told(self._visitors.find(request, client))))
        elif request.method == b"POST":
            self._sign_in(request, client)
        elif request.method == b"DELETE":
            self._sign_out(request, client)
        else:
            request.setHeader(b"Allow", b", ".join(_METHODS))
            refuse(request, http.NOT_ALLOWED, "allowed: GET, POST to sign in, DELETE to sign out")

    def _told(self, visitor: Visitor | None) -> dict[str, Any]:
        """What the page gets to know of its user, and of the server if the user may call something."""
        if visitor is None:
            return {"user": None, "needs": "password", "expires": None}
        sessions, session = self._visitors.sessions, visitor.session
        expires = None if session is None else int(sessions.left(session))
        told = {"user": visitor.user, "needs": "nothing", "expires": expires}
        origin = self._visitors.origin(visitor)
        if not self._visitors.may_call(origin):
            return {**told, "may": {"audit": False, "call": False}}
        settings = self._settings()
        nodes, groups = self._nodes(origin)
        return {
            **told,
            "version": __version__,
            "compatibility": settings.compatibility,
            "dialect": settings.dialect,
            "path": settings.http_path,
            "nodes": nodes,
            "groups": groups,
            "may": {"audit": not self._jsonrpc.dispatcher.forbids(origin, AUDIT, []), "call": True},
        }

    def _nodes(self, origin: Origin) -> tuple[list[str], list[str]]:
        """The names of the nodes that a caller may call, and of their groups."""
        if self._gateway is None:
            return [], []
        nodes = self._gateway.callable_by(origin)
        return [node.name for node in nodes], list(
            dict.fromkeys(group for node in nodes for group in node.definition.groups)
        )

    def _sign_in(self, request: server.Request, client: str | None) -> None:
        kind = (request.getHeader("content-type") or "").partition(";")[0].strip().lower()
        body = request.content.read(MAX_BODY + 1)  # type: ignore[union-attr] # the body has arrived
        if not self._jsonrpc.authenticates:
            refuse(request, http.CONFLICT, "nobody signs in here: the server has no users")
        elif not is_private(request, client):
            refuse(request, http.FORBIDDEN, "passwords are sent over HTTPS only; allowed: https://, or this machine")
        elif kind != JSON.decode():
            refuse(request, http.UNSUPPORTED_MEDIA_TYPE, "allowed: Content-Type: application/json")
        elif len(body) > MAX_BODY:
            refuse(request, http.REQUEST_ENTITY_TOO_LARGE, f"allowed: a body of {MAX_BODY} bytes")
        else:
            try:
                given = msgspec.json.decode(body, type=_Credentials)
                credentials = given.user.encode(), given.password.encode()
            except (msgspec.MsgspecError, UnicodeError):
                refuse(request, http.BAD_REQUEST, 'allowed: {"user": "...", "password": "..."}')
            else:
                self._verify(request, client, credentials)

    def _verify(self, request: server.Request, client: str | None, credentials: tuple[bytes, bytes]) -> None:
        sessions = self._visitors.sessions
        line = sessions.line(credentials[0].decode())

        def right(user: str | None) -> None:
            former = self._visitors.find(request, client)
            if former is not None:
                self._end(former)
            token = sessions.begin(user, line)
            session = sessions.find(token)
            if session is None:  # the password has changed while it was checked
                wrong(Refused(http.UNAUTHORIZED, ""))
                return
            visitor = Visitor(request, client, session)
            origin = self._visitors.origin(visitor)
            if not self._visitors.may_call(origin):
                told = "the password is right, but the rules do not allow you anything"
                self._visitors.forbid(visitor, SIGN_IN, told)
                self._visitors.shut_out(visitor)
                return
            _log.info("{caller}: signed in to the console", caller=origin)
            self._jsonrpc.dispatcher.done(origin, SIGN_IN)
            request.responseHeaders.addRawHeader(b"Set-Cookie", set_token(request.requestHeaders, token))
            _done(request)

        def wrong(refusal: Refused) -> None:
            if refusal.code == http.UNAUTHORIZED:
                refuse(request, http.FORBIDDEN, "wrong name or password")
            else:
                refuse_caller(request, refusal)

        self._jsonrpc.verify(request, client, credentials, right, wrong, _DOCUMENT)

    def _sign_out(self, request: server.Request, client: str | None) -> None:
        visitor = self._visitors.find(request, client)
        if visitor is not None:
            self._end(visitor)
        request.responseHeaders.addRawHeader(b"Set-Cookie", remove_token(request.requestHeaders))
        _done(request)

    def _end(self, visitor: Visitor) -> None:
        if visitor.session is not None:
            origin = self._visitors.origin(visitor)
            _log.info("{caller}: signed out of the console", caller=origin)
            self._jsonrpc.dispatcher.done(origin, SIGN_OUT)
            self._visitors.sessions.end(visitor.session, SIGNED_OUT)


def _done(request: server.Request) -> None:
    request.setHeader(b"Cache-Control", b"no-store")
    request.setResponseCode(http.NO_CONTENT)
    request.finish()
