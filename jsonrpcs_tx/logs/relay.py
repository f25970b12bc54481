"""Logs in the main process what a worker process logs, with level, module, fields and traceback."""

from typing import Any, Final

import msgspec
from twisted.logger import InvalidLogLevelError, LogLevel

from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.logs.entries import Entry
from jsonrpcs_tx.logvalues import printable_lines

_log = make_logger(__name__)

MAX_LINE: Final = 262_144
"""Bytes of the longest line. A longer one is logged in parts."""


class _Line(msgspec.Struct):
    """An entry on its way."""

    level: str
    module: str
    message: str
    fields: dict[str, Any]
    traceback: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


def pass_on(entry: Entry) -> bytes:
    """The line by which a worker passes on an entry."""
    line = _Line(entry.level.name, entry.module, entry.message, dict(entry.fields), entry.traceback)
    return _encode(line) + b"\n"


class Relay:
    """Logs what a worker writes: entries, and any other line as it is.

    @param number: of the worker.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._begun = b""

    def feed(self, data: bytes) -> None:
        """Take what the worker has written; a line that has not ended is kept."""
        *lines, self._begun = (self._begun + data).split(b"\n")
        if len(self._begun) > MAX_LINE:
            lines.append(self._begun)
            self._begun = b""
        for line in filter(None, lines):
            self._log(line)

    def end(self) -> None:
        """Log what is left when the worker has ended."""
        self.feed(b"\n")

    def _log(self, data: bytes) -> None:
        try:
            line = _decode(data)
            logger, level = make_logger(line.module), LogLevel.levelWithName(line.level)
        except (msgspec.DecodeError, InvalidLogLevelError, ValueError):
            _log.warn("worker {worker}: {line}", worker=self._number, line=data, log_held_back=0)
            return
        traceback = f"\n{printable_lines(line.traceback)}" if line.traceback else ""
        logger.emit(
            level,
            "worker {worker}: {line}{log_traceback}",
            worker=self._number,
            line=line.message,
            log_traceback=traceback,
            log_fields=line.fields,
            log_held_back=0,  # by this process; the worker has its own throttle
        )
