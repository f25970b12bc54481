"""The server as a Twisted service: settings in, all enabled transports composed in one MultiService."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import msgspec
from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.protocols.tls import TLSMemoryBIOFactory

from jsonrpcs_tx import commands, envelope, settings
from jsonrpcs_tx.access import Access, read_rule
from jsonrpcs_tx.authentication import Authenticator
from jsonrpcs_tx.counters import Counters
from jsonrpcs_tx.destinations import DestinationError, DestinationSets
from jsonrpcs_tx.dispatcher import Dispatcher, Reply
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.gauges import add_gauges
from jsonrpcs_tx.livesettings import LIVE, add_variables
from jsonrpcs_tx.log import make_logger, set_debug
from jsonrpcs_tx.probing import ProbingService
from jsonrpcs_tx.registry import Registry, declares_stateless
from jsonrpcs_tx.settings import SettingError, Settings
from jsonrpcs_tx.store import ReplyStore
from jsonrpcs_tx.tables import Tables
from jsonrpcs_tx.tablestore import TableStoreService
from jsonrpcs_tx.transports import Listener, files, tls, unixstreams, workers
from jsonrpcs_tx.transports.connections import CLOSE_TIME
from jsonrpcs_tx.transports.datagram import DatagramService, datagram_service
from jsonrpcs_tx.transports.fasthttp import FastSite
from jsonrpcs_tx.transports.fasttls import FastTlsTransport
from jsonrpcs_tx.transports.fifo import FifoService
from jsonrpcs_tx.transports.hosts import Hosts
from jsonrpcs_tx.transports.http import REFUSAL, JsonRpcResource, JsonRpcSite
from jsonrpcs_tx.transports.proxies import Proxies
from jsonrpcs_tx.transports.stream import StreamService
from jsonrpcs_tx.transports.tcp import TcpFactory
from jsonrpcs_tx.transports.tlstransport import TlsTransport
from jsonrpcs_tx.variables import Variables
from jsonrpcs_tx.watchdog import Watchdog

_log = make_logger(__name__)


class JsonRpcService(MultiService):
    """A JSON-RPC server. Made by L{makeService}; it listens from its start to its stop.

    @ivar settings: the settings; those of L{jsonrpcs_tx.livesettings.LIVE} may be changed by L{change}.
    @ivar registry: the commands; more may be added at any time.
    @ivar dispatcher: answers documents with them.
    @ivar counters: what C{stats.*} and C{cnt.*} give; programs add their own.
    @ivar destinations: the sets of destinations, to pick from; C{dispatcher.*} reads and sets them.
    @ivar variables: what C{cfg.*} reads and sets; programs add their own.
    @ivar tables: what C{htable.*} reads and sets.
    @ivar reactor: the reactor that it runs in.
    @ivar families: names of the families of commands that were loaded, in order.
    @ivar started: when it was made, in seconds since 1970.
    @ivar jsonrpc_dispatch: the resource that answers JSON-RPC over HTTP, to be mounted in any twisted.web site.
    """

    def __init__(self, settings: Settings, reactor: Any, checker: Any = None) -> None:
        super().__init__()
        self.settings = settings
        self.reactor = reactor
        self.started = time.time()
        self.families: list[str] = []
        self.registry = Registry()
        self.counters = Counters()
        self.destinations = DestinationSets()
        self.variables = Variables()
        self.tables = Tables(reactor)
        for definition in settings.htable:
            self.tables.define(definition)
        self.dispatcher = Dispatcher(
            self.registry,
            reactor,
            envelope.DIALECTS[settings.dialect],
            bool(settings.pretty_format),
            settings.async_timeout,
            settings.async_limit,
            self.counters,
            Access(map(read_rule, settings.rule)),
            _reply_store(settings),
            settings.async_limit_client,
        )
        self._exec_origin = msgspec.structs.replace(self.dispatcher.origin("exec"), at_once=True)
        authenticator = None if checker is None else Authenticator(checker, reactor, self.counters)
        self.jsonrpc_dispatch = JsonRpcResource(
            self.dispatcher,
            settings.http_allow,
            settings.http_origin,
            settings.http_max_body,
            authenticator,
            Hosts(settings.http_host),
            Proxies(settings.http_proxy),
            settings.http_notification,
        )

    def privilegedStartService(self) -> None:
        with self._all_or_nothing():
            super().privilegedStartService()

    def startService(self) -> None:
        with self._all_or_nothing():
            super().startService()
        _log.info(
            "serving {count} commands, dialect {dialect}", count=len(self.registry), dialect=self.settings.dialect
        )

    def stopService(self) -> Deferred[Any]:
        """Stop the transports, and when they have answered what is in hand, the rest, so that all of it is kept.

        Batches that take longer than L{CLOSE_TIME} are not run to their end.

        @return: a Deferred that fires when everything has stopped.
        """
        Service.stopService(self)
        transports = [child for child in self if hasattr(child, "listener")]
        others = [child for child in self if child not in transports]
        late = self.reactor.callLater(CLOSE_TIME, self.dispatcher.batches.cancel)

        def stop_others(_: object) -> Deferred[Any]:
            if late.active():
                late.cancel()
            return _stop(others)

        return _stop(transports).addCallback(stop_others)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Leave nothing of a start that fails: no file, and no open port."""
        try:
            yield
        except StartError:
            self.stopService()
            raise

    def change(self, **values: Any) -> None:
        """Change settings of a server, which may run: those of L{jsonrpcs_tx.livesettings.LIVE}.

        @raise SettingError: a setting is not known or cannot be changed, or a value is not allowed; then nothing is
            changed.
        """
        for name, value in values.items():
            if name not in LIVE:
                raise SettingError(name, value, f"a change of {', '.join(LIVE)}; all else is set at the start")
        self.settings = attrs.evolve(self.settings, **values)
        if "debug" in values:
            set_debug(self.settings.debug)
        delayed = self.dispatcher.delayed
        delayed.timeout = self.settings.async_timeout
        delayed.slots.limit, delayed.slots.client_limit = self.settings.async_limit, self.settings.async_limit_client
        self.jsonrpc_dispatch.max_body = self.settings.http_max_body
        for child in self:
            if hasattr(child, "settings_changed"):
                child.settings_changed(self.settings)

    def reload_tls(self) -> int:
        """Read the certificates, keys and authorities of HTTPS again, for connections that are opened from now on.

        @return: the number of listeners that have them; 0 without HTTPS.
        @raise StartError: a file cannot be used; then the former ones still count.
        """
        listeners = [child for child in self if isinstance(child, _HttpsService)]
        for listener in listeners:
            listener.reload()
        return len(listeners)

    def jsonrpc_exec(self, document: bytes | str) -> Reply:
        """Run a command from within the program, as Kamailio's function of that name does.

        @param document: a whole JSON-RPC document.
        @return: C{code}, C{text} and C{body}, which Kamailio gives as C{$jsonrpl(code)}, C{$jsonrpl(text)} and
            C{$jsonrpl(body)}. An asynchronous command is refused: it has no reply yet when this returns. A
            batch is run whole, however long that takes.
        """
        reply = self.dispatcher.dispatch(
            document.encode() if isinstance(document, str) else document, self._exec_origin
        )
        assert type(reply) is Reply  # the origin is not asynchronous
        return reply

    def listeners(self) -> list[Listener]:
        """The addresses that are listened on now."""
        found = [getattr(service, "listener", None) for service in self]
        return [listener for listener in found if listener is not None]

    def processes(self) -> list[tuple[int, str]]:
        """The processes of the server: their ids, and what they do in Kamailio's words."""
        pids = [pid for service in self if isinstance(service, DatagramService) for pid in service.workers()]
        return [(os.getpid(), "main process - attendant"), *((pid, workers.DESCRIPTION) for pid in pids)]

    def streams(self) -> Iterator[StreamService]:
        """The services that take connections: HTTP, HTTPS and TCP."""
        return (service for service in self if isinstance(service, StreamService))


def _stop(services: list[IService]) -> Deferred[Any]:
    """Stop services, the last one first."""
    return DeferredList([maybeDeferred(service.stopService) for service in reversed(services)])


def makeService(
    settings: Settings, reactor: Any = None, commands: Iterable[object] = (), checker: Any = None
) -> JsonRpcService:
    """Make a server. It listens when it is started, by itself or by the application that it is a part of.

    @param settings: all settings.
    @param reactor: the reactor to run in; default: the global one.
    @param commands: functions, modules and objects with commands, besides those that the settings name.
    @param checker: a twisted.cred ICredentialsChecker of the names and passwords that every request over HTTP(S) then
        needs, see L{jsonrpcs_tx.authentication.Authenticator}; default: one for the file of the setting C{http_users},
        if that is set.
    @raise StartError: the file of users cannot be used.
    @raise SettingError: a module or family that a setting names is not there, or has no commands; or the definition
        of a table, the list of destinations or the directory of stored replies is not allowed.
    @raise ValueError: two commands have the same name.
    """
    if reactor is None:
        from twisted.internet import reactor
    set_debug(settings.debug)
    if checker is None and settings.http_users:
        from jsonrpcs_tx.credentials import UsersFile  # not above: the module is a program, too

        checker = UsersFile(settings.path(settings.http_users), reactor)
    service = JsonRpcService(settings, reactor, checker)
    _check_facts(service, checker)
    if settings.list_file:
        try:
            service.destinations.load(settings.path(settings.list_file))
        except DestinationError as error:
            raise SettingError("list_file", settings.list_file, f"a list of destinations ({error})") from None
    add_gauges(service)
    add_variables(service)
    _load_commands(service, commands)
    _add_tables(service)
    if settings.ds_ping_interval:
        ProbingService(service.destinations, settings, reactor).setServiceParent(service)
    if settings.watchdog:
        Watchdog(settings.watchdog / 1000, reactor).setServiceParent(service)
    _add_transports(service)
    return service


def _reply_store(settings: Settings) -> ReplyStore | None:
    if not settings.store_path:
        return None
    try:
        return ReplyStore(os.path.abspath(settings.path(settings.store_path)))
    except ValueError:
        raise SettingError("store_path", settings.store_path, "a directory that is there") from None


def _check_facts(service: JsonRpcService, checker: Any) -> None:
    """See that what rules ask for is known."""
    facts, settings = service.dispatcher.access.facts, service.settings
    for fact, known, needs in (("user", checker is not None, "http_users"), ("tls", settings.tls_ca, "tls_ca")):
        if fact in facts and not known:
            raise SettingError("rule", f"{fact}=", f"{fact}= with the setting {needs}")


def make_stateless(settings: Settings, reactor: Any) -> JsonRpcService:
    """Make a server for a worker process: without transports, and with those sources of commands only that the settings
    name and that hold one which is declared free of state.
    """
    set_debug(settings.debug)
    service = JsonRpcService(attrs.evolve(settings, store_path=""), reactor)  # the main process stores replies
    named = [*(family for _, family in commands.families(settings.load)), *map(commands.load_module, settings.commands)]
    for source in filter(declares_stateless, named):
        service.registry.add(commands.instance(source, service))
    return service


def _load_commands(service: JsonRpcService, sources: Iterable[object]) -> None:
    for name, family in commands.families(service.settings.load):
        service.registry.add(commands.instance(family, service))
        service.families.append(name)
    for name in service.settings.commands:
        service.registry.add(commands.instance(commands.load_module(name), service))
    for source in sources:
        service.registry.add(source)


def _add_tables(service: JsonRpcService) -> None:
    name = service.settings.htable_db
    path = service.settings.path(name) if name else ""
    TableStoreService(service.tables, path, service.reactor).setServiceParent(service)


def _add_transports(service: JsonRpcService) -> None:
    options, dispatcher, reactor = service.settings, service.dispatcher, service.reactor
    if options.enables(settings.DATAGRAM):
        for address in options.dgram_socket:
            datagram_service(options, address, dispatcher, reactor).setServiceParent(service)
    if options.enables(settings.FIFO) and options.fifo_name:
        FifoService(options, dispatcher, reactor).setServiceParent(service)
    if options.enables(settings.HTTP):
        for endpoint in options.http_listen:
            own_reactor = _http_reactor(service, "http_listen", endpoint)
            arguments = "http_listen", endpoint, "http", _site(service), dispatcher.access, own_reactor
            StreamService(*arguments, refusal=REFUSAL, fast=options.fast_paths).setServiceParent(service)
        if options.tls_certificate or options.tls_self_signed:
            for endpoint in options.https_listen:
                site = _site(service)
                _HttpsService(service, endpoint, site).setServiceParent(service)
    if options.enables(settings.TCP) and options.tcp_socket:
        host, port = settings.network_address("tcp", options.tcp_socket) or ("", 0)
        tcp = TcpFactory(options, dispatcher, reactor)
        kind = "tcp6" if ":" in host else "tcp"
        endpoint = f"{kind}:{port}:interface={host}".replace("::", "\\:\\:")
        StreamService("tcp_socket", endpoint, "tcp", tcp, dispatcher.access, reactor).setServiceParent(service)


def _http_reactor(service: JsonRpcService, setting: str, endpoint: str) -> Any:
    """The reactor that an endpoint of HTTP(S) listens with: files of Unix sockets get their mode and owner."""
    options = service.settings
    access = files.Access("http", options.http_mode, options.http_user, options.http_group)
    return unixstreams.reactor_for(
        endpoint, setting, lambda path: os.path.abspath(options.path(path)), access, service.reactor
    )


def _site(service: JsonRpcService) -> JsonRpcSite:
    options = service.settings
    resource = service.jsonrpc_dispatch
    site = FastSite if options.fast_paths and not resource.authenticates else JsonRpcSite
    return site(options, resource, service.reactor)


class _HttpsService(StreamService):
    """Listens for HTTPS; the certificate is read at the start, when the paths are known and may be private."""

    def __init__(self, service: JsonRpcService, endpoint: str, site: JsonRpcSite) -> None:
        self._settings = service.settings
        fast = self._settings.fast_paths
        reactor = _http_reactor(service, "https_listen", endpoint)
        super().__init__("https_listen", endpoint, "https", site, service.dispatcher.access, reactor, fast=fast)
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
