"""Lists the methods of a server."""

import sys
from fnmatch import fnmatchcase
from types import MappingProxyType

from jsonrpcs_tx.catalogue import find
from jsonrpcs_tx.cli import output
from jsonrpcs_tx.cli.calling import Caller
from jsonrpcs_tx.cli.exits import DONE, CallError
from jsonrpcs_tx.cli.where import server

DISCOVER = "rpc.discover"
"""The method that describes the methods that its caller may call (OpenRPC)."""

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from typing import Any

    from jsonrpcs_tx.cli.parser import Arguments


def run(arguments: "Arguments") -> int:
    """Print the names of the methods; for people, with what each does if the catalogue or the server knows, and
    whether the caller may call it if some are forbidden and the server says so.
    """
    write = output.writer(arguments)
    with Caller(server(arguments), arguments.raw) as caller:
        names = caller.call_any("system.listMethods")
        if arguments.raw:
            output.write_raw(caller.reply)
            return DONE
        is_for_people = not (arguments.json or arguments.yaml or arguments.format)
        summaries = _summaries(caller, names) if is_for_people and isinstance(names, list) else {}
    if isinstance(names, list):
        told = summaries if summaries and not summaries.keys() >= set(map(str, names)) else None
        names = [name for name in map(str, names) if _matches(name, *arguments.words)]
        if is_for_people:
            names = [described(name, summaries, told) for name in names]
    if names or not is_for_people:
        sys.stdout.write(write(names))
    return DONE


def described(
    name: str, summaries: "Mapping[str, str]" = MappingProxyType({}), allowed: "Container[str] | None" = None
) -> dict[str, str]:
    """A method with what it does.

    @param summaries: what the server's methods do, for those that the catalogue does not have.
    @param allowed: the methods that the caller may call, to be shown as well; None: all, or they are not known.
    """
    entry = find(name)
    does = summaries.get(name, "") if entry is None else entry.help
    if allowed is None:
        return {"method": name, "what it does": does}
    return {"method": name, "allowed": "yes" if name in allowed else "no", "what it does": does}


def _summaries(caller: Caller, names: "list[Any]") -> dict[str, str]:
    """The methods that the caller may call, each with what it does; empty if the server does not say. C{rpc.discover}
    describes only those.
    """
    if DISCOVER not in names:
        return {}
    try:
        document = caller.call_any(DISCOVER)
    except CallError:  # it is forbidden as well, or too large for this transport
        return {}
    methods = document.get("methods") if isinstance(document, dict) else None
    return {
        str(method.get("name")): str(method.get("summary") or "")
        for method in methods or ()
        if isinstance(method, dict)
    }


def _matches(name: str, pattern: str = "") -> bool:
    name, pattern = name.lower(), pattern.lower()
    return fnmatchcase(name, pattern) if "*" in pattern or "?" in pattern else pattern in name
