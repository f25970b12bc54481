"""The families of built-in commands, and how those of others are found."""

import importlib
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from jsonrpcs_tx.commands.cfg import Cfg
from jsonrpcs_tx.commands.cnt import Cnt
from jsonrpcs_tx.commands.core import Core
from jsonrpcs_tx.commands.corex import Corex
from jsonrpcs_tx.commands.dispatcher import DispatcherCommands
from jsonrpcs_tx.commands.htable import Htable
from jsonrpcs_tx.commands.jsonrpc import JsonRpc
from jsonrpcs_tx.commands.stats import Stats
from jsonrpcs_tx.commands.system import System
from jsonrpcs_tx.commands.tls import Tls
from jsonrpcs_tx.config.settings import SettingError

if TYPE_CHECKING:
    from jsonrpcs_tx.service import JsonRpcService

ENTRY_POINTS: Final = "jsonrpcs_tx.commands"
"""The group of entry points by which a package announces a family of commands: a module, or a class that takes the
service."""

BUILT_IN: Final = MappingProxyType[str, type](
    {
        "system": System,
        "core": Core,
        "corex": Corex,
        "jsonrpc": JsonRpc,
        "dispatcher": DispatcherCommands,
        "htable": Htable,
        "cfg": Cfg,
        "stats": Stats,
        "cnt": Cnt,
        "tls": Tls,
    },
)


def families(wanted: Sequence[str]) -> Iterator[tuple[str, object]]:
    """The families that the setting C{load} names: built-in ones first, then those of entry points.

    @return: each name with what L{instance} takes.
    @raise SettingError: there is none of a name, or it cannot be loaded.
    """
    announced = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    known = dict.fromkeys([*BUILT_IN, *announced])
    for name in wanted:
        if name != "all" and name not in known:
            raise SettingError("load", name, ", ".join(["all", *known]))
    for name in known if "all" in wanted else dict.fromkeys(wanted):
        if name in BUILT_IN:
            yield name, BUILT_IN[name]
        else:
            try:
                yield name, announced[name].load()
            except Exception as error:
                raise SettingError("load", name, f"an entry point that can be imported ({error})") from error


def load_module(name: str) -> object:
    """What a value of the setting C{commands} names.

    @param name: C{package.module}, or C{package.module:name} of a class or anything else that L{instance} takes.
    @raise SettingError: it cannot be imported.
    """
    module_name, _, attribute = name.partition(":")
    try:
        loaded: Any = importlib.import_module(module_name)
        if attribute:
            loaded = getattr(loaded, attribute)
    except Exception as error:
        raise SettingError("commands", name, f"a module that can be imported ({error})") from error
    return loaded


def instance(loaded: Any, service: "JsonRpcService") -> object:
    """What L{jsonrpcs_tx.rpc.registry.commands_of} takes: of a class an instance, which is made with the service."""
    return loaded(service) if isinstance(loaded, type) else loaded
