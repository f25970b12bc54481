"""What an audit log says of a call, as a line of JSON and as an entry of systemd's journal."""

import time
from collections.abc import Iterator, Sequence
from time import perf_counter_ns
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from jsonrpcs_tx.printable import printable

RESULT: Final = "result"
FAULT: Final = "fault"
REFUSED: Final = "refused"
CANCELLED: Final = "cancelled"
TIMED_OUT: Final = "timed out"
BEGUN: Final = "begun"
NOT_SENT: Final = "not sent"
NO_ANSWER: Final = "no answer"

MODULE: Final = "jsonrpcs_tx.access.auditlog"
"""The field that all entries in the journal have in common: C{journalctl JSONRPCS_MODULE=...}."""

_FIELDS: Final = {"address": "peer", "tls_names": "tls"}
"""Facts that have another name in the log, and so in the journal."""

_SHOWN: Final = ("uid", "gid", "pid", "user", "claimed_user")
_GOOD: Final = (RESULT, BEGUN)
_NOTHING: Final = (None, UNSET, "", ())
_NOTICE, _WARNING = "5", "4"
_encoder = msgspec.json.Encoder(enc_hook=str)
_encode, _encode_lines = _encoder.encode, _encoder.encode_lines


class Entry(msgspec.Struct, omit_defaults=True, gc=False):
    """A call that has ended, was refused, or (L{BEGUN}) is about to be run. Unknown facts are left out.

    @ivar time: when it ended, in UTC: C{2026-02-03T04:05:06.789Z}.
    @ivar outcome: L{RESULT}, L{FAULT}, L{REFUSED}, L{CANCELLED}, L{TIMED_OUT} or L{BEGUN}.
    @ivar code: 200, or that of the fault; 0 with L{BEGUN}.
    @ivar transport: the transport of the call; this and the following are as in L{jsonrpcs_tx.rpc.call.Call}.
    @ivar claimed_user: the name that was given with a wrong password.
    @ivar method: None for a client that was refused before its request was read.
    @ivar params: without secrets, see L{jsonrpcs_tx.access.secrets}.
    @ivar text: of the fault.
    @ivar ms: milliseconds that it took.
    @ivar held_back: refused documents before it that have no line, because there were too many.
    @ivar store_path: the file to which the client asks the reply to be written, if C{store_path} is set.
    @ivar node: the name of the node that the call was for; None: this server itself.
    @ivar node_outcome: what became of the call there: L{RESULT}, L{FAULT}, L{NOT_SENT} (the node has not run it), or
        L{NO_ANSWER} (it may have).
    """

    time: str
    outcome: str
    code: int
    transport: str
    address: str | None = None
    port: int | None = None
    uid: int | None = None
    gid: int | None = None
    pid: int | None = None
    user: str | None = None
    claimed_user: str | None = None
    tls_names: tuple[str, ...] = ()
    method: str | None = None
    params: msgspec.Raw | UnsetType = UNSET
    id: Any = UNSET
    text: str = ""
    ms: float | UnsetType = UNSET
    held_back: int | UnsetType = UNSET
    store_path: str | None = None
    node: str | None = None
    node_outcome: str | None = None


class Note(msgspec.Struct, omit_defaults=True):
    """What an audit log says of itself.

    @ivar note: in words.
    @ivar lost: how many lines could not be written since the last one.
    @ivar held_back: how many refused documents have no line, because there were too many.
    """

    time: str
    note: str
    lost: int | UnsetType = UNSET
    held_back: int | UnsetType = UNSET


class _Clock:
    """Formats the current time, once for each millisecond; those of one second share most of the text.

    @ivar until: when the millisecond that was formatted last ends, by C{perf_counter_ns}.
    """

    def __init__(self) -> None:
        self._from = 0
        self.until: int = 0
        self._second = -1
        self._text = self._whole = ""

    def __call__(self) -> str:
        """The time in UTC, as entries have it."""
        return self.at(perf_counter_ns())

    def at(self, moment: int) -> str:
        """The time in UTC of a moment.

        @param moment: now, or a little ago, by C{perf_counter_ns}.
        """
        if not self._from <= moment < self.until:
            milliseconds, rest = divmod(time.time_ns() - (perf_counter_ns() - moment), 1_000_000)
            seconds, thousandths = divmod(milliseconds, 1000)
            if seconds != self._second:
                self._second, self._whole = seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            self._text = f"{self._whole}.{thousandths:03d}Z"
            self._from = moment - rest
            self.until = self._from + 1_000_000
        return self._text


now: Final = _Clock()


def as_lines(entries: Sequence[Entry | Note]) -> bytes:
    """Lines of JSON, in which everything that is not printable is escaped."""
    written = _encode_lines(entries)  # which escapes control characters
    if written.isascii() and 0x7F not in written:
        return written
    text = written.decode()
    return "".join(one if one.isprintable() or one == "\n" else _escaped(one) for one in text).encode()


def fields(entry: Entry | Note) -> dict[str, str | bytes]:
    """Fields for the journal: C{MESSAGE} for people, and C{JSONRPCS_...} for each fact, as the log has them too."""
    good = isinstance(entry, Entry) and entry.outcome in _GOOD
    return {
        "MESSAGE": _message(entry) if isinstance(entry, Entry) else entry.note,
        "PRIORITY": _NOTICE if good else _WARNING,
        "SYSLOG_IDENTIFIER": "jsonrpcs",
        "JSONRPCS_MODULE": MODULE,
        **dict(_facts(entry)),
    }


def _message(entry: Entry) -> str:
    who = [entry.transport, *([] if entry.address is None else [entry.address])]
    who += [f"{name}={value}" for name in _SHOWN if (value := getattr(entry, name)) is not None]
    how = entry.outcome if entry.outcome in _GOOD else f"{entry.outcome} {entry.code} {entry.text}"
    where = "" if entry.node is None else f" on {entry.node}"
    return printable(f"{' '.join(who)}: {entry.method or 'no request'}{where}: {how}")


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


def _facts(entry: Entry | Note) -> Iterator[tuple[str, str | bytes]]:
    for name, value in msgspec.structs.asdict(entry).items():
        field = f"JSONRPCS_{_FIELDS.get(name, name).upper()}"
        if isinstance(value, msgspec.Raw):
            yield field, bytes(value)
        elif value not in _NOTHING:
            yield field, value if isinstance(value, str) else " ".join(value) if name == "tls_names" else _encode(value)
