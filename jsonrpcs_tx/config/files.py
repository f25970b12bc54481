"""Settings from the ``modparam`` lines of a kamailio.cfg."""

import re

from jsonrpcs_tx.config.settings import fields
from jsonrpcs_tx.config.sources import Given, Place, add_value
from jsonrpcs_tx.errors import NotAllowed
from jsonrpcs_tx.problems import FIRST, Problems

_OWN_MODULE = "jsonrpcs"

_COMMENT_OR_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|/\*.*?\*/|//[^\n]*|#(?!!)[^\n]*', re.DOTALL)
_MODPARAM = re.compile(
    r"""\bmodparam\s*\(\s*(?P<q>["'])(?P<modules>[^"'\n]*)(?P=q)\s*,\s*(?P<r>["'])(?P<name>[^"'\n]*)(?P=r)\s*,"""
    r"""\s*(?P<value>"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s()"',]+)\s*\)"""
)
_DIRECTIVE = re.compile(r"\s*[#!]!(?P<word>\w+)(?:\s+(?P<name>[^\s]+)(?:\s+(?P<value>.*?))?)?\s*$")


class ConfigError(NotAllowed):
    """A file of settings cannot be used."""


def read_modparams(path: str, problems: Problems = FIRST) -> dict[str, Given] | None:
    """The values of the lines C{modparam("jsonrpcs", "name", value)} of a kamailio.cfg, by the names of settings.

    Parameters of the modules C{dispatcher} and C{htable} are read as well if they are settings here. Everything else in
    the file is skipped. Kamailio's C{#!ifdef}, C{#!ifndef}, C{#!else}, C{#!endif} and
    C{#!define} are followed.

    @param problems: takes the errors.
    @return: the values, and also those of lines for jsonrpcs that name no parameter of it; None: the file cannot be
        read.
    @raise ConfigError: the file cannot be read, or a value is missing.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError as error:
        problems.note(ConfigError(f"modparams: {path}: {error.strerror}", "a readable kamailio.cfg"))
        return None
    known = {(field.module, field.name): field for field in fields()}
    values: dict[str, Given] = {}
    lines, defines = _active_lines(_without_comments(text))
    active = "\n".join(lines)
    for match in _MODPARAM.finditer(active):
        modules, name = match["modules"].split("|"), match["name"]
        place = Place("modparam", path, active.count("\n", 0, match.start()) + 1)
        field = next((known[module, name] for module in modules if (module, name) in known), None)
        if field is None and _OWN_MODULE not in modules:
            continue
        with problems.noted():
            value = _value(name, match["value"], defines, place)
            add_value(values, name, value, place, field is not None and field.kind.several)
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


def _value(name: str, literal: str, defines: dict[str, str], place: Place) -> str | int:
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
        allowed = "a number, a string or a define"
        raise ConfigError(f"{name}: {literal} has no value", allowed, place.file, place.line) from None
