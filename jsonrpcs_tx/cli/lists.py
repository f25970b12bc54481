"""What can be written for a server: its methods, and the values that it can list, asked within a moment."""

from jsonrpcs_tx import catalogue
from jsonrpcs_tx.cli.listcache import ListCache
from jsonrpcs_tx.cli.nodes import any_result
from jsonrpcs_tx.cli.sources import listing, sources_before
from jsonrpcs_tx.client.errors import ClientError
from jsonrpcs_tx.rpc.faults import Fault

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable

    from jsonrpcs_tx.cli.where import Server

SECONDS = 0.7
"""How long a server may take to list something. Whoever completes a word waits for it, for a second in all."""

_METHOD = "method"


class Lists:
    """Asks a server what it has, or remembers what it said.

    @param find: finds the server when it is first needed; None: there is none, or it must not be asked.
    """

    def __init__(self, find: "Callable[[], Server | None]") -> None:
        self._find = find

    def methods(self) -> list[str]:
        """The methods of the server; those of the catalogue if it does not tell."""
        return self._values(_METHOD, {}) or list(catalogue.methods())

    def parameter(self, method: str, words: list[str]) -> list[str]:
        """The values that the next parameter of a method may have; nothing if nobody knows.

        @param words: the parameters before.
        """
        entry = catalogue.find(method)
        parameter = entry.parameter(len(words)) if entry is not None else None
        if entry is None or parameter is None:
            return []
        if parameter.source == _METHOD:
            return self.methods()
        if parameter.source:
            return self._values(parameter.source, sources_before(entry, words))
        return list(parameter.values)

    def _values(self, source: str, before: dict[str, str]) -> list[str]:
        found = listing(source, before)
        server = self._find() if found is not None else None
        if found is None or server is None:
            return []
        method, params, read = found
        cache = ListCache(server.target)
        question = (method, *params, source, *sorted(before.values()))
        kept = cache.get(question)
        if kept is None:
            kept = _asked(server, method, params, read)
            cache.put(question, kept)
        return kept


def _asked(server: "Server", method: str, params: tuple[str, ...], read: "Callable[[object], list[str]]") -> list[str]:
    """What a server lists; nothing if it does not."""
    try:
        with server.client() as client:
            result = client.call(method, *params, timeout=SECONDS)
    except (Fault, ClientError):
        return []
    return [value for value in read(any_result(result)) if _is_word(value)]


def _is_word(value: str) -> bool:
    """Whether a value may be offered: it is shown on terminals, and written to command lines."""
    return bool(value) and len(value) <= 256 and value.isprintable()
