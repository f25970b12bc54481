"""Formats results for people: lists of records with the same names as tables, all else as indented lines. No I/O."""

from jsonrpcs_tx.cli.terminal import BOLD, END, NAME
from jsonrpcs_tx.client.documents import write
from jsonrpcs_tx.printable import printable

INDENT = "  "

MOST_INDENTED = 60
"""Most blanks before a line; deeper levels are not indented further."""

WIDEST = 200
"""Characters of the widest column. Longer cells stick out: one long cell must not widen all others."""


class People:
    """Writes results.

    @param colours: whether titles and names have colours.
    """

    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def text(self, result: object) -> str:
        """A result as lines, with the end of the last one."""
        if isinstance(result, str):
            return "".join(f"{printable(line)}\n" for line in result.split("\n")) if result else "\n"
        lines: list[str] = []
        self._add(lines, "", result)
        return "".join(f"{line}\n" for line in lines)

    def _add(self, lines: list[str], indent: str, value: object) -> None:
        """Add the lines of a value to others."""
        if isinstance(value, dict) and value:
            for name, item in value.items():
                self._add_named(lines, indent, name, item)
        elif isinstance(value, list) and value:
            self._add_list(lines, indent, value)
        else:
            lines.append(f"{indent}{_scalar(value)}")

    def _add_named(self, lines: list[str], indent: str, name: str, item: object) -> None:
        title = f"{indent}{self._painted(NAME, printable(name))}:"
        if item and isinstance(item, dict | list):
            lines.append(title)
            self._add(lines, _deeper(indent), item)
        else:
            lines.append(f"{title} {_scalar(item)}")

    def _add_list(self, lines: list[str], indent: str, items: list[object]) -> None:
        name, records = _unwrapped(items)
        columns = _columns(records)
        if columns:
            if name is not None:
                lines.append(f"{indent}{self._painted(NAME, printable(name))}:")
                indent = _deeper(indent)
            self._add_table(lines, indent, columns, records)
            return
        for item in items:
            if item and isinstance(item, dict | list):
                at, deeper = len(lines), _deeper(indent)
                self._add(lines, deeper, item)
                lines[at] = f"{indent}- {lines[at][len(deeper) :]}"
            else:
                lines.append(f"{indent}{_scalar(item)}")

    def _add_table(self, lines: list[str], indent: str, columns: list[str], records: list[dict[str, object]]) -> None:
        rows = [[_scalar(record[name]) for name in columns] for record in records]
        titles = [printable(name) for name in columns]
        widths = [min(max(map(len, cells)), WIDEST) for cells in zip(titles, *rows, strict=True)]
        numeric = [all(_is_number(record[name]) for record in records) for name in columns]
        lines.append(indent + self._painted(BOLD, _row(titles, widths, numeric)))
        lines += [indent + _row(row, widths, numeric) for row in rows]

    def _painted(self, colour: str, text: str) -> str:
        return f"{colour}{text}{END}" if self._colours else text


def _deeper(indent: str) -> str:
    return indent if len(indent) >= MOST_INDENTED else indent + INDENT


def _unwrapped(items: list[object]) -> "tuple[str | None, list[dict[str, object]]]":
    """The records in a list: its items, or, as in Kamailio's lists, the only member of each item if all these members
    have the same name.

    @return: the name, or None, and the records; no records if an item is not a record.
    """
    records = [item for item in items if isinstance(item, dict)]
    if len(records) < len(items):
        return None, []
    names = {name for record in records for name in record}
    if len(names) == 1:
        name = next(iter(names))
        inner = [record[name] for record in records if isinstance(record.get(name), dict)]
        if len(inner) == len(items):
            return name, inner
    return None, records


def _columns(records: list[dict[str, object]]) -> list[str]:
    """The names of the columns if the records make a table: all have the same names, and plain values."""
    first = records[0] if records else {}
    if any(record.keys() != first.keys() or not _is_flat(record) for record in records):
        return []
    return list(first)


def _is_flat(record: dict[str, object]) -> bool:
    return not any(isinstance(value, dict | list) and value for value in record.values())


def _row(cells: list[str], widths: list[int], numeric: list[bool]) -> str:
    placed = [
        cell.rjust(width) if is_number else cell.ljust(width)
        for cell, width, is_number in zip(cells, widths, numeric, strict=True)
    ]
    return INDENT.join(placed).rstrip()


def _is_number(value: object) -> bool:
    return not isinstance(value, str | bool | dict | list | None)


def _scalar(value: object) -> str:
    """A plain value: text as it is, anything else as JSON."""
    return printable(value) if isinstance(value, str) else write(value)
