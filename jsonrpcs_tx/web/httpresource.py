"""The twisted.web resource that answers JSON-RPC; it can be mounted in any site."""

import ipaddress
import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web import http, resource, server

from jsonrpcs_tx.access import peers
from jsonrpcs_tx.access.authentication import Authenticator, Refused, user_of
from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.access.peers import ip_address
from jsonrpcs_tx.access.usersfile import UsersFile
from jsonrpcs_tx.addresses import is_in
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.callee import Callee
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.origin import Peer
from jsonrpcs_tx.rpc.replies import SOME
from jsonrpcs_tx.web.hosts import Hosts
from jsonrpcs_tx.web.ordinary import OWN, Place
from jsonrpcs_tx.web.pages import Pages
from jsonrpcs_tx.web.proxies import Proxies, UnknownClient
from jsonrpcs_tx.web.refusals import FOREIGN_NETWORK, refuse, refuse_caller

_log = make_logger(__name__)

MAX_REASON: Final = 127
"""Bytes of a fault's text that become the reason phrase; Kamailio cuts it at the same length."""

MAX_SHOWN: Final = 100
"""Characters of a header that the log shows."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ALLOWED_METHODS: Final = (b"POST", b"GET")


class HttpClient:
    """Finds out who is at the other end of a connection, when somebody first asks; see L{Origin}.

    @param transport: of the connection.
    @param connected: tells whether the client is still there.
    @param address: the client's, behind proxies or not.
    @param user: who has authenticated.
    @param context: what the site has given for its commands.
    """

    __slots__ = ("_address", "_connected", "_context", "_name", "_peer", "_transport", "_user")

    def __init__(
        self,
        name: str,
        transport: Any,
        connected: Callable[[], bool],
        address: str | None,
        user: str | None,
        context: Any = None,
    ) -> None:
        self._name = name
        self._transport = transport
        self._connected = connected
        self._address = address
        self._user = user
        self._context = context
        self._peer: Peer | None = None

    def __call__(self) -> Peer:
        if self._peer is None:
            end = self._transport.getPeer()
            unix = peers.Credentials() if self._address is not None else peers.credentials(self._transport)
            names = peers.client_names(self._transport)
            caller = Caller(self._name, self._address, self._user, names, unix.uid, unix.gid)
            # Behind a proxy the port is the proxy's.
            port = end.port if self._address is not None and ip_address(end) == self._address else None
            self._peer = Peer(caller, port, unix.pid, self._connected, self._context)
        return self._peer


class JsonRpcResource(resource.Resource):
    """Answers JSON-RPC at its URL and every URL below it. It can be mounted in any twisted.web site.

    It answers POST, and GET with a body, of any content type. A request that it refuses before the dispatcher sees it
    gets a line of plain text: 403 from outside the allowed networks, for a foreign host or from a web page of a foreign
    origin, 405 for another method, 413 for a body over the limit, 415 for a compressed one. Pages of listed origins may
    read all replies (CORS).

    @param dispatcher: answers the documents.
    @param allow: networks whose clients may call.
    @param origins: origins of web pages that may call, besides the server's own.
    @param max_body: the largest document, in bytes.
    @param authenticator: checks the name and password that every request then needs; None: requests need neither.
    @param hosts: the names by which the server may be called.
    @param proxies: the proxies that are believed about their clients.
    @param notification: HTTP status where there is no reply, 200 or 204.
    @param site_authenticates: the site that it is mounted in says who has authenticated, see L{for_user}.
    @ivar max_body: may be set at any time.
    @ivar http_status: whether the status and reason phrase tell of faults.
    @ivar pages: the web pages that may call.
    @ivar callees: finds whom a document is for by what follows its path (the names of nodes, with the query), or the
        error for the client; None: all documents are for this server.
    """

    isLeaf = True

    def __init__(
        self,
        dispatcher: Dispatcher,
        allow: Sequence[str],
        origins: Sequence[str],
        max_body: int,
        authenticator: Authenticator | None = None,
        hosts: Hosts | None = None,
        proxies: Proxies | None = None,
        notification: int = http.OK,
        site_authenticates: bool = False,
    ) -> None:
        super().__init__()
        self.dispatcher = dispatcher
        self.http_status: bool = dispatcher.dialect.http_status
        self.max_body = max_body
        self.hosts: Hosts = Hosts() if hosts is None else hosts
        self.pages: Pages = Pages(origins, self.hosts, credentials=site_authenticates or authenticator is not None)
        self.proxies: Proxies = Proxies() if proxies is None else proxies
        self.notification = notification
        self.callees: Callable[[str, str, Origin], Callee | Error] | None = None
        self._authenticator = authenticator
        self._site_authenticates = site_authenticates
        networks = [*map(ipaddress.ip_network, allow)]
        self.allows: Callable[[str], bool] = lru_cache(4096)(partial(is_in, networks=networks))

    def for_user(self, user: bytes | str | tuple[()] | None, context: Any = None) -> resource.Resource:
        """The same resource for a client that the site has authenticated itself. Its realm or its handler returns it.

        @param user: its name for C{user=} in rules, in UTF-8 where it is bytes: an avatar ID of C{twisted.cred}; empty,
            C{ANONYMOUS} or None: no user.
        @param context: anything that commands are to find in C{call.context}, such as the user's session.
        @raise TypeError: it is not a name.
        @raise ValueError: the server has not been told that the site authenticates, see L{jsonrpcs_tx.makeService}, or
            has a checker, which every request has to pass.
        """
        if not self._site_authenticates or self._authenticator is not None:
            raise ValueError("for_user: allowed with makeService(..., site_authenticates=True), without a checker")
        return _ForUser(self, None if user is None else user_of(user), context)

    def render(self, request: server.Request) -> int:
        """Answer a request, now or when its commands are done. They are cancelled if the client goes away."""
        return self.render_for(request, None)

    def render_for(self, request: server.Request, user: str | None, context: Any = None) -> int:
        """Answer a request of a user that the site has authenticated, or of an unknown one; see L{render}."""
        self.admit(request, partial(self._answer, request, user, context))
        return server.NOT_DONE_YET

    def admit(
        self,
        request: server.Request,
        then: Callable[[str | None], None],
        pages: Pages | None = None,
        document: bytes | None = None,
    ) -> None:
        """Refuse a request whose client, host or web page is not allowed; answer a preflight request; else go on.

        @param then: called with the client's address, see L{client}.
        @param pages: the web pages that are allowed; None: those that may call.
        @param document: what is asked for, for the audit log; None: the body.
        """
        pages = self.pages if pages is None else pages
        for name, value in pages.reply_headers(request.requestHeaders):
            request.setHeader(name, value)
        try:
            client = self.client(request)
        except UnknownClient as error:
            peer, why = ip_address(request.getClientAddress()), f"unknown client ({error}; see http_proxy)"
            self._turn_away(request, peer, why, document)
            refuse(request, http.FORBIDDEN, f"the address of the client is not known: {error}")
            return
        if not (self._refuse(request, client, pages, document) or self._answer_preflight(request, pages)):
            then(client)

    def _answer(self, request: server.Request, user: str | None, context: Any, client: str | None) -> None:
        document = self.read(request)
        if document is None:
            return
        self.identify(
            request, client, lambda found: self.dispatch(request, document, client, found or user, context), document
        )

    def read(self, request: server.Request) -> bytes | None:
        """The document in a request from an allowed client.

        @return: None if its method, its content coding or its size is not allowed; then it is refused.
        """
        if self._refuse_form(request):
            return None
        document: bytes = request.content.read()  # type: ignore[union-attr] # the body has arrived
        if len(document) > self.max_body:
            refuse(request, http.REQUEST_ENTITY_TOO_LARGE, f"allowed: a body of {self.max_body} bytes")
            return None
        return document

    def identify(
        self,
        request: server.Request,
        client: str | None,
        then: Callable[[str | None], None],
        document: bytes = b"",
    ) -> None:
        """Find out which user sends a request, or refuse it.

        @param client: see L{client}.
        @param then: called with the user's name, now or when the password is checked; with None where no password is
            needed.
        @param document: what is asked for, for the audit log.
        """
        if self._authenticator is None:
            then(None)
        else:
            self._authenticate(request, client, then, document)

    def is_stranger(self, request: server.Request, client: str | None) -> bool:
        """Whether a request would be refused whatever its method and its body: it has no name and
        password where these are needed, or it comes from outside the allowed networks, for a foreign host or from a web
        page of a foreign origin.
        """
        return (
            (client is not None and not self.allows(client))
            or not self._is_own_host(request)
            or not self.pages.allows(request.requestHeaders)
            or (self.authenticates and not request.requestHeaders.hasHeader(b"Authorization"))
        )

    @property
    def authenticates(self) -> bool:
        """Whether requests need a name and a password."""
        return self._authenticator is not None

    @property
    def users_file(self) -> UsersFile | None:
        """The file of users that names and passwords are checked against; None: there is none, or another checker."""
        return None if self._authenticator is None else self._authenticator.users_file

    @property
    def knows_users(self) -> bool:
        """Whether anybody says who a client is: a checker, or the site that it is mounted in."""
        return self._site_authenticates or self.authenticates

    def client(self, request: server.Request) -> str | None:
        """The IP address of the client, behind proxies or not; None over a Unix socket.

        @raise UnknownClient: a trusted proxy does not say who its client is.
        """
        peer = ip_address(request.getClientAddress())
        if self.proxies.ignores(peer, request.requestHeaders):
            self.proxies.tell_once(request.site)
        return self.proxies.client(peer, request.requestHeaders)

    def origin(
        self,
        channel: Any,
        connected: Callable[[], bool],
        address: str | None,
        user: str | None = None,
        context: Any = None,
    ) -> Origin:
        """The origin of the requests on a connection.

        @param channel: the connection's channel, after the TLS handshake.
        @param connected: tells whether the client is still there.
        @param address: the client's, see L{client}.
        @param user: who has authenticated, if authentication is required.
        @param context: what the site has given for its commands.
        """
        facts = self.dispatcher.access.facts
        names = peers.client_names(channel.transport) if "tls" in facts else ()
        uid, gid = None, None
        if address is None and not facts.isdisjoint(("uid", "gid")):
            credentials = peers.credentials(channel.transport)
            uid, gid = credentials.uid, credentials.gid
        transport = "https" if channel.isSecure() else "http"
        client = HttpClient(transport, channel.transport, connected, address, user, context)
        return self.dispatcher.origin(
            transport,
            asynchronous=True,
            connection=id(channel),
            find_peer=client,
            address=address,
            user=user,
            tls_names=names,
            uid=uid,
            gid=gid,
        )

    def place(self, names: Sequence[bytes], query: bytes) -> Place:
        """Whom a document is for.

        @param names: what its path has below that of the resource.
        @param query: of its URL.
        """
        if self.callees is None or not any(names):
            return OWN
        return b"/".join(names).decode(errors="backslashreplace"), query.decode(errors="backslashreplace")

    def callee(self, place: Place, origin: Origin) -> Callee | Error | None:
        """Who is found at a place, or the error for the client; None: this server itself.

        @param origin: of documents for this server.
        """
        return None if self.callees is None or place == OWN else self.callees(*place, origin)

    def _authenticate(
        self,
        request: server.Request,
        client: str | None,
        then: Callable[[str | None], None],
        document: bytes,
    ) -> None:
        """Check the name and password of a request, then go on."""
        name, password = request.getUser(), request.getPassword()
        has_tried = request.requestHeaders.hasHeader(b"Authorization")

        def refused(refusal: Refused) -> None:
            refuse_caller(request, refusal)

        why = "malformed Authorization header" if has_tried and not (name or password) else ""
        self.verify(request, client, (name, password), then, refused, document, has_tried, why)

    def verify(
        self,
        request: server.Request,
        client: str | None,
        credentials: tuple[bytes, bytes],
        then: Callable[[str | None], None],
        refused: Callable[[Refused], None],
        document: bytes,
        is_guess: bool = True,
        why: str = "",
    ) -> None:
        """Check a name and a password, where these are needed. The check is cancelled if the client goes away; then
        nothing is called.

        @param credentials: name and password.
        @param then: called with the user's name.
        @param refused: called with why the client is refused, which has been counted and logged.
        @param document: what is asked for, for the audit log.
        @param is_guess: whether the client has said who it is, readable or not.
        @param why: what the log says if it is refused; empty: what the checker says.
        """
        assert self._authenticator is not None
        name, password = credentials
        known_as = peers.client(request.channel.transport) if client is None else client
        asked = self._authenticator.check(name, password, known_as, is_guess)
        request.notifyFinish().addErrback(lambda _: asked.cancel())
        peer = self.peer(request, client)

        def failed(failure: Failure) -> None:
            refusal = failure.value
            if not isinstance(refusal, Refused):
                _log.failure("http: a request of {peer} failed", failure, peer=known_as)
                refusal = Refused(http.INTERNAL_SERVER_ERROR, "the request failed; the log says why")
            claimed = name.decode(errors="backslashreplace") or None
            logged = why or refusal.why or refusal.text
            self.dispatcher.turned_away(peer, refusal.code, logged, document, claimed, bool(refusal.why))
            if not request._disconnected and not request.finished:
                refused(refusal)

        def identified(user: str | None) -> None:
            if not request._disconnected:
                then(user)

        asked.addCallback(identified).addErrback(failed)

    def dispatch(
        self, request: server.Request, document: bytes, client: str | None, user: str | None, context: Any = None
    ) -> None:
        """Answer a document, now or when its commands are done.

        @param request: it has what follows the path of the resource in C{postpath}.
        @param client: see L{client}.
        @param user: who has authenticated.
        @param context: see L{for_user}.
        """
        origin = self.origin(request.channel, lambda: not request._disconnected, client, user, context)
        callee = self.callee(self.place(request.postpath or [], request.uri.partition(b"?")[2]), origin)
        if isinstance(callee, Error):
            self._respond(request, self.dispatcher.refuse(document, callee), unknown=callee)
            return
        reply = self.dispatcher.dispatch(document, origin if callee is None else callee.origin(origin))
        if isinstance(reply, Deferred):
            self._respond_later(request, reply)
        else:
            self._respond(request, reply)

    def _refuse(self, request: server.Request, client: str | None, pages: Pages, document: bytes | None) -> bool:
        """Refuse a request whose client, host or web page is not allowed.

        @return: whether it was refused.
        """
        if client is not None and not self.allows(client):
            self._turn_away(request, client, "outside http_allow", document)
            refuse(request, http.FORBIDDEN, FOREIGN_NETWORK)
        elif not self._is_own_host(request):
            host = _shown(request.getHeader(b"Host"))
            self._turn_away(request, client, f"unknown Host {host} (see http_host)", document)
            refuse(
                request,
                http.FORBIDDEN,
                "the Host header is not a name of this server; allowed: the names in the setting http_host",
            )
        elif not pages.allows(request.requestHeaders):
            origin = _shown(request.getHeader(b"Origin") or request.getHeader(b"Sec-Fetch-Site"))
            self._turn_away(request, client, f"web page of foreign Origin {origin} (see http_origin)", document)
            refuse(request, http.FORBIDDEN, "web pages of this origin may not call")
        else:
            return False
        return True

    def _turn_away(self, request: server.Request, client: str | None, why: str, document: bytes | None) -> None:
        """Note that a request is refused; see L{Dispatcher.turned_away}.

        @param document: what is asked for; None: the body.
        """
        if document is None:
            document = request.content.read()  # type: ignore[union-attr] # the body has arrived
        self.dispatcher.turned_away(self.peer(request, client), http.FORBIDDEN, why, document)

    def peer(self, request: server.Request, client: str | None) -> Peer:
        """The peer of a client that has not been authenticated."""
        name = "https" if request.channel.isSecure() else "http"
        return HttpClient(name, request.channel.transport, lambda: True, client, None)()

    def _answer_preflight(self, request: server.Request, pages: Pages) -> bool:
        """Answer a preflight request, by which the browser of a page of a listed origin asks what the page may send.

        @return: whether the request was one.
        """
        headers = pages.preflight_headers(request.method, request.requestHeaders)
        if headers:
            for name, value in headers:
                request.setHeader(name, value)
            request.setResponseCode(http.NO_CONTENT)
            request.finish()
        return bool(headers)

    def _refuse_form(self, request: server.Request) -> bool:
        """Refuse a request from an allowed client whose method or content coding is not allowed.

        @return: whether it was refused.
        """
        codings = request.requestHeaders.getRawHeaders(b"Content-Encoding", [])
        if request.method not in _ALLOWED_METHODS:
            request.setHeader(b"Allow", b", ".join(_ALLOWED_METHODS))
            refuse(request, http.NOT_ALLOWED, "allowed: POST, GET with a body")
        elif any(coding.lower() != b"identity" for coding in codings):
            request.setHeader(b"Accept-Encoding", b"identity")
            refuse(request, http.UNSUPPORTED_MEDIA_TYPE, "allowed: a body without Content-Encoding, or with identity")
        else:
            return False
        return True

    def _is_own_host(self, request: server.Request) -> bool:
        """Whether a request is for a name of this server. Browsers always send a name, so a request without one is
        allowed, and no name on the Internet leads a browser to a Unix socket.
        """
        hosts = request.requestHeaders.getRawHeaders(b"Host", [])
        return all(map(self.hosts.accepts, hosts)) or ip_address(request.getClientAddress()) is None

    def _respond_later(self, request: server.Request, later: Deferred[Reply]) -> None:
        def client_gone(_: object) -> None:
            later.addCallback(lambda reply: None)
            later.cancel()

        def respond(reply: Reply) -> None:
            if not request._disconnected:
                self._respond(request, reply)

        request.notifyFinish().addErrback(client_gone)
        later.addCallback(respond)

    def _respond(self, request: server.Request, reply: Reply, unknown: Error | None = None) -> None:
        """@param unknown: why nobody is found at the path, which is told by the status in any case."""
        if unknown is not None:
            request.setResponseCode(unknown.code, _reason(unknown.text))
        elif not reply.body:
            request.setResponseCode(self.notification)
        elif self.http_status and (reply.fault or reply.code == SOME):
            request.setResponseCode(*status(reply))
        if reply.body:
            request.setHeader(b"Content-Type", b"application/json")
        if reply.body or self.notification != http.NO_CONTENT:
            request.setHeader(b"Content-Length", b"%d" % len(reply.body))
        request.write(reply.body)
        request.finish()


if TYPE_CHECKING:

    class MountableResource(JsonRpcResource, resource.IResource):
        """The resource for type checkers that do not know zope.interface: it can be mounted."""

else:
    MountableResource = JsonRpcResource


class _ForUser(resource.Resource):
    """The resource for one user."""

    isLeaf = True

    def __init__(self, answers: JsonRpcResource, user: str | None, context: Any) -> None:
        super().__init__()
        self._context = context
        self._answers = answers
        self._user = user

    def render(self, request: server.Request) -> int:
        return self._answers.render_for(request, self._user, self._context)


def is_connected(request: server.Request) -> bool:
    """Whether the client of a request is still there."""
    return not request._disconnected


def status(reply: Reply) -> tuple[int, bytes]:
    """The HTTP status and reason phrase that tell of a fault, or of some (dialect C{kamailio})."""
    if reply.code in (-32700, -32600):
        code = http.BAD_REQUEST
    else:
        code = reply.code if 400 <= reply.code <= 599 or not reply.fault else http.INTERNAL_SERVER_ERROR
    return code, _reason(reply.text)


def _reason(text: str) -> bytes:
    """The reason phrase that a text becomes. Clients and nodes may have written it: no line of it is a header."""
    return _CONTROL.sub(" ", text).encode()[:MAX_REASON].decode(errors="ignore").encode()


def _shown(header: bytes | None) -> str:
    """The value of a header, for the log."""
    return f"'{(header or b'')[:MAX_SHOWN].decode(errors='backslashreplace')}'"
