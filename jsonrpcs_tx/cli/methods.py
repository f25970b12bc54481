"""Lists the methods of a server."""

import sys
from fnmatch import fnmatchcase

from jsonrpcs_tx.catalogue import find
from jsonrpcs_tx.cli import output
from jsonrpcs_tx.cli.calling import Caller
from jsonrpcs_tx.cli.exits import DONE
from jsonrpcs_tx.cli.where import server

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from jsonrpcs_tx.cli.parser import Arguments


def run(arguments: "Arguments") -> int:
    """Print the names of the methods; for people with what each does, if the catalogue knows."""
    write = output.writer(arguments)
    with Caller(server(arguments), arguments.raw) as caller:
        names = caller.call_any("system.listMethods")
    if arguments.raw:
        output.write_raw(caller.reply)
        return DONE
    is_for_people = not (arguments.json or arguments.yaml or arguments.format)
    if isinstance(names, list):
        names = [name for name in map(str, names) if _matches(name, *arguments.words)]
        if is_for_people:
            names = [described(name) for name in names]
    if names or not is_for_people:
        sys.stdout.write(write(names))
    return DONE


def described(name: str) -> dict[str, str]:
    """A method with what it does."""
    entry = find(name)
    return {"method": name, "what it does": "" if entry is None else entry.help}


def _matches(name: str, pattern: str = "") -> bool:
    name, pattern = name.lower(), pattern.lower()
    return fnmatchcase(name, pattern) if "*" in pattern or "?" in pattern else pattern in name
