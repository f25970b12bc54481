"""The page that describes what a client may call: C{GET /openrpc.json}."""

from typing import Any, Final
from urllib.parse import quote

from twisted.python.failure import Failure
from twisted.web import http, server

from jsonrpcs_tx.log import make_logger, report
from jsonrpcs_tx.openrpc.discovery import METHOD, Discovery
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.transports.httpresource import JsonRpcResource
from jsonrpcs_tx.transports.pageresource import PageResource, respond
from jsonrpcs_tx.transports.peers import ip_address
from jsonrpcs_tx.transports.refusals import refuse

_log = make_logger(__name__)

_TYPE: Final = b"application/json"


class OpenRpcResource(PageResource):
    """Answers GET and HEAD with the document that L{METHOD} returns, for those who may call that; with C{?node=NAME},
    with the document of a node.

    @param path: of JSON-RPC on this server.
    """

    def __init__(self, jsonrpc: JsonRpcResource, discovery: Discovery, path: str) -> None:
        super().__init__(jsonrpc, METHOD)
        self._discovery = discovery
        self._path = path

    def params(self, request: server.Request) -> list[str]:
        """The name of the node, if one is asked for."""
        node = _node(request)
        return [node] if node else []

    def answer(self, request: server.Request, origin: Origin) -> None:
        """Answer a request of a client that may see the page, at once or when the document is written."""
        node = _node(request)
        try:
            document = self._discovery.document(origin.fixed(), node, self._url(request, node))
        except Fault as fault:
            refuse(request, fault.code, fault.text)
            return
        if isinstance(document, bytes):
            respond(request, _TYPE, document)
            return
        gone: list[Failure] = []  # not empty if the client has left

        def leave(failure: Failure) -> None:
            gone.append(failure)
            document.cancel()

        def end(outcome: Any) -> None:
            if not gone:
                self._end(request, outcome)

        request.notifyFinish().addErrback(leave)
        document.addBoth(end).addErrback(lambda failure: _report(failure, "sent"))

    def _end(self, request: server.Request, outcome: bytes | Failure) -> None:
        """Answer when the document is written, or cannot be."""
        if isinstance(outcome, bytes):
            respond(request, _TYPE, outcome)
            return
        fault = outcome.value
        if not isinstance(fault, Fault):
            _report(outcome, "written")
            refuse(request, http.INTERNAL_SERVER_ERROR, "the log says why")
            return
        is_status = fault.code in http.RESPONSES and fault.code >= http.BAD_REQUEST
        refuse(request, fault.code if is_status else http.BAD_GATEWAY, fault.text)

    def _url(self, request: server.Request, node: str) -> str:
        """Where the methods can be called; empty if a proxy hides it, or the request has no Host."""
        host = request.getHeader("host")
        if host is None or self._jsonrpc.proxies.trusts(ip_address(request.getClientAddress())):
            return ""
        below = f"/{quote(node, safe='')}" if node else ""
        return f"{'https' if request.isSecure() else 'http'}://{host}{self._path}{below}"


def _node(request: server.Request) -> str:
    """The name of the node whose commands a request asks for; empty: those of this server."""
    asked: Any = request.args
    return str(asked.get(b"node", [b""])[-1].decode(errors="replace"))


def _report(failure: Failure, done: str) -> None:
    assert failure.value is not None
    report(_log, "the description of the commands cannot be {done}", failure.value, done=done)
