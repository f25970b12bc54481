"""Settings in TOML: read, with the line of each, and written."""

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any, Final

import attrs

from jsonrpcs_tx.config import kinds
from jsonrpcs_tx.config.settings import Field, Settings, fields, grouped
from jsonrpcs_tx.config.sources import Given, Source, Sources
from jsonrpcs_tx.errors import ConfigError
from jsonrpcs_tx.problems import FIRST, Problems

_TOKEN: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[^\S\n]+"
    r"|[^][{},=\#\"'\s]+"
    r"|.",
    re.DOTALL,
)
"""The parts of a document that is known to be TOML."""

_DECIMAL: Final = re.compile(r"\+?[1-9][0-9_]*")
_AT_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)$")


def read_toml(path: str, problems: Problems = FIRST) -> dict[str, Given] | None:
    """The values of a TOML file, by the names of settings.

    @param problems: takes the errors.
    @return: the values; None: the file cannot be read.
    @raise ConfigError: it cannot be read, it is not TOML, or it has a file mode as a decimal number.
    """
    try:
        with open(path, "rb") as file:
            text = file.read().decode()
        values = tomllib.loads(text)
    except OSError as error:
        problems.note(ConfigError(f"config: {path}: {error.strerror}", "a readable TOML file"))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problems.note(ConfigError("it is not UTF-8", "TOML, name = value", path, line))
    except (ValueError, RecursionError) as error:  # not only TOMLDecodeError: too many digits, too deep
        reason = _AT_LINE.sub("", str(error))
        at_line = _AT_LINE.search(str(error))
        line = int(at_line[1]) if at_line else text.count("\n") + 1
        problems.note(ConfigError(reason, "TOML, name = value", path, line))
    else:
        return _given(values, text, path, problems)
    return None


def _given(values: dict[str, Any], text: str, path: str, problems: Problems) -> dict[str, Given]:
    """The values in a document."""
    modes = {field.name for field in fields() if field.kind is kinds.MODE}
    found: dict[str, Given] = {}
    for one in _assignments(text):
        value = values[one.name]
        if one.name in modes and _DECIMAL.fullmatch(one.literal):
            meant = kinds.octal(value) or 'one in octal, such as 0o660 or "0660"'
            reason = f"{one.name}: {value} is a decimal number, 0o{value:o} in octal"
            problems.note(ConfigError(reason, meant, path, one.line))
        elif one.name not in found:
            found[one.name] = Given(
                value, tuple(Source("config", path, line) for line in one.value_lines or [one.line])
            )
    return found


@attrs.define
class _Assignment:
    """A name at the top level of a document.

    @ivar line: the line of the name.
    @ivar value_lines: the lines in which the values of an array begin.
    @ivar literal: the value as it is written, or its first part.
    """

    name: str
    line: int
    value_lines: list[int] = attrs.Factory(list)
    literal: str = ""


def _assignments(text: str) -> Iterator[_Assignment]:
    """The names at the top level of a document, in order, including tables.

    @param text: it is known to be valid TOML.
    """
    line, in_table = 1, False
    statement: list[tuple[str, int]] = []
    depth = 0
    for match in _TOKEN.finditer(f"{text}\n"):
        token = match[0]
        if token == "\n" and not depth:
            if statement:
                is_table = statement[0][0] == "["
                if is_table or not in_table:
                    yield _read_statement(statement)
                in_table = in_table or is_table
            statement = []
        elif not token.isspace() and token[0] != "#":
            depth += (token in ("[", "{")) - (token in ("]", "}"))
            statement.append((token, line))
        line += token.count("\n")


def _read_statement(tokens: list[tuple[str, int]]) -> _Assignment:
    """The name that a statement is about: one of C{name = value}, or the head of a table.

    @param tokens: its parts, each with its line.
    """
    words = [token for token, _ in tokens]
    is_table = words[0] == "["
    end = words.index("]") if is_table else words.index("=")
    key = "".join(words[:end]).lstrip("[")
    one = _Assignment(next(iter(tomllib.loads(f"{key} = 0"))), tokens[0][1])
    if not is_table:
        one.literal = words[end + 1]
        if one.literal == "[":
            one.value_lines = list(_lines_of_values(tokens[end + 1 :]))
    return one


def _lines_of_values(tokens: list[tuple[str, int]]) -> Iterator[int]:
    """The lines in which the values of an array begin.

    @param tokens: the parts of the array, each with its line.
    """
    depth, before = 0, ""
    for token, line in tokens:
        if depth == 1 and before in ("[", ",") and token != "]":
            yield line
        depth += (token in ("[", "{")) - (token in ("]", "}"))
        before = token if depth == 1 and token in ("[", ",") else ""


def write_value(value: object, kind: kinds.Kind) -> str:
    """A value of a setting in TOML.

    @raise UnicodeEncodeError: it has bytes that are not UTF-8.
    """
    if isinstance(value, tuple | list):
        return f"[{', '.join(write_value(one, kind) for one in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if kind is kinds.MODE:
        return f"0o{value:03o}"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    text.encode()
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def show_settings(settings: Settings, sources: Sources) -> str:
    """The settings in TOML, each with a comment that says where it comes from. Read again, it gives the same settings.

    @raise ConfigError: TOML cannot express a value.
    """
    lines = []
    for group, those in grouped():
        lines += [f"# {group}", *(_show(field, getattr(settings, field.name), sources) for field in those), ""]
    return "\n".join(lines)


def _show(field: Field, value: Any, sources: Sources) -> str:
    value = field.kind.public(value)
    given = sources.given.get(field.name)
    if given is not None:
        origins = list(dict.fromkeys(map(_origin, given.sources)))
    else:
        origins = ["default" if value == field.daemon else "follows from others"]
    try:
        if given is not None and field.kind.several and len(value) == len(given.sources) > 1:
            several = zip(value, given.sources, strict=True)
            values = [f"    {write_value(one, field.kind)},  # {_origin(source)}" for one, source in several]
            return "\n".join([f"{field.name} = [", *values, "]"])
        return f"{field.name} = {write_value(value, field.kind)}  # {', '.join(origins)}"
    except UnicodeEncodeError:
        allowed = "text in UTF-8, which is all that TOML can express"
        raise ConfigError(f"{field.name}: {value!r} cannot be shown", allowed) from None


def _origin(source: Source) -> str:
    """Where a value was given, on one line."""
    shown = f"{source.how} {source}" if source.how == "modparam" else str(source)
    return shown.encode(errors="backslashreplace").decode().translate(_CONTROLS)


_CONTROLS: Final = {number: f"\\x{number:02x}" for number in (*range(32), 127)}
