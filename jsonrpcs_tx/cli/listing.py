"""Lists the servers that are known, and which of them answer."""

import sys
from time import monotonic

from jsonrpcs_tx.cli import output
from jsonrpcs_tx.cli.calling import Caller
from jsonrpcs_tx.cli.exits import DONE, NOT_REACHABLE, CallError, NothingFound
from jsonrpcs_tx.cli.several import at_once
from jsonrpcs_tx.cli.where import known, servers
from jsonrpcs_tx.client.errors import ClientError, Refused
from jsonrpcs_tx.rpc.faults import Fault

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from jsonrpcs_tx.cli.parser import Arguments
    from jsonrpcs_tx.cli.where import Server

_LONGEST = 100
"""Characters of what a server says that are shown."""


def run(arguments: "Arguments") -> int:
    """Print the servers, each with what it says of its version.

    @return: done, or not reachable if none answers.
    """
    write = output.writer(arguments)
    listed = servers(arguments) if arguments.to else known(arguments)
    if not listed:
        raise NothingFound("there is no profile, and no server was found; say where one is: --to TARGET")
    rows = at_once(_row, listed)
    sys.stdout.write(write(rows))
    return DONE if any(row["answers"] == "yes" for row in rows) else NOT_REACHABLE


def _row(server: "Server") -> dict[str, object]:
    """What is known of a server, and whether it answers."""
    started = monotonic()
    with Caller(server) as caller:
        try:
            says = str(caller.call_any("core.version"))
            answers = "yes"
        except CallError as error:
            says = error.error.reason if isinstance(error.error, ClientError) else str(error.error)
            answers = "yes" if isinstance(error.error, Fault | Refused) else "no"
    milliseconds = round((monotonic() - started) * 1000, 1)
    target = str(server.target)
    return {
        "name": "" if server.name == target else server.name,
        "target": target,
        "known from": server.origin,
        "answers": answers,
        "ms": milliseconds,
        "says": says[:_LONGEST],
    }
