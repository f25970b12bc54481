"""The commands ``system.*``: the list of commands and their help, as in XML-RPC's introspection."""

from typing import Final

from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.registry import Command, Registry, command

_NAME_EXPECTED: Final = Error(400, "Method Name Expected")


class System:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @command("system.listMethods", changes=False)
    def list_methods(self) -> list[str]:
        """Lists the names of all commands, sorted."""
        return sorted(self._registry)

    @command("system.methodHelp", usage=_NAME_EXPECTED, changes=False)
    def method_help(self, name: str) -> str:
        """Returns the help text of a command."""
        return self._find(name).help

    @command("system.methodSignature", usage=_NAME_EXPECTED, changes=False)
    def method_signature(self, name: str) -> list[list[str]]:
        """Returns the ways to call a command, each as the type of the result and those of the parameters."""
        return self._find(name).signatures()

    def _find(self, name: str) -> Command:
        found = self._registry.get(name)
        if found is None:
            raise Fault(400, "command not found")
        return found
