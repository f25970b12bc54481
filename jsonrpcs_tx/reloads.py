"""What a running server reads again, or opens again, when it is told to: each by its name, with what came of it."""

from collections.abc import Callable

from jsonrpcs_tx.errors import JsonRpcsError, StartError
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)


class Reloads:
    """What is done again at a signal, in the order in which it was added.

    @param done: what is then said of each, such as C{reloaded}.
    """

    def __init__(self, done: str = "reloaded") -> None:
        self._done = done
        self._functions: dict[str, Callable[[], str]] = {}

    def add(self, name: str, function: Callable[[], str]) -> None:
        """Add something, in the place of what had its name.

        @param name: what it is, in the plural, as the log gives it: C{rules}.
        @param function: does it, and returns what came of it: C{"5 of them"}. It raises L{JsonRpcsError} or C{OSError}
            where that cannot be used, and then leaves what there was, unless the C{consequence} of a L{StartError} says
            otherwise.
        """
        self._functions[name] = function

    def run(self) -> bool:
        """Do it all, and log for each what came of it.

        @return: whether all of it went well; one that fails does not keep the others from being done.
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
