"""What a running server reads or opens again on request: each item has a name, and its outcome is logged."""

from collections.abc import Callable

from jsonrpcs_tx.errors import JsonRpcsError, StartError
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)


class Reloads:
    """What is done again at a signal, in the order in which it was added.

    @param done: what the log says of each that was done, such as C{reloaded}.
    """

    def __init__(self, done: str = "reloaded") -> None:
        self._done = done
        self._functions: dict[str, Callable[[], str]] = {}

    def add(self, name: str, function: Callable[[], str]) -> None:
        """Add an item; it replaces one of the same name.

        @param name: what it is, in the plural, as the log gives it: C{rules}.
        @param function: does it, and returns the outcome: C{"5 of them"}. If the new contents cannot be used, it raises
            L{JsonRpcsError} or C{OSError} and keeps the former ones, unless the C{consequence} of a L{StartError} says
            otherwise.
        """
        self._functions[name] = function

    def run(self) -> bool:
        """Do everything, and log the outcome of each.

        @return: whether everything succeeded; a failure does not prevent the others.
        """
        well = True
        for name, function in self._functions.items():
            try:
                outcome = function()
            except (JsonRpcsError, OSError) as error:
                well = False
                consequence = error.consequence if isinstance(error, StartError) else "the former ones stay"
                message = "{name} not {done}, {consequence}: {error}"
                _log.error(message, name=name, done=self._done, consequence=consequence, error=error)
            else:
                _log.info("{name} {done}: {outcome}", name=name, done=self._done, outcome=outcome)
        return well
