"""HTTP: a service for each endpoint, whose channels and resource are in the modules beside this one."""

import os
from collections.abc import Iterator
from typing import Any

from jsonrpcs_tx.transports import unixstreams
from jsonrpcs_tx.transports.files import Ownership
from jsonrpcs_tx.transports.httppaths import http_path
from jsonrpcs_tx.transports.parts import Parts
from jsonrpcs_tx.transports.stream import StreamService
from jsonrpcs_tx.web.refusals import FOREIGN_NETWORK, closing_response


def make_transports(parts: Parts) -> Iterator[StreamService]:
    """The services for the values of C{http_listen}.

    @raise StartError: the installed Twisted lacks what HTTP needs.
    """
    settings, access = parts.settings, parts.dispatcher.access
    path = http_path(settings.fast_paths, parts.resource)
    refusal = closing_response(403, FOREIGN_NETWORK)
    for endpoint in settings.http_listen:
        site = path.site(settings, parts.resource, parts.reactor, parts.pages)
        reactor = reactor_for(parts, "http_listen", endpoint)
        yield StreamService("http_listen", endpoint, "http", site, access, reactor, refusal, fast=path.grouped)


def reactor_for(parts: Parts, setting: str, endpoint: str) -> Any:
    """The reactor that an endpoint of HTTP(S) listens with: files of Unix sockets get their mode and owner.

    @param setting: the setting that the endpoint comes from, for messages.
    """
    settings = parts.settings
    ownership = Ownership("http", settings.http_mode, settings.http_user, settings.http_group)
    return unixstreams.reactor_for(
        endpoint, setting, lambda path: os.path.abspath(settings.path(path)), ownership, parts.reactor
    )
