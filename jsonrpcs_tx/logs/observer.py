"""The observer that writes the log: all events, by the levels and within the limits of L{jsonrpcs_tx.log}."""

from collections.abc import Callable
from threading import RLock
from typing import Any

import attrs
from twisted.logger import ILogObserver, LogEvent, LogLevel
from zope.interface import implementer

from jsonrpcs_tx import log
from jsonrpcs_tx.logs.entries import Entry, entry_of, level_of

_OUTPUT = ("stdout", "stderr")
"""The namespaces of what the program prints, line by line; these lines are not held back."""


@implementer(ILogObserver)
class Observer:
    """Writes entries. Entries that cannot be written, because the disk is full for example, are counted; when there is
    room again, the log says how many are missing. Nothing is raised.

    @param write: writes an entry, or raises OSError.
    """

    def __init__(self, write: Callable[[Entry], object]) -> None:
        self._write = write
        self._lock = RLock()  # threads log as well, and so may garbage collection while a line is written
        self._missing = 0
        self._why = ""

    def __call__(self, event: LogEvent) -> None:
        """Write an event, unless its level is not logged, or it is one of too many."""
        of_this_package = "log_fields" in event  # if so, its level was checked before
        if not (of_this_package or log.is_logged(level_of(event))):
            return
        entry = entry_of(event)
        if entry is None:
            return
        if not of_this_package and level_of(event) >= LogLevel.warn and entry.module not in _OUTPUT:
            held_back = log.throttle.take((entry.module, event.get("log_format")))
            if held_back is None:
                return
            if held_back:
                entry = attrs.evolve(entry, message=f"{entry.message} (and {held_back:,} more)")
        with self._lock:
            try:
                if self._missing:
                    self._tell(entry)
                self._write(entry)
            except (OSError, ValueError) as error:
                self._missing += 1
                self._why = getattr(error, "strerror", None) or str(error)
                log.count_lost()

    def _tell(self, entry: Entry) -> None:
        """Say how many entries are missing before one that can be written."""
        missing = self._missing
        fields: dict[str, Any] = {"lost": missing, "reason": self._why}
        words = f"{missing:,} lines of the log are lost here: {self._why}"
        self._write(Entry(entry.seconds, LogLevel.error, __name__, words, fields))
        self._missing = 0
