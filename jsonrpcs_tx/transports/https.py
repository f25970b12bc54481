"""HTTPS: the site of HTTP over TLS, whose certificate can be read again while the server runs."""

from collections.abc import Iterator
from typing import Any

from twisted.protocols.tls import TLSMemoryBIOFactory

from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.config.problems import Problems
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.files.owners import User
from jsonrpcs_tx.transports import tls, twistedprivates
from jsonrpcs_tx.transports.http import reactor_for
from jsonrpcs_tx.transports.httppaths import HttpPath, http_path
from jsonrpcs_tx.transports.httpsite import JsonRpcSite
from jsonrpcs_tx.transports.parts import Parts
from jsonrpcs_tx.transports.stream import StreamService


class HttpsService(StreamService):
    """Listens for HTTPS. The certificate is read when the service starts: the process may then still have the
    privileges that its file asks for.

    @param settings: those of TLS are used.
    @param endpoint: a Twisted server endpoint string, without TLS.
    @param path: its class for TLS is used.
    @param user: the one that the process becomes after the start, if it does.
    """

    def __init__(
        self,
        settings: Settings,
        endpoint: str,
        site: JsonRpcSite,
        access: AccessControl,
        reactor: Any,
        path: HttpPath,
        user: User | None = None,
    ) -> None:
        self._settings = settings
        self._user = user
        super().__init__("https_listen", endpoint, "https", site, access, reactor, fast=path.grouped)
        self._site = site
        self._transport = path.tls
        self._context: tls.CurrentContext | None = None

    def reload_tls(self) -> bool:
        """Read the certificate again; see L{jsonrpcs_tx.transports.tls.CurrentContext}."""
        if self._context is not None:
            self._context.reload()
            self._site.jsonrpc.hosts.add(self._context.names)
        return True

    def check(self, problems: Problems) -> None:
        with problems.noted():
            twistedprivates.require("https_listen", twistedprivates.TLS)
        tls.check(self._settings, problems)
        super().check(problems)

    def privilegedStartService(self) -> None:
        """Read the certificate and bind the port.

        @raise StartError: the certificate cannot be used, or the port cannot be bound.
        """
        if self._listening is None:
            twistedprivates.require("https_listen", twistedprivates.TLS)
            self._context = tls.CurrentContext(self._settings, self._user)
            self._site.jsonrpc.hosts.add(self._context.names)
            factory = TLSMemoryBIOFactory(self._context, isClient=False, wrappedFactory=self._site)
            factory.protocol = self._transport
            self._factory = factory
        super().privilegedStartService()


def make_transports(parts: Parts) -> Iterator[HttpsService]:
    """The services for the values of C{https_listen}, if there is a certificate.

    @raise StartError: the installed Twisted lacks what HTTP needs.
    """
    settings, access = parts.settings, parts.dispatcher.access
    if not settings.certificate:
        return
    path = http_path(settings.fast_paths, parts.resource)
    for endpoint in settings.https_listen:
        site = path.site(settings, parts.resource, parts.reactor, parts.pages, "https")
        reactor = reactor_for(parts, "https_listen", endpoint)
        yield HttpsService(settings, endpoint, site, access, reactor, path, parts.user)
