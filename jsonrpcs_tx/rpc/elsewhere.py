"""Calls of commands that Kamailio has and this server does not: logs once for each which module has it."""

from jsonrpcs_tx import catalogue
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.origin import Origin

_log = make_logger(__name__)


class Elsewhere:
    """Logs the commands of Kamailio's other modules that clients ask for, each once."""

    def __init__(self) -> None:
        self._left: set[str] | None = None  # made when it is first needed

    def tell(self, method: str, origin: Origin) -> None:
        """Log that this server lacks a command, once, if Kamailio has one of that name."""
        if self._left is None:
            self._left = set(catalogue.methods())
        if method not in self._left:
            return
        self._left.remove(method)
        entry = catalogue.find(method)
        assert entry is not None  # it is one of the methods
        _log.info(
            "{caller} calls {method}, a command of Kamailio's {modules}; only a real Kamailio has it",
            caller=origin.peer().caller,
            method=method,
            modules="core" if entry.modules == ("core",) else "module " + " or ".join(entry.modules),
        )
