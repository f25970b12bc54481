"""Calls methods for the sub-commands: with typed parameters, and errors that suggest similar names."""

import sys
from time import monotonic

from jsonrpcs_tx.cli.descriptions import SUBCOMMANDS
from jsonrpcs_tx.cli.exits import CallError, UsageError
from jsonrpcs_tx.client.errors import ClientError, Refused
from jsonrpcs_tx.rpc.faults import Fault

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonrpcs_tx.cli.parser import Arguments
    from jsonrpcs_tx.cli.where import Server
    from jsonrpcs_tx.client.core import Params, Reply

_UNKNOWN_METHOD = "method not found"
"""The fault of servers that have no such method, in lower case."""

_BAD_PARAMETERS = ("invalid parameters", "invalid params")
"""Their faults for parameters that do not say which parameter is wrong, in lower case."""

_GATEWAY_SCHEMES = ("http", "https")
"""The schemes of URLs at which there may be a gateway."""

_DATAGRAMS = ("unix", "udp")
"""Over which replies may be too large."""

_MOST_SHOWN = 5
"""Nodes whose faults a message has at most."""

_LONGEST_DATA = 200
"""Characters of a fault's data that a message has at most."""

HINT_SECONDS = 1.0
"""How long a server may take to list its methods after an unknown name."""


class NodesFailed(CallError):
    """A gateway has called several nodes, and not all of them have a result.

    @param call: the server and the method, for the message.
    @param result: the outcomes of all nodes.
    @param faults: those of the nodes that have failed, by node.
    @ivar some: whether some node has a result.
    """

    def __init__(self, call: str, result: "dict[str, dict[str, object]]", faults: dict[str, Fault]) -> None:
        shown = "; ".join(f"{node}: {fault}" for node, fault in [*faults.items()][:_MOST_SHOWN])
        more = f"; and {len(faults) - _MOST_SHOWN} more" if len(faults) > _MOST_SHOWN else ""
        message = f"{call}: {len(faults)} of {len(result)} nodes failed: {shown}{more}"
        super().__init__(next(iter(faults.values())), message)
        self.result = result
        self.some: bool = len(faults) < len(result)


class Caller:
    """Calls the methods of a server.

    @param server: the server.
    @param keeps_bytes: whether to keep the bytes of replies in L{reply}.
    @ivar reply: the bytes of the last reply; empty if there is none, or they are not kept.
    """

    def __init__(self, server: "Server", keeps_bytes: bool = False) -> None:
        self.server = server
        self.reply = b""
        self._may_be_gateway = server.target.scheme in _GATEWAY_SCHEMES
        self._client = server.client(self._read if keeps_bytes else None)
        self._signatures: dict[str, list[list[str]]] = {}

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.close()

    def call(self, method: str, words: "Sequence[str]" = (), params: "Params | None" = None) -> object:
        """Call a method.

        @param words: its parameters as words of a command line.
        @param params: its parameters as values, instead of words.
        @return: the result.
        @raise UsageError: a word is not what the method takes.
        @raise NodesFailed: the server is a gateway, and nodes have answered it with faults.
        @raise CallError: the server answered with a fault, or there is no reply.
        """
        deadline = monotonic() + self.server.timeout
        try:
            if params is None:
                params = self._typed(method, words) if words else ()
            return self._checked(method, self._outcome(method, params, max(deadline - monotonic(), 0.001)))
        except Fault as fault:
            message = f"{self.server.name}: {method}: {fault}{_data(fault)}{self._advice(method, fault)}"
            raise CallError(fault, message) from None
        except ClientError as error:
            profile = "" if self.server.name == str(self.server.target) else f"{self.server.name}: "
            raise CallError(error, f"{profile}{error}") from None

    def call_any(self, method: str, words: "Sequence[str]" = ()) -> object:
        """Call a method whose result is the same on all nodes of a gateway: one result is enough.

        @raise CallError: as L{call}, if no node has a result.
        """
        try:
            result = self.call(method, words)
        except NodesFailed as failed:
            if not failed.some:
                raise
            result = failed.result
        return self._of_any(result)

    def _checked(self, method: str, result: object) -> object:
        """@raise NodesFailed: see L{call}."""
        if type(result) is dict and self._may_be_gateway:
            from jsonrpcs_tx.cli import nodes

            if nodes.are_outcomes(result) and (faults := nodes.faults(result)):
                raise NodesFailed(f"{self.server.name}: {method}", result, faults)
        return result

    def _of_any(self, result: object) -> object:
        if type(result) is dict and self._may_be_gateway:
            from jsonrpcs_tx.cli import nodes

            return nodes.any_result(result)
        return result

    def _typed(self, method: str, words: "Sequence[str]") -> list[object]:
        from jsonrpcs_tx.cli.parameters import values  # many calls have none

        return values(method, words, self.signatures)

    def _advice(self, method: str, fault: Fault) -> str:
        """Advice for a fault that says little, as the end of a message; empty: no advice is known."""
        text = fault.text.lower()
        if text == _UNKNOWN_METHOD:
            return self.suggestion(method)
        return f"; see jsonrpcs help {method}" if text in _BAD_PARAMETERS else ""

    def suggestion(self, method: str) -> str:
        """What may help if a server has no such method, as the end of a message: the module of Kamailio's that it has
        not loaded, or similar names; empty: nothing is known. A name without a dot may be a sub-command.
        """
        from jsonrpcs_tx.catalogue import find, nearest

        listed, entry = self._methods(), find(method)
        family = f"{method.partition('.')[0]}."
        if entry is not None and listed and not any(name.startswith(family) for name in listed):
            return f"; it is in Kamailio's module {' or '.join(entry.modules)}, which is not loaded there"
        near = nearest(method, tuple(listed))
        if "." not in method:
            near = [f"jsonrpcs {name}" for name in nearest(method, tuple(one.name for one in SUBCOMMANDS), 1)] + near
        return f"; did you mean {_either(near)}?" if near else ""

    def _methods(self) -> list[str]:
        """The methods that the server lists; empty if it does not list them."""
        try:
            found = self._of_any(self._outcome("system.listMethods", (), min(HINT_SECONDS, self.server.timeout)))
        except (Fault, ClientError):
            return []
        return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []

    def _read(self, document: bytes) -> "Reply":
        from jsonrpcs_tx.client.core import read_reply

        self.reply = document
        return read_reply(document)

    def signatures(self, method: str) -> list[list[str]]:
        """The signatures of a method: the type of the result, then those of the parameters, for each number of
        parameters. They are requested once. Empty: the server does not know them.

        @raise ClientError: the server gives no reply.
        """
        if method not in self._signatures:
            try:
                told = self._of_any(self._outcome("system.methodSignature", [method], self.server.timeout))
            except (Fault, Refused):
                told = None  # Kamailio does not know them, and rules may allow the method alone
            self._signatures[method] = list(filter(_is_signature, told)) if isinstance(told, list) else []
        return self._signatures[method]

    def description(self, method: str) -> "dict[str, object]":
        """How the server describes a method, as OpenRPC has it; empty: it does not tell. Over datagrams it is not
        asked, since it describes all of its methods at once.
        """
        if self.server.target.scheme in _DATAGRAMS:
            return {}
        try:
            told = self._outcome("rpc.discover", (), min(HINT_SECONDS, self.server.timeout))
        except (Fault, ClientError):
            return {}
        methods = told.get("methods") if isinstance(told, dict) else None
        for one in methods if isinstance(methods, list) else ():
            if isinstance(one, dict) and one.get("name") == method:
                return one
        return {}

    def _outcome(self, method: str, params: "Params", timeout: float) -> object:
        if isinstance(params, dict):
            outcome = self._client.batch([(method, params)], timeout)[0]
            if isinstance(outcome, Fault | ClientError):
                raise outcome
            return outcome
        return self._client.call(method, *params, timeout=timeout)


def _data(fault: Fault) -> str:
    """What a fault says to programs, as a part of a message; empty: nothing."""
    if fault.data is None:
        return ""
    from jsonrpcs_tx.client.documents import write

    try:
        written = write(fault.data)
    except ValueError:  # it is nested too deeply
        return ""
    return f": {written if len(written) <= _LONGEST_DATA else written[:_LONGEST_DATA] + '...'}"


def given_params(arguments: "Arguments") -> "Params | None":
    """The parameters in the option C{--params}; None: they are words.

    @raise UsageError: they cannot be read, or there are words as well.
    """
    if arguments.params is None:
        return None
    if len(arguments.words) > 1:
        raise UsageError("--params: there are also parameters as words; allowed: one of the two")
    from jsonrpcs_tx.cli.parameters import document

    return document(sys.stdin.read() if arguments.params == "-" else arguments.params)


def _is_signature(one: object) -> bool:
    return isinstance(one, list) and bool(one) and all(isinstance(word, str) for word in one)


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
