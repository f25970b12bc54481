"""What is known of the commands of Kamailio 6.2: a server cannot describe itself, so this does.

Quick to import and to ask, since a command line that makes one call uses it: the file is read when it is first needed,
and only the lines that are asked for are taken apart.
"""

from functools import cache, lru_cache
from os.path import dirname, join

from jsonrpcs_tx.catalogue.entries import CHANGE, DANGER, EACH, EFFECTS, READ, RUNS, SHARED, Entry, Parameter

__all__ = [
    "CHANGE",
    "DANGER",
    "EACH",
    "EFFECTS",
    "READ",
    "RUNS",
    "SHARED",
    "Entry",
    "Parameter",
    "find",
    "methods",
    "nearest",
]


@cache
def _text() -> str:
    """The file, from the end of its first line on."""
    with open(join(dirname(__file__), "commands.tsv"), encoding="utf-8") as file:
        file.readline()
        return "\n" + file.read()


@lru_cache(1024)  # whoever calls a gateway chooses the names
def find(method: str) -> Entry | None:
    """Look a command up by its exact name.

    @return: what is known of it, or None if Kamailio has no such command.
    """
    start = _text().find(f"\n{method}\t") + 1
    if not start or "\t" in method or "\n" in method:
        return None
    return Entry(_text()[start : _text().index("\n", start)])


@cache
def methods() -> tuple[str, ...]:
    """The names of all commands, sorted."""
    return tuple(line.partition("\t")[0] for line in _text().split("\n")[1:-1])


def nearest(method: str, among: tuple[str, ...] = (), most: int = 3) -> list[str]:
    """The names that somebody who wrote another one may have meant.

    @param among: the names that a server has; all of the catalogue if there are none.
    @param most: how many at most.
    @return: the names, the likeliest first; empty if nothing is near.
    """
    from jsonrpcs_tx.catalogue.suggestions import suggest  # after a mistake only: difflib takes a while to import

    return suggest(method, among or methods(), most)
