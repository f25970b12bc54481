"""The formats of lines: text, JSON, and what syslog and systemd's journal take."""

import datetime
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from twisted.logger import LogLevel, formatTime

from jsonrpcs_tx.logs.entries import LEVELS, Entry

PRIORITIES: Final[Mapping[Any, int]] = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}
"""The levels as syslog counts them (RFC 5424, section 6.2.1)."""

_DAEMON: Final = 3
"""Syslog's facility of servers."""

MAX_SYSLOG: Final = 8000
"""Bytes of a line for syslog; rsyslog cuts at 8192 by default, with what it adds itself."""

_encode = msgspec.json.Encoder().encode


def text_line(entry: Entry) -> bytes:
    """C{TIME [MODULE#LEVEL] MESSAGE}; the lines of a traceback follow, each after a tab."""
    text = f"{formatTime(entry.seconds)} [{entry.tag}] {entry.text}"
    return text.replace("\n", "\n\t").encode() + b"\n"


def json_line(entry: Entry) -> bytes:
    """An object in a line: C{time} (RFC 3339), C{level}, C{module} and C{message}, the fields, and C{traceback}."""
    time = datetime.datetime.fromtimestamp(entry.seconds, datetime.UTC)
    own: dict[str, Any] = {
        "time": time.isoformat(timespec="milliseconds"),
        "level": LEVELS[entry.level],
        "module": entry.module,
        "message": entry.message,
    }
    if entry.traceback:
        own["traceback"] = entry.traceback
    return _encode(own | {_free(name, own): value for name, value in entry.fields.items()}) + b"\n"


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """A name that is not taken, for a program's field."""
    return name + "_" if name in taken else name


def journal_fields(entry: Entry, identifier: str) -> dict[str, str]:
    """The fields of an entry of systemd's journal (systemd.journal-fields(7)); our own begin with C{JSONRPCS_}.

    @param identifier: of the program.
    """
    fields = {
        f"JSONRPCS_{_journal_name(name)}": str(value) for name, value in entry.fields.items() if value is not None
    }
    fields |= {
        "MESSAGE": entry.text,
        "PRIORITY": str(PRIORITIES[entry.level]),
        "SYSLOG_IDENTIFIER": identifier,
        "JSONRPCS_MODULE": entry.module,
    }
    if entry.location is not None:
        location = entry.location
        fields |= {"CODE_FILE": location.file, "CODE_LINE": str(location.line), "CODE_FUNC": location.function}
    return fields


def _journal_name(name: str) -> str:
    """A name as the journal accepts it; the prefix takes 9 of its 64 characters."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name.upper())[:55]


def syslog_lines(entry: Entry, identifier: str) -> Iterator[bytes]:
    """The datagrams for C{/dev/log}, one for each line of a message or traceback: with priority, time, identifier and
    process, as syslog(3) has them. The time is in English, whatever the locale.

    @param identifier: of the program.
    """
    date = time.asctime(time.localtime(entry.seconds))[4:19]
    head = f"<{_DAEMON * 8 + PRIORITIES[entry.level]}>{date} {identifier}[{os.getpid()}]: "
    for number, line in enumerate(entry.text.split("\n")):
        text = f"{head}[{entry.tag}] {line}" if number == 0 else f"{head}    {line}"
        yield text.encode()[:MAX_SYSLOG]
