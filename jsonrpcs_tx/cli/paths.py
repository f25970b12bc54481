"""Paths to values in results: C{RECORDS.*.SET.ID}. No I/O."""

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = "*"
"""The part of a path that stands for all values of an object or a list."""


def plain_values(value: object, path: str = "") -> "Iterator[tuple[str, object]]":
    """The plain values in a result, each with its path. Empty lists and objects are values as well."""
    if value and isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from plain_values(item, f"{path}.{name}" if path else str(name))
    else:
        yield path, value


def values_at(value: object, path: str) -> list[object]:
    """The values that a path leads to: several if the path contains L{ALL}, and none if it leads nowhere.

    @param path: names, and positions in lists, separated by dots. A name may contain dots: the longest name that exists
        is used.
    """
    if not path:
        return [value]
    part = _longest(value, path) if isinstance(value, dict) else path.partition(".")[0]
    rest = path[len(part) + 1 :]
    return [found for item in _items(value, part) for found in values_at(item, rest)]


def _longest(value: dict[str, object], path: str) -> str:
    """The longest prefix of a path that is a name in an object, or its first part."""
    end = len(path)
    while end > 0 and path[:end] not in value:
        end = path.rfind(".", 0, end)
    return path[:end] if end > 0 else path.partition(".")[0]


def _items(value: object, part: str) -> list[object]:
    if isinstance(value, dict):
        if part in value:
            return [value[part]]
        return list(value.values()) if part == ALL else []
    if isinstance(value, list):
        if part == ALL:
            return value
        return [value[int(part)]] if part.isdecimal() and len(part) < 10 and int(part) < len(value) else []
    return []
