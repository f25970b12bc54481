"""The twisted.web resource that tells load balancers whether the server can do its work."""

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.web import http, server

from jsonrpcs_tx.access.peers import UNKNOWN_ADDRESS
from jsonrpcs_tx.state.health import METHOD
from jsonrpcs_tx.web.httpresource import JsonRpcResource
from jsonrpcs_tx.web.pageresource import PageResource, refuses_method, respond
from jsonrpcs_tx.web.proxies import UnknownClient
from jsonrpcs_tx.web.refusals import FOREIGN_NETWORK, refuse


class HealthResource(PageResource):
    """Answers GET and HEAD with 200, or with 503 where the server fails.

    Load balancers have no password, and often name no host, or another one. So every client within C{http_allow} is
    told the status, and so is a proxy that asks for itself, without a client (C{PROXY UNKNOWN}, or C{LOCAL}). The
    checks with their reasons are for those who may call the command L{METHOD} over this transport: with a name and a
    password where these are needed, and not from a foreign web page.

    @param jsonrpc: decides who may see the checks.
    @param report: gives the report, see L{jsonrpcs_tx.state.health.Health.report}.
    """

    def __init__(self, jsonrpc: JsonRpcResource, report: Callable[[], dict[str, Any]]) -> None:
        super().__init__(jsonrpc, METHOD)
        self._report = report

    def render(self, request: server.Request) -> int:
        """Answer a request, now or when its password is checked."""
        jsonrpc = self._jsonrpc
        for name, value in jsonrpc.pages.reply_headers(request.requestHeaders):
            request.setHeader(name, value)
        try:
            client = jsonrpc.client(request)
        except UnknownClient as error:
            refuse(request, http.FORBIDDEN, f"the address of the client is not known: {error}")
            return server.NOT_DONE_YET
        if client is not None and client != UNKNOWN_ADDRESS.host and not jsonrpc.allows(client):
            refuse(request, http.FORBIDDEN, FOREIGN_NETWORK)
        elif refuses_method(request):
            pass
        elif jsonrpc.is_stranger(request, client):
            self._tell(request, told=False)
        else:
            jsonrpc.identify(request, client, lambda user: self._tell(request, self._may(request, client, user)))
        return server.NOT_DONE_YET

    def _may(self, request: server.Request, client: str | None, user: str | None) -> bool:
        """Whether a client may call the command that gives the report."""
        origin = self._jsonrpc.origin(request.channel, lambda: True, client, user)
        return origin.caller is None or self._jsonrpc.dispatcher.access.allows(origin.caller, METHOD)

    def _tell(self, request: server.Request, told: bool) -> None:
        report = self._report()
        body = msgspec.json.encode(report if told else {"status": report["status"]})
        code = http.SERVICE_UNAVAILABLE if report["status"] == "fail" else http.OK
        respond(request, b"application/json", body, code)
