"""The pages that Prometheus scrapes."""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web import http, server

from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.metrics.exposition import OPENMETRICS, TEXT, Family, Format
from jsonrpcs_tx.metrics.scrapes import Scrapes
from jsonrpcs_tx.printable import printable
from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.slices import Slices
from jsonrpcs_tx.transports.httpresource import JsonRpcResource
from jsonrpcs_tx.transports.pageresource import PageResource, respond
from jsonrpcs_tx.transports.refusals import refuse

_log = make_logger(__name__)

METHOD: Final = "metrics"
"""The method that rules must allow to those who scrape."""

MAX_SCRAPES: Final = 256
"""Sets of nodes whose results are kept for a moment."""

Nodes: TypeAlias = tuple[str, ...]
"""Names of nodes."""

_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_TEXT_RANGES: Final = ("text/plain", "text/*", "*/*")


class MetricsResource(PageResource):
    """Answers scrapes in the format that the Accept header prefers: OpenMetrics, or otherwise the text format.

    @param jsonrpc: decides who may scrape: whoever may call the method L{METHOD}. Of the nodes of a gateway, a caller
        gets those on which it may call that.
    @param families: collects the metrics of this server, and of the nodes with these names.
    @param slices: in which they are collected.
    @param clock: the reactor.
    @param nodes: gives the names of the nodes on which a caller may call a method.
    """

    def __init__(
        self,
        jsonrpc: JsonRpcResource,
        families: Callable[[Nodes], Iterator[Family]],
        slices: Slices,
        clock: Any,
        nodes: Callable[[Origin, str], Nodes] = lambda origin, method: (),
    ) -> None:
        super().__init__(jsonrpc, METHOD)
        self._nodes = nodes
        self._scrapes = lru_cache(MAX_SCRAPES)(lambda names: Scrapes(partial(families, names), slices, clock))

    def answer(self, request: server.Request, origin: Origin) -> None:
        _answer(request, self._scrapes(self._nodes(origin, METHOD)))


class ProbeResource(PageResource):
    """Answers scrapes of one node of a gateway, C{?target=NAME}, for whoever may call the method L{METHOD} on it.

    @param families: collects the metrics of the nodes with these names.
    @param slices: in which they are collected.
    @param clock: the reactor.
    @param find: gives the origin of calls on the node of a name; raises KeyError if there is none.
    """

    def __init__(
        self,
        jsonrpc: JsonRpcResource,
        families: Callable[[Nodes], Iterator[Family]],
        slices: Slices,
        clock: Any,
        find: Callable[[str, Origin], Origin],
    ) -> None:
        super().__init__(jsonrpc, METHOD)
        self._find = find
        self._scrapes = lru_cache(MAX_SCRAPES)(lambda name: Scrapes(partial(families, (name,)), slices, clock))

    def may(self, request: server.Request, origin: Origin) -> bool:
        """Whether a client may see a node. Where there is no such node, the answer says so."""
        try:
            return super().may(request, self._find(_target(request), origin))
        except KeyError:
            return True

    def answer(self, request: server.Request, origin: Origin) -> None:
        name = _target(request)
        try:
            self._find(name, origin)
        except KeyError:
            if name:
                refuse(request, http.NOT_FOUND, f"there is no node {printable(name[:100])}")
            else:
                refuse(request, http.BAD_REQUEST, "target is missing; allowed: ?target=NAME")
        else:
            _answer(request, self._scrapes(name))


def _target(request: server.Request) -> str:
    """The name of the node that a request asks for; empty: it does not name one."""
    values = (request.args or {}).get(b"target", [])
    return values[0].decode(errors="backslashreplace") if len(values) == 1 else ""


def _answer(request: server.Request, scrapes: Scrapes) -> None:
    """Answer a request with metrics, once they are collected."""
    form = preferred(request.getHeader(b"Accept"))
    gone: list[Failure] = []
    request.notifyFinish().addErrback(gone.append)

    def scraped(body: bytes) -> None:
        if not gone:
            request.setHeader(b"Vary", b"Accept")
            respond(request, form.content_type, body)

    def failed(failure: Failure) -> None:
        _log.failure("the metrics cannot be collected", failure)
        if not gone:
            refuse(request, http.INTERNAL_SERVER_ERROR, "the metrics cannot be collected; the log says why")

    result: Deferred[Any] = scrapes.get(form)
    result.addCallbacks(scraped, failed)


def preferred(accept: bytes | None) -> Format:
    """The format that an Accept header prefers (RFC 9110, section 12.5.1); the text format where it does not say.

    Other versions are skipped, as are parts that cannot be read.
    """
    quality = {"application/openmetrics-text": 0.0, "text": 0.0}
    for part in (accept or b"").decode("latin-1").lower().split(","):
        media, *parameters = (word.strip() for word in part.split(";"))
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        asked = values.get("q", "1")
        if not _QUALITY.fullmatch(asked):
            continue
        if media == "application/openmetrics-text" and values.get("version", "1.0.0") == "1.0.0":
            quality[media] = max(quality[media], float(asked))
        elif media in _TEXT_RANGES:
            quality["text"] = max(quality["text"], float(asked))
    best = quality["application/openmetrics-text"]
    return OPENMETRICS if best and best >= quality["text"] else TEXT
