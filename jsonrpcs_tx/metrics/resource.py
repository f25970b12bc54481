"""The pages that Prometheus scrapes."""

import re
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web import http, server

from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.metrics.exposition import OPENMETRICS, TEXT, Format
from jsonrpcs_tx.metrics.scrapes import Scrapes
from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.transports.httpresource import JsonRpcResource
from jsonrpcs_tx.transports.pageresource import PageResource, respond
from jsonrpcs_tx.transports.refusals import refuse

_log = make_logger(__name__)

METHOD: Final = "metrics"
"""The method that rules must allow to who scrapes."""

_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_TEXT_RANGES: Final = ("text/plain", "text/*", "*/*")


class MetricsResource(PageResource):
    """Answers scrapes in the format that the Accept header prefers: OpenMetrics, or else the text format.

    @param jsonrpc: decides who may scrape: whoever may call the method L{METHOD}.
    @param scrapes: gives the metrics.
    """

    def __init__(self, jsonrpc: JsonRpcResource, scrapes: Scrapes) -> None:
        super().__init__(jsonrpc, METHOD)
        self._scrapes = scrapes

    def answer(self, request: server.Request, origin: Origin) -> None:
        answer_with(request, self._scrapes)


def answer_with(request: server.Request, scrapes: Scrapes) -> None:
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

    Versions other than ours are passed over, as are parts that cannot be read.
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
