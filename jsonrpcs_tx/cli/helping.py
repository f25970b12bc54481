"""Shows what a method or a sub-command does, and which parameters it takes."""

import sys

from jsonrpcs_tx.catalogue import CHANGE, DANGER, READ, find
from jsonrpcs_tx.cli import usage
from jsonrpcs_tx.cli.calling import Caller
from jsonrpcs_tx.cli.descriptions import find as find_subcommand
from jsonrpcs_tx.cli.exits import DONE, CallError, NothingFound
from jsonrpcs_tx.cli.terminal import complain
from jsonrpcs_tx.cli.where import server
from jsonrpcs_tx.printable import printable
from jsonrpcs_tx.rpc.faults import Fault

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from jsonrpcs_tx.catalogue import Parameter
    from jsonrpcs_tx.cli.parser import Arguments

_EFFECTS = {
    READ: "only reads",
    CHANGE: "changes something",
    DANGER: "can end calls, connections or processes, or overwrite a file",
}

_TYPES = {
    "int": "a whole number",
    "uint": "a whole number, at least 0",
    "float": "a number",
    "str": "text",
    "any": "text",
}
"""The types of the catalogue in words."""


def run(arguments: "Arguments") -> int:
    """Print the help of a method or a sub-command; without a name, of the program."""
    if not arguments.words:
        sys.stdout.write(usage.text(None))
        return DONE
    name = arguments.words[0]
    subcommand = find_subcommand(name)
    if subcommand is not None:
        sys.stdout.write(usage.text(subcommand))
        return DONE
    lines = _of_entry(name)
    try:
        lines += _of_server(name, arguments)
    except (CallError, NothingFound) as error:
        if not lines:
            raise
        complain(error)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return DONE


def _of_entry(name: str) -> list[str]:
    """The catalogue's help for a method; empty if the catalogue does not have it."""
    entry = find(name)
    if entry is None:
        return []
    lines = [entry.usage, f"  {entry.help}"]
    lines += [f"  {parameter}: {_described(parameter)}" for parameter in entry.parameters]
    lines += [f"  It {_EFFECTS[entry.effect]}.", f"  Kamailio has it in {' and '.join(entry.modules)}."]
    return lines


def _described(parameter: "Parameter") -> str:
    words = [_TYPES.get(parameter.type, "a number or text")]
    if parameter.values:
        words.append(f"such as {', '.join(parameter.values)}")
    if parameter.repeated:
        words.append("any number of times")
    return ", ".join(words)


def _of_server(name: str, arguments: "Arguments") -> list[str]:
    """The server's own help for a method.

    @raise CallError: it has no such method, or does not answer.
    @raise NothingFound: there is no server.
    """
    meant = server(arguments)
    with Caller(meant) as caller:
        try:
            text = caller.call_any("system.methodHelp", [f"s:{name}"])
        except CallError as error:
            if isinstance(error.error, Fault):
                message = f"{meant.name}: {name}: the server has no such method{caller.suggestion(name)}"
                raise CallError(error.error, message) from None
            raise
        signatures = caller.signatures(name)
        takes_some = any(len(signature) > 1 for signature in signatures)
        described = caller.description(name) if takes_some and find(name) is None else {}
    lines = [f"{meant.name} says:", *(f"  {printable(line)}" for line in str(text).split("\n"))]
    parameters = described.get("params")
    if isinstance(parameters, list):
        lines.append(f"  {printable(' '.join((name, *map(_named, parameters))))}")
    for signature in signatures:
        result, *types = map(printable, signature)
        lines.append(f"  ({', '.join(types)}) gives {result}")
    return lines


def _named(parameter: object) -> str:
    """A parameter of OpenRPC by its name, as those of the catalogue are written."""
    if not isinstance(parameter, dict):
        return "?"
    name = f"{parameter.get('name')}{'...' if parameter.get('x-variadic') else ''}"
    return name if parameter.get("required") else f"[{name}]"
