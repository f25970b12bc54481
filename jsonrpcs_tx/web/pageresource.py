"""What pages beside JSON-RPC have in common: twisted.web resources that answer GET, for those who may call a method."""

from functools import partial
from typing import Any, Final

from twisted.web import http, resource, server

from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.web.httpresource import JsonRpcResource
from jsonrpcs_tx.web.refusals import refuse

METHODS: Final = (b"GET", b"HEAD")
"""What pages answer."""


class Page(resource.Resource):
    """What answers at a path of its own. It can be mounted in any twisted.web site.

    @cvar has_below: it also answers at every path below its own, whatever the requests; they find in C{postpath} what
        follows its own path.
    """

    isLeaf = True
    has_below = False

    def accepts(self, request: server.Request) -> bool:
        """Whether a request is for the page, and not a JSON-RPC request for the same path."""
        return True


class PageResource(Page):
    """A page that passes the same checks as a call: C{http_allow}, Host, the Origin of web pages, name and password,
    and the rules for a method. Refused clients are logged, counted and audited as those of calls are.

    A subclass answers in L{answer}.

    @param jsonrpc: makes the checks.
    @param method: the method that a client must be allowed; it need not be a command.
    """

    def __init__(self, jsonrpc: JsonRpcResource, method: str) -> None:
        super().__init__()
        self._jsonrpc = jsonrpc
        self._method = method
        self._document = b'{"jsonrpc":"2.0","method":"%b"}' % method.encode()  # what the audit log says of a refusal

    def answer(self, request: server.Request, origin: Origin) -> None:
        """Answer a request of a client that may see the page, now or later; see L{respond} and L{refuse}.

        @param origin: who asks.
        """
        raise NotImplementedError

    def params(self, request: server.Request) -> list[str]:
        """The parameters that the method would be called with in place of a request, for rules that ask for these."""
        return []

    def may(self, request: server.Request, origin: Origin) -> bool:
        """Whether rules let a client see the page: by default, whether it may call the method on this server."""
        return not self._jsonrpc.dispatcher.forbids(origin, self._method, self.params(request))

    def accepts(self, request: server.Request) -> bool:
        """Whether a request is for the page, and not a JSON-RPC request for the same path: it has no body."""
        content: Any = request.content
        if request.method not in METHODS or content.read(1):
            content.seek(0)
            return False
        return True

    def render(self, request: server.Request) -> int:
        """Answer a request, now or when its password is checked."""
        self._jsonrpc.admit(request, partial(self._identify, request))
        return server.NOT_DONE_YET

    def _identify(self, request: server.Request, client: str | None) -> None:
        if not refuses_method(request):
            self._jsonrpc.identify(request, client, partial(self.check, request, client), self._document)

    def check(self, request: server.Request, client: str | None, user: str | None) -> None:
        """Answer a client if rules let it see the page.

        @param client: see L{JsonRpcResource.client}.
        @param user: who has authenticated.
        """
        origin = self._jsonrpc.origin(request.channel, lambda: True, client, user)
        if self.may(request, origin):
            self.answer(request, origin)
            return
        self._jsonrpc.dispatcher.forbid(origin, self._method)
        refuse(request, http.FORBIDDEN, f"a rule must allow the method {self._method}")


def refuses_method(request: server.Request) -> bool:
    """Refuse a request unless its HTTP method is one of L{METHODS}.

    @return: whether it was refused.
    """
    if request.method in METHODS:
        return False
    request.setHeader(b"Allow", b", ".join(METHODS))
    refuse(request, http.NOT_ALLOWED, "allowed: GET, HEAD")
    return True


def respond(request: server.Request, content_type: bytes, body: bytes, code: int = http.OK) -> None:
    """Answer with a page, which nobody may cache; HEAD gets its headers alone."""
    request.setResponseCode(code)
    request.setHeader(b"Content-Type", content_type)
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.setHeader(b"Cache-Control", b"no-store")
    request.write(b"" if request.method == b"HEAD" else body)
    request.finish()
