"""Where the values of settings come from: which source takes precedence, and where a mistake was made."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, Final

import attrs

from jsonrpcs_tx.config.settings import Settings, fields, from_values, listening
from jsonrpcs_tx.errors import JsonRpcsError, SettingError, StartError
from jsonrpcs_tx.problems import Problems


@attrs.frozen
class Source:
    """Where a value was given.

    @ivar how: C{option}, C{config} or C{modparam}.
    @ivar file: the path of the file; empty for an option.
    @ivar line: the number of the line in the file.
    """

    how: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else self.how


OPTION: Final = Source("option")


@attrs.frozen
class Given:
    """The value of a setting as it was given.

    @ivar value: what was given; a list, if the setting may be given more than once.
    @ivar sources: where; one for each value of a list, or one for all.
    """

    value: Any
    sources: tuple[Source, ...]

    def and_also(self, value: object, source: Source) -> "Given":
        """The same with one more value."""
        return Given([*self.value, value], (*self.sources, source))

    def source_of(self, value: object) -> Source:
        """Where a value was given.

        @param value: one of a list, as it was given, or as it was converted if it is a path.
        """
        if isinstance(self.value, list) and len(self.value) == len(self.sources):
            for same in (lambda one: one is value, lambda one: one == value, lambda one: _leads_to(one, value)):
                for one, source in zip(self.value, self.sources, strict=True):
                    if same(one):
                        return source
        return self.sources[0]


def _leads_to(path: object, absolute: object) -> bool:
    return bool(path) and str(absolute).endswith(f"{os.sep}{str(path).removeprefix('./')}")


def add_value(values: dict[str, Given], name: str, value: object, source: Source, several: bool) -> None:
    """Add one more value that has a line or an option of its own.

    @param values: what was given before; this is changed.
    @param several: whether the setting may be given more than once; if not, the last value counts.
    """
    if not several:
        values[name] = Given(value, (source,))
    elif name in values:
        values[name] = values[name].and_also(value, source)
    else:
        values[name] = Given([value], (source,))


class Sources:
    """The values of settings by name, as they were given.

    @param layers: what was given in each of them, by name; a later one takes precedence.
    """

    def __init__(self, *layers: Mapping[str, Given]) -> None:
        self.given: dict[str, Given] = {}
        for layer in layers:
            self.given |= layer

    def only(self, names: Collection[str]) -> "Sources":
        """What was given for some settings."""
        return Sources({name: given for name, given in self.given.items() if name in names})

    def settings(self, problems: Problems, defaults: Mapping[str, Any]) -> Settings:
        """The settings. A value that is not allowed is noted, and replaced by its default or a stand-in.

        @param defaults: the values of settings that are not given, where they differ from those of L{Settings}.
        @raise SettingError: a name is unknown, or a value is not allowed.
        """
        values = {**defaults, **{name: given.value for name, given in self.given.items()}}
        while True:
            try:
                return from_values(values)
            except SettingError as error:
                problems.note(error)
                values = _without(values, error)

    def explain(self, error: JsonRpcsError) -> str:
        """What is wrong, with its source: the file and line, or where else the value was given."""
        if error.file is not None:
            line = "" if error.line is None else f":{error.line}"
            return f"{error.file}{line}: {error.explanation}"
        source = self._source_of(error)
        return str(error) if source is None or not source.file else f"{source}: {error}"

    def in_order(self, errors: Iterable[JsonRpcsError]) -> list[JsonRpcsError]:
        """Errors by their lines, file after file; the files in the order in which their first errors were found."""
        files: dict[str, list[tuple[int, JsonRpcsError]]] = {}
        for error in errors:
            source = self._source_of(error) or OPTION
            file, line = (source.file, source.line) if error.file is None else (error.file, error.line or 0)
            files.setdefault(file, []).append((line, error))
        return [error for found in files.values() for _, error in sorted(found, key=itemgetter(0))]

    def _source_of(self, error: JsonRpcsError) -> Source | None:
        names: Iterator[str] = iter(())
        if isinstance(error, SettingError):
            # A missing address is reported where its transport was asked for.
            names = iter((error.name, "transport") if error.name in listening() else (error.name,))
        elif isinstance(error, StartError):
            names = iter(error.setting.split(", "))
        given = next((self.given[name] for name in names if name in self.given), None)
        return None if given is None else given.source_of(getattr(error, "value", None))


_STAND_INS: Final = {"dgram_socket": ("udp:127.0.0.1:0",), "tcp_socket": "tcp:127.0.0.1:0"}
"""Stand-ins for addresses that cannot be used, so that their transports can still be checked."""


_SEVERAL: Final = frozenset(field.name for field in fields() if field.kind.several)
"""Settings that may be given more than once."""


def _without(values: Mapping[str, Any], error: SettingError) -> dict[str, Any]:
    """Values without the one that is not allowed, or with one that is missing."""
    name = error.name
    rest = {other: value for other, value in values.items() if other != name}
    value = values.get(name)
    if isinstance(value, list) and name in _SEVERAL and (others := [one for one in value if one is not error.value]):
        rest[name] = others if len(others) < len(value) else []
    elif name in _STAND_INS:
        rest[name] = _STAND_INS[name]
    elif name not in values:
        raise error
    return rest
