"""Settings in, a server with all its parts out."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import attrs

from jsonrpcs_tx import transports
from jsonrpcs_tx.access.usersfile import UsersFile
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.errors import JsonRpcsError, NotAllowed, SettingError, StartError
from jsonrpcs_tx.families import load_families, load_module
from jsonrpcs_tx.log import set_debug
from jsonrpcs_tx.problems import FIRST, AllProblems, Problems
from jsonrpcs_tx.protocols import PROTOCOLS
from jsonrpcs_tx.rpc.registry import declares_stateless
from jsonrpcs_tx.service import JsonRpcService
from jsonrpcs_tx.state.gauges import add_gauges
from jsonrpcs_tx.state.livesettings import add_variables
from jsonrpcs_tx.state.probing import ProbingService
from jsonrpcs_tx.state.tablestore import TableStoreService
from jsonrpcs_tx.transports.parts import Parts
from jsonrpcs_tx.watchdog import Watchdog


def makeService(
    settings: Settings, reactor: Any = None, commands: Iterable[object] = (), checker: Any = None
) -> JsonRpcService:
    """Make a server. It listens when it is started, by itself or by the application that it is a part of.

    @param settings: all settings.
    @param reactor: the reactor to run in; default: the global one.
    @param commands: functions, modules and objects with commands, besides those that the settings name.
    @param checker: a twisted.cred ICredentialsChecker of the names and passwords that every request over HTTP(S) then
        needs, see L{jsonrpcs_tx.access.authentication.Authenticator}; default: one for the file of the setting
        C{http_users}, if that is set.
    @raise StartError: the file of users, that of rules or the list of destinations cannot be used.
    @raise SettingError: a module or family that a setting names is not there, has no commands, or has one whose name is
        taken; or the definition of a table or the directory of stored replies is not allowed.
    @raise ValueError: two of C{commands} have the same name.
    """
    return assemble(settings, reactor, commands, checker, FIRST)


def check(
    settings: Settings, reactor: Any = None, commands: Iterable[object] = (), checker: Any = None
) -> list[JsonRpcsError]:
    """Look for all that would keep a server from starting, without opening or changing anything.

    All files that the settings name are read, and modules with commands are imported. What only opening tells is not
    found: that an address is in use, or is not one of this machine.

    The parameters are those of L{makeService}.

    @raise ValueError: two of C{commands} have the same name.
    @return: what is wrong; C{file} and C{line} of each say where, if it is in one of the files.
    """
    problems = AllProblems()
    assemble(settings, reactor, commands, checker, problems).check(problems)
    return problems.found


def assemble(
    settings: Settings, reactor: Any, commands: Iterable[object], checker: Any, problems: Problems
) -> JsonRpcService:
    """Make a server, see L{makeService}; where problems are collected, without the parts that cannot be made."""
    if reactor is None:
        from twisted.internet import reactor
    set_debug(settings.debug)
    if checker is None and settings.http_users:
        checker = UsersFile(settings.path(settings.http_users), reactor, problems=problems)
    service = JsonRpcService(settings, reactor, checker, problems)
    service.check_facts(service.dispatcher.access, settings, problems)
    _load_destinations(service, problems)
    add_gauges(service.counters, lambda: (stream.connections for stream in service.streams()))
    add_variables(service.variables, lambda: service.settings, service.change)
    _load_commands(service, problems)
    for source in commands:
        service.registry.add(source)
    _add_tables(service)
    if settings.ds_ping_interval:
        ProbingService(service.destinations, settings, reactor).setServiceParent(service)
    if settings.watchdog:
        Watchdog(settings.watchdog / 1000, reactor).setServiceParent(service)
    _add_transports(service, problems)
    _add_reloads(service)
    return service


def make_stateless(settings: Settings, reactor: Any) -> JsonRpcService:
    """Make a server for a worker process: without transports, and with only those sources of commands that the settings
    name and that hold one that is declared free of state.
    """
    set_debug(settings.debug)
    service = JsonRpcService(attrs.evolve(settings, store_path=""), reactor)  # the main process stores replies
    for family in (*load_families(settings.load), *map(load_module, settings.commands)):
        if declares_stateless(family.source):
            service.registry.add(family.make(service))
    return service


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
    TableStoreService(service.tables, path, service.reactor).setServiceParent(service)


def _add_transports(service: JsonRpcService, problems: Problems) -> None:
    settings = service.settings
    parts = Parts(settings, service.dispatcher, service.jsonrpc_dispatch, service.reactor)
    modules = dict.fromkeys(one.module for one in PROTOCOLS.values() if one.module and settings.enables(one.bit))
    for name in modules:
        with problems.noted():
            for transport in import_module(f"{transports.__name__}.{name}").make_transports(parts):
                transport.setServiceParent(service)


def _add_reloads(service: JsonRpcService) -> None:
    if service.settings.tls_certificate or service.settings.tls_self_signed:
        service.reloads.add("certificates", lambda: f"for {service.reload_tls()} listeners")
    if service.settings.rule_file:
        service.reloads.add("rules", lambda: f"there are {service.reload_rules()}")
