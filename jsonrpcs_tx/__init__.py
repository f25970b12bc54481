"""Kamailio's JSON-RPC management interface for Twisted services.

L{command} makes a function a command, L{Settings} says where to listen, and L{makeService} makes the service. See
README.md.

A name is imported when it is first used, so that a client does not load the server, nor Twisted.
"""

from jsonrpcs_tx._version import __version__

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from jsonrpcs_tx.access.caller import Caller
    from jsonrpcs_tx.compose import check, makeService
    from jsonrpcs_tx.config.settings import Settings
    from jsonrpcs_tx.errors import ConfigError, JsonRpcsError, NotAllowed, SettingError, StartError
    from jsonrpcs_tx.rpc.binding import MISSING, Text
    from jsonrpcs_tx.rpc.call import Call
    from jsonrpcs_tx.rpc.current import current_call
    from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
    from jsonrpcs_tx.rpc.envelope import JSONRPC2, KAMAILIO
    from jsonrpcs_tx.rpc.faults import Fault, InvalidParams
    from jsonrpcs_tx.rpc.registry import Command, Registry, command, commands_of
    from jsonrpcs_tx.service import JsonRpcService
    from jsonrpcs_tx.state.counters import Counter
    from jsonrpcs_tx.state.destinations import DestinationError, NoDestination
    from jsonrpcs_tx.state.tables import StorageError
    from jsonrpcs_tx.state.variables import UnknownVariable, Variable, VariableError
    from jsonrpcs_tx.transports.base import Listener, Transport
    from jsonrpcs_tx.web.httpresource import JsonRpcResource

__all__ = [
    "JSONRPC2",
    "KAMAILIO",
    "MISSING",
    "Call",
    "Caller",
    "Command",
    "ConfigError",
    "Counter",
    "DestinationError",
    "Dispatcher",
    "Fault",
    "InvalidParams",
    "JsonRpcResource",
    "JsonRpcService",
    "JsonRpcsError",
    "Listener",
    "NoDestination",
    "NotAllowed",
    "Origin",
    "Registry",
    "Reply",
    "SettingError",
    "Settings",
    "StartError",
    "StorageError",
    "Text",
    "Transport",
    "UnknownVariable",
    "Variable",
    "VariableError",
    "__version__",
    "check",
    "command",
    "commands_of",
    "current_call",
    "makeService",
]

_HOMES = {
    "Call": "rpc.call",
    "Caller": "access.caller",
    "Command": "rpc.registry",
    "ConfigError": "errors",
    "Counter": "state.counters",
    "DestinationError": "state.destinations",
    "Dispatcher": "rpc.dispatcher",
    "Fault": "rpc.faults",
    "InvalidParams": "rpc.faults",
    "JSONRPC2": "rpc.envelope",
    "JsonRpcResource": "web.httpresource",
    "JsonRpcService": "service",
    "JsonRpcsError": "errors",
    "KAMAILIO": "rpc.envelope",
    "Listener": "transports.base",
    "MISSING": "rpc.binding",
    "NoDestination": "state.destinations",
    "NotAllowed": "errors",
    "Origin": "rpc.dispatcher",
    "Registry": "rpc.registry",
    "Reply": "rpc.dispatcher",
    "SettingError": "errors",
    "Settings": "config.settings",
    "StartError": "errors",
    "StorageError": "state.tables",
    "Text": "rpc.binding",
    "Transport": "transports.base",
    "UnknownVariable": "state.variables",
    "Variable": "state.variables",
    "VariableError": "state.variables",
    "check": "compose",
    "command": "rpc.registry",
    "commands_of": "rpc.registry",
    "current_call": "rpc.current",
    "makeService": "compose",
}
"""The module of the package that each name comes from, the same as above."""


def __getattr__(name: str) -> object:
    """A public name, imported now.

    @raise AttributeError: there is no such name.
    """
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # not needed if only a module of the package is imported

    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
