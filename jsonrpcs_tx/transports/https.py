"""HTTPS: the site of HTTP over TLS, with certificates that can be read again."""

from typing import Any

from twisted.protocols.tls import TLSMemoryBIOFactory

from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.transports import tls
from jsonrpcs_tx.transports.http import JsonRpcSite
from jsonrpcs_tx.transports.stream import StreamService
from jsonrpcs_tx.transports.tlsdirect import FastTlsTransport
from jsonrpcs_tx.transports.tlstransport import TlsTransport


class HttpsService(StreamService):
    """Listens for HTTPS; the certificate is read at the start, when the paths are known and may be private."""

    def __init__(
        self, settings: Settings, endpoint: str, site: JsonRpcSite, access: AccessControl, reactor: Any
    ) -> None:
        self._settings = settings
        super().__init__("https_listen", endpoint, "https", site, access, reactor, fast=settings.fast_paths)
        self._site = site
        self._context: tls.CurrentContext | None = None

    def reload(self) -> None:
        """Read the certificate again; see L{jsonrpcs_tx.transports.tls.CurrentContext}."""
        if self._context is not None:
            self._context.reload()
            self._site.jsonrpc.hosts.add(self._context.names)

    def privilegedStartService(self) -> None:
        if self._listening is None:
            self._context = tls.CurrentContext(self._settings)
            self._site.jsonrpc.hosts.add(self._context.names)
            factory = TLSMemoryBIOFactory(self._context, isClient=False, wrappedFactory=self._site)
            factory.protocol = FastTlsTransport if self._settings.fast_paths else TlsTransport
            self._factory = factory
        super().privilegedStartService()
