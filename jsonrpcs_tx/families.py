"""The families of commands that a server can have: built-in ones, and those of other packages and modules."""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

import attrs

from jsonrpcs_tx.commands.cfg import Cfg
from jsonrpcs_tx.commands.cnt import Cnt
from jsonrpcs_tx.commands.core import Core
from jsonrpcs_tx.commands.corex import Corex
from jsonrpcs_tx.commands.dispatcher import DispatcherCommands
from jsonrpcs_tx.commands.htable import Htable
from jsonrpcs_tx.commands.jsonrpc import JsonRpc
from jsonrpcs_tx.commands.mod import Mod
from jsonrpcs_tx.commands.modparam import Modparam
from jsonrpcs_tx.commands.pkg import Pkg
from jsonrpcs_tx.commands.pv import Pv
from jsonrpcs_tx.commands.shm import Shm
from jsonrpcs_tx.commands.stats import Stats
from jsonrpcs_tx.commands.system import System
from jsonrpcs_tx.commands.tls import Tls
from jsonrpcs_tx.config.problems import FIRST, Problems
from jsonrpcs_tx.errors import SettingError
from jsonrpcs_tx.service import JsonRpcService

ENTRY_POINTS: Final = "jsonrpcs_tx.commands"
"""The group of entry points by which a package announces a family of commands: a module, or a class that takes the
service."""


@attrs.frozen
class Family:
    """A family of commands.

    @ivar name: by which the setting C{load} or C{commands} names it.
    @ivar source: the class or module that declares its commands.
    @ivar make: makes what L{jsonrpcs_tx.rpc.registry.commands_of} takes, for a server.
    """

    name: str
    source: object
    make: Callable[[JsonRpcService], object]


_BUILT_IN: Final = (
    Family("system", System, lambda server: System(server.registry, server.discovery)),
    Family("core", Core, Core),
    Family("corex", Corex, Corex),
    Family("jsonrpc", JsonRpc, lambda server: JsonRpc(server.health.report)),
    Family(
        "dispatcher",
        DispatcherCommands,
        lambda server: DispatcherCommands(
            server.destinations, server.settings, server.reactor, server.compatibility, server.started
        ),
    ),
    Family("htable", Htable, lambda server: Htable(server.tables)),
    Family("cfg", Cfg, lambda server: Cfg(server.variables, server.compatibility)),
    Family("stats", Stats, lambda server: Stats(server.counters)),
    Family("cnt", Cnt, lambda server: Cnt(server.counters)),
    Family("tls", Tls, lambda server: Tls(server.reload_tls, lambda: server.settings, server.streams)),
    Family("pkg", Pkg, lambda server: Pkg(server.processes)),
    Family("shm", Shm, lambda server: Shm()),
    Family("mod", Mod, lambda server: Mod(lambda: server.families)),
    Family("modparam", Modparam, lambda server: Modparam(lambda: server.settings, server.change)),
    Family("pv", Pv, lambda server: Pv(server.shared)),
)
"""Each is handed those parts of a server that it uses."""


def load_families(wanted: Sequence[str], problems: Problems = FIRST) -> Iterator[Family]:
    """The families that the setting C{load} names: built-in ones first, then those of entry points, which are looked
    for only where C{all} or a name that is not built in asks for them.

    @param problems: takes what is wrong.
    @raise SettingError: there is no family of that name, or it cannot be loaded.
    """
    built_in = {family.name: family for family in _BUILT_IN}
    look = any(name not in built_in for name in wanted)
    announced = _announced(tuple(sys.path)) if look else {}
    known = dict.fromkeys([*built_in, *announced])
    for name in wanted:
        if name != "all" and name not in known:
            problems.note(SettingError("load", name, ", ".join(["all", *known])))
    for name in known if "all" in wanted else [name for name in dict.fromkeys(wanted) if name in known]:
        if name in built_in:
            yield built_in[name]
        else:
            with problems.noted():
                yield _load_announced(announced[name])


@lru_cache(1)
def _announced(path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """The entry points of the packages on C{sys.path}, by name. To read them takes longer than to make a server."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def _load_announced(entry: EntryPoint) -> Family:
    """@raise SettingError: it cannot be imported."""
    try:
        return _family(entry.name, entry.load())
    except (Exception, SystemExit) as error:
        raise SettingError("load", entry.name, f"an entry point that can be imported ({error})") from error


def load_module(name: str) -> Family:
    """What a value of the setting C{commands} names.

    @param name: C{package.module}, or C{package.module:name} of a class or anything else that holds commands.
    @raise SettingError: it cannot be imported.
    """
    module_name, _, attribute = name.partition(":")
    try:
        loaded: Any = importlib.import_module(module_name)
        if attribute:
            loaded = getattr(loaded, attribute)
    except (Exception, SystemExit) as error:
        raise SettingError("commands", name, f"a module that can be imported ({error})") from error
    return _family(name, loaded)


def _family(name: str, loaded: Any) -> Family:
    """The family that a package or program declares. A class is instantiated with the server."""
    return Family(name, loaded, loaded if isinstance(loaded, type) else lambda server: loaded)
