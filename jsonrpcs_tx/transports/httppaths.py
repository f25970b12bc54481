"""Which classes serve HTTP and HTTPS: the direct ones, a shortcut for ordinary requests, or the general ones."""

import attrs

from jsonrpcs_tx.transports.httpdirect import DirectSite
from jsonrpcs_tx.transports.httpsite import JsonRpcSite
from jsonrpcs_tx.transports.tlsdirect import DirectTlsTransport
from jsonrpcs_tx.transports.tlstransport import TlsTransport
from jsonrpcs_tx.transports.twistedprivates import HTTP, HTTP_DIRECT, TLS_DIRECT, available, require
from jsonrpcs_tx.web.httpresource import JsonRpcResource


@attrs.frozen
class HttpPath:
    """The way from a socket to the dispatcher.

    @ivar site: makes the channels.
    @ivar tls: what is between a socket and a channel of HTTPS.
    @ivar grouped: the connections of a port are read together, see L{jsonrpcs_tx.transports.readgroup}.
    """

    site: type[JsonRpcSite]
    tls: type[TlsTransport]
    grouped: bool


def http_path(fast: bool, resource: JsonRpcResource) -> HttpPath:
    """The path for HTTP and HTTPS.

    @param fast: the setting C{fast_paths}: direct where that is possible.
    @param resource: answers the requests. If a program's own checker has to be asked for each of them, all take the
        general path.
    @raise StartError: the installed Twisted lacks what every path needs.
    """
    require("http_listen", HTTP)
    suits = resource.users_file is not None or not resource.authenticates
    direct_site = fast and suits and available(HTTP_DIRECT)
    direct_tls = fast and available(TLS_DIRECT)
    return HttpPath(
        site=DirectSite if direct_site else JsonRpcSite,
        tls=DirectTlsTransport if direct_tls else TlsTransport,
        grouped=fast,
    )
