"""Kamailio's JSON-RPC management interface for Twisted services.

L{command} makes a function a command, L{Settings} says where to listen, and L{makeService} makes the service. See
README.md.
"""

from jsonrpcs_tx._version import __version__
from jsonrpcs_tx.compose import makeService
from jsonrpcs_tx.config.files import ConfigError
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.errors import JsonRpcsError, NotAllowed, SettingError, StartError
from jsonrpcs_tx.rpc.binding import MISSING, Text
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.faults import Fault, InvalidParams
from jsonrpcs_tx.rpc.registry import Registry, command, commands_of
from jsonrpcs_tx.service import JsonRpcService
from jsonrpcs_tx.state.destinations import DestinationError, NoDestination
from jsonrpcs_tx.state.tables import StorageError
from jsonrpcs_tx.state.variables import UnknownVariable, Variable, VariableError

__all__ = [
    "MISSING",
    "ConfigError",
    "DestinationError",
    "Dispatcher",
    "Fault",
    "InvalidParams",
    "JsonRpcService",
    "JsonRpcsError",
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
    "UnknownVariable",
    "Variable",
    "VariableError",
    "__version__",
    "command",
    "commands_of",
    "makeService",
]
