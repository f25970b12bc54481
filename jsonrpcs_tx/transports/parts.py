"""What the transports of a server are made of."""

from collections.abc import Mapping
from typing import Any

import attrs

from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.files.owners import User
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.web.httpresource import JsonRpcResource
from jsonrpcs_tx.web.pageresource import Page


@attrs.frozen
class Parts:
    """The parts of a server that its transports use; each takes those that it needs.

    @ivar settings: all settings.
    @ivar dispatcher: answers the documents.
    @ivar resource: answers requests over HTTP and HTTPS.
    @ivar pages: what else answers over HTTP and HTTPS, by path.
    @ivar reactor: the reactor that the server runs in.
    @ivar user: the user that the process becomes after the start; None: it stays the same.
    """

    settings: Settings
    dispatcher: Dispatcher
    resource: JsonRpcResource
    pages: Mapping[bytes, Page]
    reactor: Any
    user: User | None = None
