"""How a server lists the values of parameters: its tables, sets, groups and so on. The catalogue names these sources.
No I/O.
"""

from collections.abc import Callable, Iterator

from jsonrpcs_tx.catalogue import Entry
from jsonrpcs_tx.cli.paths import values_at


class Source:
    """A source of values for a parameter.

    @ivar method: the command that lists them.
    @ivar params: the parameters of the command.
    @ivar within: the source of an earlier parameter, whose value limits the values; empty: nothing limits them.
    @ivar read: takes the result, and the value of C{within}, empty if there is none; returns the values.
    @ivar asks_within: whether the value of C{within} is a required parameter of the command.
    """

    __slots__ = ("asks_within", "method", "params", "read", "within")

    def __init__(
        self,
        method: str,
        read: "Callable[[object, str], list[object]]",
        params: tuple[str, ...] = (),
        within: str = "",
        asks_within: bool = False,
    ) -> None:
        self.method = method
        self.params = params
        self.within = within
        self.read = read
        self.asks_within = asks_within


def listing(name: str, before: dict[str, str]) -> "tuple[str, tuple[str, ...], Callable[[object], list[str]]] | None":
    """How to list the values of a source.

    @param before: the earlier parameters that have a source, by the name of the source.
    @return: the command, its parameters, and a function that reads the result; None if no command lists them.
    """
    source = SOURCES.get(name)
    if source is None:
        return None
    within = before.get(source.within, "")
    if source.asks_within and not within:
        return None
    params = (within,) if source.asks_within else source.params
    return source.method, params, lambda result: _texts(source.read(result, within))


def sources_before(entry: Entry, words: list[str]) -> dict[str, str]:
    """The parameters of a command that have a source, by the name of the source."""
    pairs = ((entry.parameter(place), word) for place, word in enumerate(words))
    return {parameter.source: word for parameter, word in pairs if parameter is not None and parameter.source}


def _texts(values: list[object]) -> list[str]:
    """Values as words of a command line, each once."""
    return list(dict.fromkeys(str(value) for value in values if isinstance(value, str | int)))


def _items(result: object, within: str) -> list[object]:
    return result if isinstance(result, list) else []


def _names(result: object, within: str) -> list[object]:
    return values_at(result, "*.name")


def _keys(result: object, within: str) -> list[object]:
    return ["all", *result] if isinstance(result, dict) else []


def _sets(result: object, within: str) -> list[object]:
    return values_at(result, "RECORDS.*.SET.ID")


def _destinations(result: object, within: str) -> list[object]:
    found: list[object] = []
    for one in values_at(result, "RECORDS.*.SET"):
        if not within or values_at(one, "ID") == [_number(within)]:
            found += values_at(one, "TARGETS.*.DEST.URI")
    return found


def _number(word: str) -> int | None:
    return int(word) if word.isascii() and word.isdigit() and len(word) < 20 else None


def _groups(result: object, within: str) -> list[object]:
    return [group for group, _ in _pairs(result)]


def _variables(result: object, within: str) -> list[object]:
    return [name for group, name in _pairs(result) if within in ("", group)]


def _pairs(result: object) -> Iterator[tuple[str, str]]:
    """The lines C{GROUP: NAME} of C{cfg.list}."""
    for line in _items(result, ""):
        group, colon, name = str(line).partition(": ")
        if colon:
            yield group, name


def _shared(result: object, within: str) -> list[object]:
    """The names anywhere in the result of C{pv.shvGet}."""
    if isinstance(result, list):
        return [name for item in result for name in _shared(item, within)]
    if isinstance(result, dict):
        own = [result["name"]] if "name" in result else []
        return own + [name for item in result.values() for name in _shared(item, within)]
    return []


SOURCES = {
    "method": Source("system.listMethods", _items),
    "module": Source("core.modules", _items),
    "table": Source("htable.listTables", _names),
    "set": Source("dispatcher.list", _sets),
    "destination": Source("dispatcher.list", _destinations, within="set"),
    "cfg-group": Source("cfg.list", _groups),
    "cfg-variable": Source("cfg.list", _variables, within="cfg-group"),
    "cnt-group": Source("cnt.grps_list", _items),
    "cnt-variable": Source("cnt.var_list", _items, within="cnt-group", asks_within=True),
    "statistic": Source("stats.fetch", _keys, ("all",)),
    "shv": Source("pv.shvGet", _shared),
}
"""The sources by their names in the catalogue."""
