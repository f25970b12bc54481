"""The commands that tell of the commands: ``system.*`` as in XML-RPC, and ``rpc.discover`` as in OpenRPC."""

from typing import Final

from jsonrpcs_tx.openrpc.discovery import METHOD, Discovery
from jsonrpcs_tx.rpc.call import Call
from jsonrpcs_tx.rpc.envelope import Envelope
from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.registry import Command, Registry, command
from jsonrpcs_tx.rpc.replies import Reply

_NAME_EXPECTED: Final = Error(400, "Method Name Expected")
_NOT_FOUND: Final = Error(400, "command not found")


class System:
    """
    @param registry: has the commands.
    @param discovery: describes them.
    """

    def __init__(self, registry: Registry, discovery: Discovery) -> None:
        self._registry = registry
        self._discovery = discovery

    @command("system.listMethods", changes=False)
    def list_methods(self) -> list[str]:
        """Lists the names of all commands, sorted."""
        return sorted(self._registry)

    @command("system.methodHelp", usage=_NAME_EXPECTED, changes=False, faults=(_NOT_FOUND,))
    def method_help(self, name: str) -> str:
        """Returns the help text of a command."""
        return self._find(name).help

    @command("system.methodSignature", usage=_NAME_EXPECTED, changes=False, faults=(_NOT_FOUND,))
    def method_signature(self, name: str) -> list[list[str]]:
        """Returns the ways to call a command, each as the type of the result and those of the parameters."""
        return self._find(name).signatures()

    @command(METHOD, changes=False, faults=(Fault(404, "Node Not Found"),))
    def discover(self, call: Call, node: str = "") -> dict[str, object]:
        """Describes the commands that the caller may call, of this server or of a node, as an OpenRPC document."""
        document = self._discovery.document(call.origin.fixed(), node)
        return _reply(document, call) if isinstance(document, bytes) else document.addCallback(_reply, call)  # type: ignore[return-value] # clients get it as that

    def _find(self, name: str) -> Command:
        found = self._registry.get(name)
        if found is None:
            raise Fault(_NOT_FOUND.code, _NOT_FOUND.text)
        return found


def _reply(document: bytes, call: Call) -> Reply:
    return Reply(Envelope.passed_on(b"result", document, call.request.id))
