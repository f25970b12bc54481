"""Suggests the name that was meant where another was written."""

from collections.abc import Sequence
from difflib import SequenceMatcher, get_close_matches

_MEANT = {
    "core.ping": "core.uptime",
    "core.status": "core.runinfo",
    "core.stats": "stats.fetch",
    "dispatcher.show": "dispatcher.list",
    "dispatcher.dump": "dispatcher.list",
    "dlg.end": "dlg.terminate_dlg",
    "htable.list": "htable.listTables",
    "htable.set": "htable.sets",
    "htable.show": "htable.dump",
    "system.help": "system.methodHelp",
    "ul.list": "ul.dump",
    "ul.show": "ul.dump",
}
"""Names that people write and no version has, with what they mean. Those whose letters say it are not here."""
_LONGEST = 64
"""Characters of a name that are looked at; the longest method has 36."""


def suggest(written: str, names: Sequence[str], most: int) -> list[str]:
    """The names that may have been meant: the known mistake's first, then a group or name that was left out, then those
    that look alike.
    """
    written = written[:_LONGEST].lower()
    lower = {name.lower(): name for name in names}
    meant = _MEANT.get(written, "").lower()
    exact = [name for name in (meant, written) if name in lower]
    without_group = [name for name in lower if name.rpartition(".")[2] == written]
    group = [name for name in lower if written and name.startswith(f"{written.rstrip('.')}.")]
    alike = get_close_matches(written, lower, n=most, cutoff=0.75)
    alike.sort(key=lambda name: _likeness(written, name), reverse=True)
    found = dict.fromkeys((*exact, *without_group, *alike, *group))
    return [lower[name] for name in list(found)[:most]]


def _likeness(written: str, name: str) -> tuple[bool, float]:
    """How like a name is: the same group counts most."""
    return written.partition(".")[0] == name.partition(".")[0], SequenceMatcher(None, written, name).ratio()
