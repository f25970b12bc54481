"""Settings from files: TOML of our own, and the ``modparam`` lines of a kamailio.cfg."""

import re
import tomllib
from typing import Any

from jsonrpcs_tx.config.settings import fields
from jsonrpcs_tx.errors import NotAllowed

_OWN_MODULE = "jsonrpcs"

_COMMENT_OR_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|/\*.*?\*/|//[^\n]*|#(?!!)[^\n]*', re.DOTALL)
_MODPARAM = re.compile(
    r"""\bmodparam\s*\(\s*(?P<q>["'])(?P<modules>[^"'\n]*)(?P=q)\s*,\s*(?P<r>["'])(?P<name>[^"'\n]*)(?P=r)\s*,"""
    r"""\s*(?P<value>"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s()"',]+)\s*\)"""
)
_DIRECTIVE = re.compile(r"\s*[#!]!(?P<word>\w+)(?:\s+(?P<name>[^\s]+)(?:\s+(?P<value>.*?))?)?\s*$")


class ConfigError(NotAllowed):
    """A file of settings cannot be used; C{reason} names the file, the line and what was wrong."""


def read_toml(path: str) -> dict[str, Any]:
    """The values of a TOML file, by the names of settings.

    @raise ConfigError: it cannot be read, or is not TOML.
    """
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"config: {path}: {error.strerror}", "a readable TOML file") from None
    except (ValueError, RecursionError) as error:  # not only TOMLDecodeError: too many digits, too deep
        raise ConfigError(f"config: {path}: {error}", "TOML, name = value") from None


def read_modparams(path: str) -> dict[str, Any]:
    """The values of the lines C{modparam("jsonrpcs", "name", value)} of a kamailio.cfg, by the names of settings.

    Parameters of the modules C{dispatcher} and C{htable} are read as well if they are settings here. Everything else in
    the file is skipped. Kamailio's C{#!ifdef}, C{#!ifndef}, C{#!else}, C{#!endif} and
    C{#!define} are followed.

    @raise ConfigError: the file cannot be read, a line for jsonrpcs names an unknown parameter, or a value is
        missing.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError as error:
        raise ConfigError(f"modparams: {path}: {error.strerror}", "a readable kamailio.cfg") from None
    known = {(field.module, field.name): field for field in fields()}
    values: dict[str, Any] = {}
    lines, defines = _active_lines(_without_comments(text))
    active = "\n".join(lines)
    for match in _MODPARAM.finditer(active):
        modules, name = match["modules"].split("|"), match["name"]
        place = f"modparams: {path}: line {active.count(chr(10), 0, match.start()) + 1}: {name}"
        field = next((known[module, name] for module in modules if (module, name) in known), None)
        if field is None:
            if _OWN_MODULE not in modules:
                continue
            allowed = ", ".join(name for module, name in known if module == _OWN_MODULE)
            raise ConfigError(f"{place}: no such setting", allowed)
        value = _value(match["value"], defines, place)
        if field.kind.several:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    return values


def _without_comments(text: str) -> str:
    """Blank out comments, and keep the line numbers."""

    def blank(match: re.Match[str]) -> str:
        found = match[0]
        return found if found[0] in "\"'" else re.sub(r"[^\n]", " ", found)

    return _COMMENT_OR_STRING.sub(blank, text)


def _active_lines(text: str) -> tuple[list[str], dict[str, str]]:
    """The lines that the preprocessor keeps, with empty ones for the others, and what was defined."""
    defines: dict[str, str] = {}
    conditions: list[bool] = []
    active: list[str] = []
    for line in text.split("\n"):
        directive = _DIRECTIVE.match(line)
        if directive is None:
            active.append(line if all(conditions) else "")
            continue
        active.append("")
        word, name = directive["word"], directive["name"] or ""
        if word in ("ifdef", "ifndef"):
            conditions.append((name in defines) == (word == "ifdef"))
        elif word == "else" and conditions:
            conditions[-1] = not conditions[-1]
        elif word == "endif" and conditions:
            conditions.pop()
        elif not all(conditions):
            continue
        elif word in ("define", "def", "redefine") or (word == "trydef" and name not in defines):
            defines[name] = (directive["value"] or "").strip()
    return active, defines


def _value(literal: str, defines: dict[str, str], place: str) -> str | int:
    literal = defines.get(literal, literal)
    if literal[:1] == '"':
        return re.sub(r"\\(.)", r"\1", literal[1:-1])
    if literal[:1] == "'":
        return literal[1:-1]
    if re.fullmatch(r"-?0[0-7]+", literal):
        return int(literal, 8)
    try:
        return int(literal, 0)
    except ValueError:
        raise ConfigError(f"{place}: {literal} has no value", "a number, a string or a define") from None
