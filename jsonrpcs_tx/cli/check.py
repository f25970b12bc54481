"""Calls a method, and prints in one line whether all is well: for monitoring, keepalived and containers."""

import sys
from time import monotonic

from jsonrpcs_tx.cli import where
from jsonrpcs_tx.cli.calling import Caller, NodesFailed, given_params
from jsonrpcs_tx.cli.conditions import Condition
from jsonrpcs_tx.cli.exits import CallError
from jsonrpcs_tx.client.documents import write
from jsonrpcs_tx.client.errors import BadRequest, Refused
from jsonrpcs_tx.errors import JsonRpcsError
from jsonrpcs_tx.printable import printable

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from jsonrpcs_tx.cli.parser import Arguments

OK, WARNING, CRITICAL, UNKNOWN = range(4)
"""The exit codes of Nagios."""

_NAMES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_LONGEST = 120
"""Characters of the longest result in the line."""


def run(arguments: "Arguments") -> int:
    """Print the line.

    @return: the code of Nagios.
    """
    method, *words = arguments.words
    try:
        expected = [Condition(text) for text in arguments.expect]
        wished = [Condition(text) for text in arguments.warn]
        params = given_params(arguments)
        server = where.server(arguments)
        started = monotonic()
        with Caller(server) as caller:
            result = caller.call(method, words, params)
        seconds = monotonic() - started
    except JsonRpcsError as error:
        return _tell(_state(error), str(error), [])
    measured = [found for one in (*expected, *wished) if (found := one.measured(result)) is not None]
    data = [f"time={seconds:.4f}s", *(f"'{_label(path)}'={write(value)}" for path, value in dict(measured).items())]
    for state, conditions in ((CRITICAL, expected), (WARNING, wished)):
        failures = [failure for one in conditions if (failure := one.failure(result)) is not None]
        if failures:
            return _tell(state, f"{server.name}: {method}: {'; '.join(failures)}", data)
    return _tell(OK, f"{server.name}: {method}: {_short(result)}", data)


def _state(error: JsonRpcsError) -> int:
    """What an error means: critical, unless the call or its caller is at fault, or some nodes have a result."""
    if isinstance(error, NodesFailed) and error.some:
        return WARNING
    if isinstance(error, CallError) and not isinstance(error.error, BadRequest | Refused):
        return CRITICAL
    return UNKNOWN


def _tell(state: int, text: str, data: list[str]) -> int:
    """Print a line with measured data, which a bar separates from the text."""
    shown = printable(text).replace("|", "/")
    sys.stdout.write(f"{_NAMES[state]} - {shown}{' | ' if data else ''}{' '.join(data)}\n")
    return state


def _label(path: str) -> str:
    """A path as the name of measured data, which must not have a quote or an equals sign."""
    return printable(path).replace("'", "").replace("=", "")


def _short(result: object) -> str:
    text = result if isinstance(result, str) else write(result)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
