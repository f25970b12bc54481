"""The server as a Twisted service: its parts, and what programs call. L{jsonrpcs_tx.compose} puts it together."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import attrs
import msgspec
from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from jsonrpcs_tx._version import __version__
from jsonrpcs_tx.access.auditlog import JOURNALD, AuditLog
from jsonrpcs_tx.access.authentication import Authenticator
from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.access.rulefile import read_rule_file
from jsonrpcs_tx.access.rules import Rule, read_rule
from jsonrpcs_tx.compatibility import COMPATIBILITIES, Compatibility
from jsonrpcs_tx.config.settings import Settings, fields
from jsonrpcs_tx.errors import NotAllowed, SettingError, StartError
from jsonrpcs_tx.health import Health
from jsonrpcs_tx.interfaces import Checker
from jsonrpcs_tx.log import make_logger, set_debug
from jsonrpcs_tx.openrpc.discovery import Discovery
from jsonrpcs_tx.openrpc.resource import OpenRpcResource
from jsonrpcs_tx.owners import User, rights_of
from jsonrpcs_tx.problems import FIRST, Problems
from jsonrpcs_tx.protocols import PROTOCOLS, Protocol, with_own
from jsonrpcs_tx.reloads import Reloads
from jsonrpcs_tx.rpc import envelope
from jsonrpcs_tx.rpc.around import Around
from jsonrpcs_tx.rpc.audit import AuditingDispatcher
from jsonrpcs_tx.rpc.call import run_in
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Reply
from jsonrpcs_tx.rpc.measuring import MeasuringAuditingDispatcher, MeasuringDispatcher
from jsonrpcs_tx.rpc.registry import Registry
from jsonrpcs_tx.rpc.replystore import ReplyStore
from jsonrpcs_tx.slices import Slices
from jsonrpcs_tx.state.counters import Counters
from jsonrpcs_tx.state.destinations import PROBING, DestinationSets
from jsonrpcs_tx.state.shared import SharedVariables, read_definition
from jsonrpcs_tx.state.tables import Tables
from jsonrpcs_tx.state.tablestore import TableStoreService
from jsonrpcs_tx.state.variables import Variables
from jsonrpcs_tx.transports import workers
from jsonrpcs_tx.transports.base import Listener, Transport
from jsonrpcs_tx.transports.connections import CLOSE_TIME
from jsonrpcs_tx.transports.healthresource import HealthResource
from jsonrpcs_tx.transports.hosts import Hosts
from jsonrpcs_tx.transports.httpresource import MountableResource
from jsonrpcs_tx.transports.pageresource import Page
from jsonrpcs_tx.transports.proxies import Proxies
from jsonrpcs_tx.transports.stream import StreamService

_log = make_logger(__name__)

_Around = TypeVar("_Around", bound=Around)

BATCH_TIME: Final = CLOSE_TIME - 0.5
"""Seconds in which batches may still be run when the server stops. The rest of the time is for their replies to go out
before connections are cut.
"""


class JsonRpcService(MultiService):
    """A JSON-RPC server. Made by L{jsonrpcs_tx.makeService}; it listens from its start to its stop.

    @ivar settings: the settings now; L{change} changes those that are live.
    @ivar compatibility: the version of Kamailio that it answers like.
    @ivar registry: the commands, which may be added, replaced and removed at any time.
    @ivar dispatcher: answers documents with them.
    @ivar counters: what C{stats.*} and C{cnt.*} report; programs add their own.
    @ivar destinations: the sets of destinations, to pick from; C{dispatcher.*} reads and sets them.
    @ivar variables: what C{cfg.*} reads and sets; programs add their own.
    @ivar shared: the variables of the program that C{pv.shvGet} and C{pv.shvSet} read and set.
    @ivar tables: what C{htable.*} reads and sets.
    @ivar reactor: the reactor that it runs in.
    @ivar user: the user that the process becomes after the start; None: it stays the same.
    @ivar started: when it was made, in seconds since 1970.
    @ivar health: the health checks; programs may add their own.
    @ivar reloads: the files that are read again at SIGHUP; programs may add theirs, and run them.
    @ivar reopens: the files that are opened again at SIGUSR1 (after logrotate has renamed them), and at SIGHUP before
        others are read; programs may add theirs, and run them.
    @ivar endings: for the server's own use: what ends calls in progress at the stop, L{BATCH_TIME} after its beginning.
    @ivar leavings: the same: what ends replies that go on for ever, when the stop begins.
    @ivar audit: the audit log; None without one.
    @ivar jsonrpc_dispatch: the resource that answers JSON-RPC over HTTP, to be mounted in any twisted.web site.
    @ivar health_resource: the resource that reports the health, to be mounted in the same way.
    @ivar pages: what answers at paths of its own over HTTP and HTTPS, by path; to be mounted in the same way.
    @ivar discovery: describes to each caller what that caller may call.
    @ivar slices: runs the long work of all pages.
    """

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        checker: Checker | None = None,
        problems: Problems = FIRST,
        site_authenticates: bool = False,
        user: User | None = None,
    ) -> None:
        super().__init__()
        self.settings: Settings = settings
        self.compatibility: Compatibility = COMPATIBILITIES[settings.compatibility]
        self.reactor = reactor
        self.user: User | None = user
        self.started: float = time.time()
        self.health: Health = Health()
        self.reloads: Reloads = Reloads()
        self.reopens: Reloads = Reloads("reopened")
        self._families: dict[str, object] = {}
        self.registry: Registry = Registry()
        self.counters: Counters = Counters()
        unprobed = not settings.ds_ping_interval and self.compatibility.flags_without_probing
        self.destinations: DestinationSets = DestinationSets(ignored_flags=PROBING if unprobed else 0)
        self.variables: Variables = Variables()
        self.shared: SharedVariables = SharedVariables()
        for definition in settings.shvset:
            try:
                self.shared.define(*read_definition(definition))
            except ValueError as error:
                problems.note(SettingError("shvset", definition, f"a value that it can have ({error})"))
        self.tables: Tables = Tables(reactor)
        for definition in settings.htable:
            with problems.noted():
                self.tables.define(definition)
        self._reply_store = _reply_store(settings, problems)
        self.audit: AuditLog | None = _audit_log(settings, self.counters, reactor, problems)
        self.dispatcher: Dispatcher = _dispatcher_kind(settings, self.audit)(
            self.registry,
            reactor,
            dialect=envelope.DIALECTS[settings.dialect],
            pretty_format=bool(settings.pretty_format),
            compatibility=self.compatibility,
            exec_delta=settings.rpc_exec_delta,
            async_timeout=settings.async_timeout,
            async_limit=settings.async_limit,
            async_limit_client=settings.async_limit_client,
            counters=self.counters,
            reply_store=self._reply_store,
        )
        self.slices: Slices = Slices(reactor)
        self.endings: list[Callable[[], object]] = [self.dispatcher.batches.cancel]
        self.leavings: list[Callable[[], object]] = []
        self._make_origins()
        authenticator = None if checker is None else Authenticator(checker, reactor, self.counters)
        self.jsonrpc_dispatch: MountableResource = MountableResource(
            self.dispatcher,
            settings.http_allow,
            settings.http_origin,
            settings.http_max_body,
            authenticator,
            Hosts(settings.http_host),
            Proxies(settings.http_proxy),
            settings.http_notification,
            site_authenticates,
        )
        self.health_resource: HealthResource = HealthResource(self.jsonrpc_dispatch, self.health.report)
        self.pages: dict[str, Page] = {}
        if settings.health:
            self.pages[settings.health] = self.health_resource
        self.discovery: Discovery = Discovery(self.dispatcher, self.slices)
        if settings.openrpc:
            page = OpenRpcResource(self.jsonrpc_dispatch, self.discovery, settings.http_path)
            with problems.noted():
                self.add_page("openrpc", settings.openrpc, page)

    def add_page(self, setting: str, path: str, page: Page) -> None:
        """Add what answers at a path of its own over HTTP and HTTPS, before the transports are made.

        @param setting: that the path comes from.
        @raise SettingError: another page has the path, or a page that also answers below its own path would hide
            another one, or JSON-RPC.
        """
        taken = [(other, known.has_below) for other, known in self.pages.items()]
        if page.has_below:
            taken.append((self.settings.http_path, False))
        for other, has_below in taken:
            if path == other or (page.has_below and _is_below(other, path)) or (has_below and _is_below(path, other)):
                raise SettingError(setting, path, "a path that no other page has")
        self.pages[path] = page

    def check(self, problems: Problems) -> None:
        """Check all that the start checks before it opens anything.

        @param problems: takes what is wrong.
        """
        for child in self:
            if isinstance(child, Transport):
                child.check(problems)
                if self.user is not None and child.path is not None:
                    path = os.path.abspath(child.path)
                    with problems.noted():
                        _check_removable(child, path, self.user.obstacle_to_change(os.path.dirname(path)))
            elif isinstance(child, TableStoreService | AuditLog):
                with rights_of(self.user):  # with which it starts
                    child.check(problems)

    def privilegedStartService(self) -> None:
        with self._all_or_nothing():
            super().privilegedStartService()
            if self.user is not None:
                self._check_files(self.user)

    def _check_files(self, user: User) -> None:
        """@raise StartError: the user cannot remove a file that was made."""
        for transport in self.transports():
            if transport.file is not None:
                path = os.path.abspath(transport.file.path)
                _check_removable(transport, path, user.obstacle_to_removal(path))

    def startService(self) -> None:
        self.health.stopping = False
        if self._reply_store is not None:
            self._reply_store.remove_leftovers()
        with self._all_or_nothing():
            super().startService()
        _log.info(
            "serving {count} commands, dialect {dialect}, jsonrpcs_tx {version}",
            count=len(self.registry),
            dialect=self.settings.dialect,
            version=__version__,
        )

    def stopService(self) -> Deferred[Any]:
        """Stop the transports and, when they have answered the requests in progress, the rest, which stores their
        effects.

        Batches that take longer than L{BATCH_TIME} are not run to their end, and are answered with the replies so far.
        With C{health_drain}, all this begins that many seconds later, and until then everything is answered.

        @return: a Deferred that fires when everything has stopped.
        """
        self.health.stopping = True
        seconds = self.settings.health_drain
        if not self.running or not seconds:
            return self._stop()
        _log.info("stopping in {seconds} s; the health check fails from now on", seconds=seconds)
        return deferLater(self.reactor, seconds, self._stop)

    def _stop(self) -> Deferred[Any]:
        Service.stopService(self)
        for end in self.leavings:
            end()
        transports = self.transports()
        others = [child for child in self if child not in transports]
        late = self.reactor.callLater(BATCH_TIME, self._end)

        def stop_others(_: object) -> Deferred[Any]:
            if late.active():
                late.cancel()
            return _stop(others)

        return _stop(transports).addCallback(stop_others)

    def _end(self) -> None:
        for end in self.endings:
            end()

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Clean up after a start that fails: leave no file, and no open port."""
        try:
            yield
        except StartError:
            self.stopService()
            raise

    def change(self, **values: Any) -> None:
        """Change live settings, whether the server runs or not; see L{jsonrpcs_tx.config.settings.Field}.

        @raise SettingError: a setting is not known or cannot be changed, or a value is not allowed; then nothing is
            changed. This is also true of the next error.
        @raise StartError: the C{rule_file} cannot be used.
        """
        live = [field.name for field in fields() if field.live]
        for name, value in values.items():
            if name not in live:
                raise SettingError(name, value, f"a change of {', '.join(live)}; all else is set at the start")
        settings = attrs.evolve(self.settings, **values)
        if not values.keys().isdisjoint(("rule", "rule_file")):
            self._change_rules(_read_rules(settings, self.dispatcher.access.transports), settings)
        self.settings = settings
        if "debug" in values:
            set_debug(self.settings.debug)
        delayed = self.dispatcher.delayed
        delayed.timeout = self.settings.async_timeout
        delayed.slots.limit, delayed.slots.client_limit = self.settings.async_limit, self.settings.async_limit_client
        self.jsonrpc_dispatch.max_body = self.settings.http_max_body
        self._tell_transports()

    @property
    def families(self) -> list[str]:
        """The names of the families of commands that are loaded, in order."""
        return list(self._families)

    def add_family(self, name: str, source: object, replace: bool = False) -> None:
        """Add a family of commands under a name, by which it can be removed.

        @param source: what holds its commands, see L{Registry.add}.
        @param replace: it replaces the family of that name, whose commands are removed, and any commands with the same
            names.
        @raise ValueError: there is a family of that name, or a command of it has a name that is taken; then nothing is
            changed.
        """
        if name in self._families and not replace:
            raise ValueError(f"family {name}: there is a family of that name already; replace it, or remove it first")
        former = self._families.get(name)
        old = [] if former is None else self.registry.names_of(former)
        self.registry.add(source, replace)
        added = self.registry.names_of(source)
        for command in old:
            if command not in added:
                self.registry.remove(command)
        self._families[name] = source

    def remove_family(self, name: str) -> None:
        """Remove a family with its commands, while the server runs or not; those in progress go on to their end.

        @raise ValueError: there is no family of that name.
        """
        if name not in self._families:
            raise ValueError(f"family {name}: there is no such family; loaded: {', '.join(self._families)}")
        for command in self.registry.names_of(self._families.pop(name)):
            self.registry.remove(command)

    def reload_rules(self, problems: Problems = FIRST) -> int:
        """Read the file of the setting C{rule_file} again. Requests in progress go on; from then on the new rules
        decide, also for connected clients, and for the rest of a batch.

        A server reads its rules for the first time when its commands are loaded.

        @param problems: takes what is wrong.
        @return: the number of rules that there are now, with those of the setting C{rule}.
        @raise StartError: the file cannot be read, or a line is not a rule, and the message says which; then the former
            rules stay, as they do after the next error.
        @raise SettingError: a rule asks for a fact that cannot be known, or a listener that other machines can reach
            would be without a rule.
        """
        rules = _read_rules(self.settings, self.dispatcher.access.transports, problems)
        self._change_rules(rules, self.settings, problems)
        return len(self.dispatcher.access.rules)

    def reload_destinations(self) -> bool:
        """Read the file of the setting C{list_file} again. If its contents have changed since it was last read, all
        destinations are replaced by those in it, with the states that it gives them. If not, they stay as they are.

        @return: whether they were replaced.
        @raise StartError: the file cannot be read, or has an invalid line, and the message says which; then the former
            ones stay.
        """
        path = self.settings.path(self.settings.list_file)
        try:
            replaced = self.destinations.reload(path)
        except NotAllowed as error:
            reason = error.reason.removeprefix(f"{path}: ")
            raise StartError("list_file", path, reason, error.allowed, error.line) from None
        if isinstance(replaced, Deferred):  # servers share them
            replaced.addErrback(_not_replaced)
            return True
        return replaced

    def _change_rules(self, rules: Sequence[Rule], settings: Settings, problems: Problems = FIRST) -> None:
        access = AccessControl(rules)
        self._check_facts(access, settings, problems)
        for listener in self.listeners():
            if listener.port is not None and not access.covers(listener.protocol, listener.host):
                needed = f"rules with one that allows something over {listener.protocol}, since others reach {listener}"
                raise SettingError("rule", [rule.text for rule in rules], needed)
        self.dispatcher.access.replace(rules)
        self._make_origins()
        for transport in self.transports():
            transport.rules_changed()

    def add_transport(self, name: str, facts: Sequence[str] = ()) -> None:
        """Add a transport of the program's own by its name. Rules may name it from then on, and C{any} includes it;
        L{jsonrpcs_tx.Dispatcher.origin} makes the origin of its callers.

        @param facts: what it may know of a caller, for rules: some of C{address}, C{user}, C{tls}, C{uid} and C{gid}.
        @raise ValueError: the name is taken or not allowed, or a fact is not known.
        """
        access = self.dispatcher.access
        known = with_own({name: facts}, access.transports)
        rules = [attrs.evolve(read_rule(rule.text, known), file=rule.file, line=rule.line) for rule in access.rules]
        access.transports = known
        self._change_rules(rules, self.settings)

    def _check_facts(self, access: AccessControl, settings: Settings, problems: Problems) -> None:
        """Check that the facts that rules ask for can be known: transports of the program's own know them.

        @param problems: takes what is wrong.
        @raise SettingError: one cannot be known.
        @raise StartError: the same for a rule of the C{rule_file}.
        """
        knows_users = self.jsonrpc_dispatch.knows_users or settings.http_users
        for fact, known, needs in (
            ("user", knows_users, "http_users, or in a program a checker or site_authenticates"),
            ("tls", settings.tls_ca, "tls_ca"),
        ):
            for rule in access.rules:
                if fact in rule.facts and not known and rule.transports <= PROTOCOLS.keys():
                    problems.note(_unknowable(rule, f"{fact}= with the setting {needs}"))

    def _make_origins(self) -> None:
        self._call_origin = self.dispatcher.origin("exec", asynchronous=True)
        self._exec_origin = msgspec.structs.replace(self.dispatcher.origin("exec"), at_once=True)

    def reload_tls(self) -> int:
        """Read the certificates, keys and authorities of HTTPS again, for connections that are opened from now on.

        @return: the number of listeners that have them; 0 without HTTPS.
        @raise StartError: a file cannot be used; the former ones then stay in use.
        """
        return sum(transport.reload_tls() for transport in self.transports())

    def around(self, function: _Around) -> _Around:
        """Put a function around every call of a command, whether the server runs or not.

        It is called as C{function(call, proceed)}. C{call} is the L{jsonrpcs_tx.Call}; C{proceed()}, which may be
        called once, runs the command and returns its result, or a Deferred of it if it comes later. What the function
        returns is the result of the call, and what it raises is answered as if the command had raised it. It may also
        return a Deferred, or be an C{async def}; then C{proceed()} always returns a Deferred to await. If the function
        itself has to wait, the call needs HTTP or HTTPS, and the command's time limit holds for both.

        Rules are checked first: the function does not see calls that they forbid, or calls of unknown commands.
        Parameters are bound inside: C{proceed()} raises an error for invalid ones. The function that was added first is
        the outermost. With worker processes (C{dgram_workers}) it runs in the main process: from then on, workers pass
        every request on to it.

        @return: the function, so that this can be used as a decorator.
        @raise TypeError: it cannot be called.
        @raise ValueError: it is there already.
        """
        self.dispatcher.around(function)
        self._tell_transports()
        return function

    def remove_around(self, function: Around) -> None:
        """Remove a function that is around calls, for calls that begin from now on.

        @raise ValueError: it is not there.
        """
        self.dispatcher.remove_around(function)
        self._tell_transports()

    def _tell_transports(self) -> None:
        for transport in self.transports():
            transport.settings_changed(self.settings)

    def jsonrpc_exec(self, document: bytes | str) -> Reply:
        """Run a command from within the program, as Kamailio's function of that name does.

        @param document: a whole JSON-RPC document.
        @return: C{code}, C{text} and C{body}, which Kamailio gives as C{$jsonrpl(code)}, C{$jsonrpl(text)} and
            C{$jsonrpl(body)}. An asynchronous command is refused: it has no reply yet when this returns. A
            batch is run whole, however long that takes.
        """
        data = document.encode() if isinstance(document, str) else document
        reply = run_in(None, self.dispatcher.dispatch, data, self._exec_origin)  # separate from a call in progress
        assert type(reply) is Reply  # the origin is not asynchronous
        return reply

    def call(self, method: str, /, *params: Any, **named: Any) -> Deferred[Any]:
        """Call a command from within the program, whether the server runs or not. Rules for C{exec} hold.

        @param method: its name.
        @param params: its parameters by position: Python values, each converted as if it had come in JSON.
        @param named: its parameters by name, in every dialect, in place of C{params}.
        @return: fires with what the command returns. It fails with a L{jsonrpcs_tx.Fault}: the one that the command
            raised, or one with the code and text that clients are told, and why. Cancelling it cancels the command.
        @raise TypeError: there are parameters by position and by name.
        """
        if params and named:
            raise TypeError(f"call of {method}: parameters by position and by name; allowed: one of the two")
        return self.dispatcher.call(method, named or params, self._call_origin)

    def transports(self) -> list[Transport]:
        """The transports, in the order in which they are started."""
        return [child for child in self if isinstance(child, Transport)]

    def listeners(self) -> list[Listener]:
        """The addresses that are listened on now."""
        return [transport.listener for transport in self.transports() if transport.listener is not None]

    def processes(self) -> list[tuple[int, str]]:
        """The processes of the server: their ids, and what they do, in Kamailio's terms."""
        pids = [pid for transport in self.transports() for pid in transport.workers()]
        return [(os.getpid(), "main process - attendant"), *((pid, workers.DESCRIPTION) for pid in pids)]

    def streams(self) -> Iterator[StreamService]:
        """The services that take connections: HTTP, HTTPS and TCP."""
        return (transport for transport in self.transports() if isinstance(transport, StreamService))


def _dispatcher_kind(settings: Settings, audit: AuditLog | None) -> Callable[..., Dispatcher]:
    """What makes the dispatcher: what is off costs nothing."""
    if audit is None:
        return MeasuringDispatcher if settings.metrics else Dispatcher
    return partial(MeasuringAuditingDispatcher if settings.metrics else AuditingDispatcher, audit=audit)


def _not_replaced(failure: Failure) -> None:
    _log.failure("destinations are not replaced", failure)


def _is_below(path: str, tree: str) -> bool:
    """Whether a path is below another one."""
    return path.startswith(tree.rstrip("/") + "/")


def _check_removable(transport: Transport, path: str, obstacle: str | None) -> None:
    """@raise StartError: the user that the process becomes cannot remove the file of a transport."""
    if obstacle is not None:
        allowed = "a directory that this user can write, so that the file can be removed at the stop"
        raise StartError(transport.setting, path, obstacle, allowed)


def _stop(services: Sequence[IService]) -> Deferred[Any]:
    """Stop services, the last one first."""
    return DeferredList([maybeDeferred(service.stopService) for service in reversed(services)])


def _unknowable(rule: Rule, allowed: str) -> SettingError | StartError:
    """The error for a rule that asks for a fact that cannot be known."""
    if rule.file:
        return StartError("rule_file", rule.file, f"{rule.text!r:.200}", allowed, rule.line)
    return SettingError("rule", rule.text, allowed)


def _read_rules(settings: Settings, known: Mapping[str, Protocol], problems: Problems = FIRST) -> list[Rule]:
    """The rules of the settings and of their file.

    @param known: the transports by name.
    @param problems: takes what is wrong.
    @raise SettingError: one of the settings is not a rule.
    @raise StartError: the file cannot be read, or a line is not a rule.
    """
    rules = []
    for text in settings.rule:
        with problems.noted():
            rules.append(read_rule(text, known))
    if settings.rule_file:
        with problems.noted():
            rules += read_rule_file(os.path.abspath(settings.path(settings.rule_file)), problems, known)
    return rules


def _audit_log(settings: Settings, counters: Counters, reactor: Any, problems: Problems) -> AuditLog | None:
    if not settings.audit:
        if settings.audit_required:
            problems.note(SettingError("audit_required", "yes", "yes with the setting audit, or no"))
        return None
    target = JOURNALD if settings.audit == JOURNALD else settings.path(settings.audit)
    return AuditLog(target, settings.audit_level == "all", counters, reactor, required=settings.audit_required)


def _reply_store(settings: Settings, problems: Problems) -> ReplyStore | None:
    if not settings.store_path:
        return None
    try:
        return ReplyStore(os.path.abspath(settings.path(settings.store_path)))
    except ValueError:
        problems.note(SettingError("store_path", settings.store_path, "a directory that is there and can be written"))
        return None
