"""Settings in, a server with all its parts out."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.application.service import Service

from jsonrpcs_tx import transports as _transports
from jsonrpcs_tx.access.doubts import doubts
from jsonrpcs_tx.access.usersfile import UsersFile
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.errors import JsonRpcsError, NotAllowed, SettingError, StartError
from jsonrpcs_tx.families import load_families, load_module
from jsonrpcs_tx.interfaces import Checker, Reactor
from jsonrpcs_tx.log import set_debug
from jsonrpcs_tx.owners import UnknownOwner, User, rights_of, user_to_become
from jsonrpcs_tx.problems import FIRST, AllProblems, Problems
from jsonrpcs_tx.protocols import PROTOCOLS
from jsonrpcs_tx.rights import obstacles, owned_by
from jsonrpcs_tx.rpc.registry import declares_stateless
from jsonrpcs_tx.service import JsonRpcService
from jsonrpcs_tx.state.gauges import add_gauges
from jsonrpcs_tx.state.livesettings import add_variables
from jsonrpcs_tx.state.probing import ProbingService
from jsonrpcs_tx.state.tablestore import TableStoreService
from jsonrpcs_tx.transports.parts import Parts
from jsonrpcs_tx.watchdog import Watchdog

if TYPE_CHECKING:
    from jsonrpcs_tx.gateway.gateway import Gateway
    from jsonrpcs_tx.metrics.exposition import Family

PROBE: Final = "/probe"
"""The page with the metrics of one node, beside that of all."""


def makeService(
    settings: Settings,
    reactor: Reactor | None = None,
    commands: Iterable[object] = (),
    checker: Checker | None = None,
    transports: Mapping[str, Sequence[str]] | None = None,
    site_authenticates: bool = False,
    uid: str | int | None = None,
    gid: str | int | None = None,
) -> JsonRpcService:
    """Make a server. It listens once it is started, by itself or by the application that it belongs to.

    @param settings: all settings.
    @param reactor: the reactor to run in; default: the global one.
    @param commands: functions, modules and objects with commands, besides those that the settings name.
    @param checker: a twisted.cred ICredentialsChecker of the names and passwords that every request over HTTP(S) then
        needs, see L{jsonrpcs_tx.access.authentication.Authenticator}; default: one for the file of the setting
        C{http_users}, if that is set.
    @param transports: those of the program's own, by name, each with what it may know of a caller, such as
        C{{"chat": ["user"]}}; see L{JsonRpcService.add_transport}.
    @param site_authenticates: the site that C{jsonrpc_dispatch} is mounted in says who has authenticated, by
        L{jsonrpcs_tx.JsonRpcResource.for_user}, so that rules may ask for C{user=} without a checker.
    @param uid: name or number of the user that the process becomes once it has opened what needs root, as with C{twistd
        --uid}: files that the server makes are given to it. None: the process's user stays the same.
    @param gid: its group; None: the user's own.
    @raise StartError: the file of users, that of rules or the list of destinations cannot be used, or cannot be used by
        the user that the process becomes; or there is no such user.
    @raise SettingError: a module or family that a setting names does not exist, has no commands, or has one whose name
        is taken; or the definition of a table or the directory of stored replies is not allowed.
    @raise ValueError: two of C{commands} have the same name, or the name or a fact of a transport is not allowed.
    """
    return assemble(settings, FIRST, reactor, commands, checker, transports, site_authenticates, uid, gid)


def check(
    settings: Settings,
    reactor: Reactor | None = None,
    commands: Iterable[object] = (),
    checker: Checker | None = None,
    transports: Mapping[str, Sequence[str]] | None = None,
    site_authenticates: bool = False,
    uid: str | int | None = None,
    gid: str | int | None = None,
) -> list[JsonRpcsError]:
    """Look for all that would keep a server from starting, without opening or changing anything.

    All files that the settings name are read, and modules with commands are imported. What is doubtful is logged. What
    shows only on opening is not found: that an address is in use, or does not belong to this machine.

    The parameters are those of L{makeService}.

    @raise ValueError: two of C{commands} have the same name, or the name or a fact of a transport is not allowed.
    @return: what is wrong; C{file} and C{line} of each say where, if it is in one of the files.
    """
    problems = AllProblems()
    assemble(settings, problems, reactor, commands, checker, transports, site_authenticates, uid, gid).check(problems)
    for doubt in problems.doubts:
        FIRST.warn(doubt)
    return problems.found


def assemble(
    settings: Settings,
    problems: Problems,
    reactor: Reactor | None = None,
    commands: Iterable[object] = (),
    checker: Checker | None = None,
    transports: Mapping[str, Sequence[str]] | None = None,
    site_authenticates: bool = False,
    uid: str | int | None = None,
    gid: str | int | None = None,
) -> JsonRpcService:
    """Make a server, see L{makeService}; if problems are collected, without the parts that cannot be made."""
    chosen: Any = reactor
    if reactor is None:
        from twisted.internet import reactor as installed

        chosen = installed
    set_debug(settings.debug)
    user = None
    with problems.noted():
        user = _user_to_become(uid, gid)
    if user is not None:
        settings = owned_by(settings, user)
        for problem in obstacles(settings, user):
            problems.note(problem)
    with rights_of(user):  # files are read in the way in which they will be read again
        if checker is None and settings.http_users:
            checker = UsersFile(settings.path(settings.http_users), chosen, problems=problems)
        service = JsonRpcService(settings, chosen, checker, problems, site_authenticates, user)
        for name, facts in (transports or {}).items():
            service.add_transport(name, facts)
        _add_audit(service)
        _load_destinations(service, problems)
    add_gauges(service.counters, lambda: (stream.connections for stream in service.streams()))
    add_variables(service.variables, lambda: service.settings, service.change)
    _load_commands(service, problems)
    for source in commands:
        service.registry.add(source)
    with rights_of(user):
        service.reload_rules(problems)
    _add_tables(service)
    gateway = _add_gateway(service, problems)
    with problems.noted():
        _add_fleet(service, gateway, problems)
    doubt_rules = partial(_doubt_rules, service, checker, gateway)
    if problems is FIRST:
        _AtStart(doubt_rules).setServiceParent(service)  # a program may add commands until then
    else:
        doubt_rules(problems)
    if settings.ds_ping_interval:
        ProbingService(service.destinations, settings, chosen).setServiceParent(service)
    with problems.noted():
        _add_metrics(service, gateway)
    with problems.noted():
        _add_console(service, gateway)
    if settings.watchdog:
        Watchdog(settings.watchdog / 1000, chosen, service.dispatcher.slow).setServiceParent(service)
    _add_transports(service, problems)
    _add_checks(service)
    _add_reloads(service, checker, doubt_rules)
    return service


def make_stateless(settings: Settings, reactor: Any) -> JsonRpcService:
    """Make a server for a worker process: without transports, and only with those sources of commands named by the
    settings that have a command declared free of state. It has no rules yet.
    """
    set_debug(settings.debug)
    service = JsonRpcService(attrs.evolve(settings, store_path=""), reactor)  # the main process stores replies
    for family in (*load_families(settings.load), *map(load_module, settings.commands)):
        if declares_stateless(family.source):
            service.registry.add(family.make(service))
    return service


def _user_to_become(uid: str | int | None, gid: str | int | None) -> User | None:
    try:
        return user_to_become(uid, gid)
    except UnknownOwner as error:
        name = "uid" if gid is None else "uid, gid"
        raise StartError(name, error.shown, error.reason, "a user of this machine, if root starts the server") from None


def _load_destinations(service: JsonRpcService, problems: Problems) -> None:
    name = service.settings.list_file
    if not name:
        return
    path = service.settings.path(name)

    def explain(error: JsonRpcsError) -> JsonRpcsError:
        assert isinstance(error, NotAllowed)
        reason = error.reason.removeprefix(f"{path}: ")
        return StartError("list_file", path, reason, error.allowed, error.line)

    service.destinations.load(path, problems.translated(explain))


def _load_commands(service: JsonRpcService, problems: Problems) -> None:
    for family in load_families(service.settings.load, problems):
        with problems.noted(), _of_setting("load", family.name):
            service.add_family(family.name, family.make(service))
    for name in service.settings.commands:
        with problems.noted(), _of_setting("commands", name):
            service.registry.add(load_module(name).make(service))


@contextmanager
def _of_setting(setting: str, name: str) -> Iterator[None]:
    """Say which value of a setting has commands that cannot be added."""
    try:
        yield
    except SettingError:
        raise
    except Exception as error:
        raise SettingError(setting, name, f"commands that can be added ({type(error).__name__}: {error})") from error


def _add_tables(service: JsonRpcService) -> None:
    name = service.settings.htable_db
    path = service.settings.path(name) if name else ""
    interval = service.settings.htable_db_interval
    store = TableStoreService(service.tables, path, interval, service.reactor)
    store.setServiceParent(service)
    if path:
        service.health.add("disk", lambda: [f"htable_db: {store.problem}"] if store.problem else [])


def _add_gateway(service: JsonRpcService, problems: Problems) -> "Gateway | None":
    settings = service.settings
    if not (settings.node or settings.node_file or settings.fleet):
        return None
    from jsonrpcs_tx.commands.gateway import GatewayCommands  # only few servers are gateways
    from jsonrpcs_tx.gateway.gateway import Gateway

    with rights_of(service.user):  # files are read as they will be read again
        gateway = Gateway(settings, service.dispatcher, service.reactor, problems)
    gateway.setServiceParent(service)
    service.add_family("gateway", GatewayCommands(gateway))
    service.jsonrpc_dispatch.callees = gateway.at
    service.discovery.listing = gateway.listing
    service.health.add("nodes", gateway.problems, fatal=False)
    service.reloads.add("nodes", gateway.reload)
    service.endings.append(gateway.close)
    for state in ("up", "down"):
        service.counters.gauge("gateway", f"nodes_{state}", f"nodes that are {state}", partial(gateway.count, state))
    return gateway


def _add_fleet(service: JsonRpcService, gateway: "Gateway | None", problems: Problems) -> None:
    if not service.settings.fleet:
        return
    from jsonrpcs_tx.commands.fleet import FleetCommands  # only some servers are in a fleet
    from jsonrpcs_tx.fleet.gateways import Gateways
    from jsonrpcs_tx.fleet.makefleet import make_fleet
    from jsonrpcs_tx.fleet.wanted import Wanted

    assert gateway is not None  # every node of a fleet is one
    wanted = Wanted()
    with rights_of(service.user):
        fleet = make_fleet(
            service.settings,
            {"dispatcher": service.destinations, "shv": service.shared, "wanted": wanted},
            service.tables,
            service.variables,
            service.reactor,
        )
    fleet.setServiceParent(service)
    if problems is not FIRST:
        fleet.check(problems)  # the start does so itself: a program may add tables and groups until then
    gateway.join(Gateways(fleet, wanted, service.settings.fleet_wanted, service.reactor))
    fleet.cards_changed = lambda: gateway.find(fleet.as_nodes())
    service.add_family("fleet", FleetCommands(fleet, gateway))
    service.health.add("fleet", fleet.problems, fatal=False)
    fleet.add_gauges(service.counters)


def _doubt_rules(
    service: JsonRpcService, checker: object, gateway: "Gateway | None", problems: Problems = FIRST
) -> None:
    """Tell which rules can never fit."""

    def own(method: str) -> tuple[int, int | None] | None:
        return service.registry[method].binding.counts if method in service.registry else None

    users = checker.names if isinstance(checker, UsersFile) else None
    nodes = () if gateway is None else gateway.names()
    for doubt in doubts(service.dispatcher.access.rules, own, users, nodes, service.registry.table.keys()):
        problems.warn(doubt)


class _AtStart(Service):
    """Calls a function when the server starts."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function

    def startService(self) -> None:
        super().startService()
        self._function()


def _add_transports(service: JsonRpcService, problems: Problems) -> None:
    settings = service.settings
    pages = {path.encode(): page for path, page in service.pages.items()}
    parts = Parts(settings, service.dispatcher, service.jsonrpc_dispatch, pages, service.reactor, service.user)
    modules = dict.fromkeys(one.module for one in PROTOCOLS.values() if one.module and settings.enables(one.bit))
    for name in modules:
        with problems.noted():
            for transport in import_module(f"{_transports.__name__}.{name}").make_transports(parts):
                transport.setServiceParent(service)


def _add_metrics(service: JsonRpcService, gateway: "Gateway | None") -> None:
    path = service.settings.metrics
    if not path:
        return
    from jsonrpcs_tx.metrics.lag import ReactorLag  # only some servers have metrics
    from jsonrpcs_tx.metrics.resource import MetricsResource, Nodes, ProbeResource
    from jsonrpcs_tx.metrics.server import ServerMetrics

    lag = ReactorLag(service.reactor)
    lag.setServiceParent(service)
    metrics = ServerMetrics(service, lag)
    jsonrpc, slices, reactor = service.jsonrpc_dispatch, service.slices, service.reactor
    if gateway is None:
        service.add_page("metrics", path, MetricsResource(jsonrpc, lambda _: metrics.families(), slices, reactor))
        return
    from jsonrpcs_tx.metrics.nodes import NodeMetrics

    nodes = NodeMetrics(gateway, slices, reactor, service.settings.metrics_interval)
    nodes.setServiceParent(service)

    def families(names: Nodes) -> "Iterator[Family]":
        yield from metrics.families()
        yield from nodes.families(names, label="node")

    service.add_page("metrics", path, MetricsResource(jsonrpc, families, slices, reactor, gateway.allowed))
    probe = ProbeResource(jsonrpc, nodes.families, slices, reactor, gateway.origin)
    service.add_page("metrics", path.rpartition("/")[0] + PROBE, probe)


def _add_console(service: JsonRpcService, gateway: "Gateway | None") -> None:
    path = service.settings.console
    if not path:
        return
    from jsonrpcs_tx.console.make import make_console  # it can be turned off

    service.add_page("console", path, make_console(service, gateway))


def _add_audit(service: JsonRpcService) -> None:
    audit = service.audit
    if audit is not None:
        audit.setServiceParent(service)  # the first, so that it is opened first, and closed last
        service.reopens.add("audit log", audit.reopen)
        service.health.add("audit", lambda: [f"audit: lines are lost: {audit.problem}"] if audit.problem else [])


def _add_checks(service: JsonRpcService) -> None:
    def listeners() -> Iterator[str]:
        return (problem for transport in service.transports() if (problem := transport.problem()) is not None)

    def workers() -> Iterator[str]:
        for transport in service.transports():
            if transport.missing_workers():
                yield f"{transport.listener}: {transport.missing_workers()} worker processes do not run"

    def destinations() -> Iterator[str]:
        for id, found in service.destinations.items():
            if not any(one.live for one in found):
                yield f"set {id}: none of {len(found)} destinations is live"

    service.health.add("listeners", listeners)
    service.health.add("workers", workers)
    service.health.add("destinations", destinations, fatal=service.settings.health_destinations)


def _add_reloads(service: JsonRpcService, checker: Any, doubt_rules: Callable[[], None]) -> None:
    def reload_rules() -> str:
        number = service.reload_rules()
        doubt_rules()
        return f"there are {number}"

    if service.settings.certificate:
        service.reloads.add("certificates", lambda: f"for {service.reload_tls()} listeners")
    if service.settings.rule_file:
        service.reloads.add("rules", reload_rules)
    if isinstance(checker, UsersFile):
        service.reloads.add("users", lambda: f"there are {checker.reload()}")
    if service.settings.list_file:
        service.reloads.add("destinations", lambda: _reload_destinations(service))


def _reload_destinations(service: JsonRpcService) -> str:
    changed, sets = service.reload_destinations(), service.destinations
    if changed and sets.share is not None:
        return "they are replaced on all nodes of the fleet"
    if not changed:
        return "the list is the same, so they stay as they are"
    return f"there are {sum(map(len, sets.values()))} in {len(sets)} sets"
