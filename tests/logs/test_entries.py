"""What events say, whoever has logged them: this package, Twisted, programs by either of Twisted's ways."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import fail
from twisted.logger import LogEvent, Logger, LogLevel, globalLogPublisher
from twisted.python import log as legacy
from twisted.python.failure import Failure

from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.logs.entries import Entry, entry_of, level_of
from jsonrpcs_tx.logvalues import MAX_TEXT
from jsonrpcs_tx.rpc.origin import Origin, Peer
from tests.support.logs import observed

_HOSTILE = "\x1b[2J\r\n2026-01-01T00:00:00+0000 [jsonrpcs_tx.service#info] forged \u2028\x85\u202e\udcff"


@pytest.fixture
def events() -> Iterator[list[LogEvent]]:
    """The events that are logged meanwhile."""
    found: list[LogEvent] = []
    with observed(found.append):
        yield found


def entries(events: list[LogEvent]) -> list[Entry]:
    return [entry for event in events if (entry := entry_of(event)) is not None]


def test_own(events: list[LogEvent]) -> None:
    """A line of this package has module, level, message, and its values as fields."""
    make_logger("jsonrpcs_tx.test").warn(
        "{caller}: {command} took {seconds:.1f} s, {nothing}", caller=Caller("udp", "192.0.2.1"), command="a.b",
        seconds=0.25, nothing=None,
    )  # fmt: skip
    (entry,) = entries(events)
    assert (entry.module, entry.level, entry.tag) == ("jsonrpcs_tx.test", LogLevel.warn, "jsonrpcs_tx.test#warn")
    assert entry.message == "udp 192.0.2.1: a.b took 0.2 s, None"
    assert entry.fields == {"transport": "udp", "peer": "192.0.2.1", "method": "a.b", "seconds": 0.25, "nothing": None}
    assert entry.seconds == events[0]["log_time"]


def origin(peer: Peer) -> Origin:
    """The origin of documents from a peer."""
    return Origin(peer.caller.transport, find_peer=lambda: peer)


@pytest.mark.parametrize(
    ("peer", "text", "fields"),
    [
        (("192.0.2.1", 5), "192.0.2.1:5", {"peer": "192.0.2.1", "port": 5}),
        (("2001:db8::1", 5, 0, 0), "[2001:db8::1]:5", {"peer": "2001:db8::1", "port": 5}),
        ("/run/client", "/run/client", {"peer": "/run/client"}),
        (b"\0abstract", r"\x00abstract", {"peer": r"\x00abstract"}),
        (None, "a Unix socket without a name", {}),
        ("", "a Unix socket without a name", {}),
        (
            origin(Peer(Caller("https", "192.0.2.1", "ann", ("a.example", "b"), None, None), 99, None)),
            "https 192.0.2.1 user='ann' tls='a.example' tls='b'",
            {"transport": "https", "peer": "192.0.2.1", "port": 99, "user": "ann", "tls": "a.example b"},
        ),
        (
            origin(Peer(Caller("unix", uid=7, gid=8), None, 9)),
            "unix uid=7 gid=8",
            {"transport": "unix", "uid": 7, "gid": 8, "pid": 9},
        ),
    ],
)
def test_peers(events: list[LogEvent], peer: Any, text: str, fields: dict[str, Any]) -> None:
    """Whom a line is about is an address in the usual notation, never a representation of an object; and fields."""
    make_logger("jsonrpcs_tx.test").info("{peer}", peer=peer)
    (entry,) = entries(events)
    assert (entry.message, entry.fields) == (text, fields)


def test_peer_that_cannot_tell(events: list[LogEvent]) -> None:
    """A connection that has ended and does not tell whose it was breaks nothing."""

    class Gone:
        def log_fields(self) -> dict[str, object]:
            raise OSError(9, "Bad file descriptor")

        def __str__(self) -> str:
            raise OSError(9, "Bad file descriptor")

    make_logger("jsonrpcs_tx.test").warn("{caller}: test", caller=Gone())
    assert len(entries(events)) == 1


def test_failure(events: list[LogEvent]) -> None:
    """A failure has its traceback beside the message, and says where it was raised."""
    try:
        raise ValueError(_HOSTILE)
    except ValueError:
        make_logger("jsonrpcs_tx.test").failure("{command} failed", command="a.b")
    (entry,) = entries(events)
    assert (entry.message, entry.level) == ("a.b failed", LogLevel.critical)
    assert entry.traceback.startswith("Traceback (most recent call last):\n")
    assert all(line.isprintable() for line in entry.text.split("\n"))
    assert [line for line in entry.traceback.split("\n") if "forged" in line] == entry.traceback.split("\n")[-1:]
    assert entry.location is not None
    assert entry.location.file == __file__
    assert entry.location.function == "test_failure"


def test_legacy(events: list[LogEvent]) -> None:
    """What twisted.python.log logs has its text, and no fields of Twisted's own making."""
    legacy.msg("hello", _HOSTILE, something=object())
    legacy.msg("who", system="HTTPChannel,1,192.0.2.1")
    try:
        raise ValueError(_HOSTILE)
    except ValueError:
        legacy.err(None, "why")
        legacy.err()
    first, second, third, fourth = entries(events)
    assert (first.module, first.tag, first.level) == ("-", "-", LogLevel.info)
    assert first.message.startswith("hello \\x1b[2J\\r\n2026-01-01")
    assert second.module == "HTTPChannel,1,192.0.2.1"
    assert (third.message, fourth.message) == ("why", "Unhandled Error")
    assert third.traceback.startswith("Traceback")
    assert {third.level, fourth.level} == {LogLevel.critical}
    assert [entry.fields for entry in (first, second, third, fourth)] == [{}] * 4
    assert all(line.isprintable() for entry in (first, third) for line in entry.text.split("\n"))


def test_unhandled_error_in_deferred(events: list[LogEvent]) -> None:
    """An error in a Deferred that nobody handles is one entry, with the error in its message."""
    fail(ValueError(_HOSTILE))
    gc.collect()
    (entry,) = entries(events)
    assert entry.message.startswith("Unhandled error in Deferred: ")
    assert "ValueError: \\x1b[2J" in entry.message
    assert "\n" not in entry.message
    assert entry.traceback
    assert entry.level is LogLevel.critical


def test_foreign_fields(events: list[LogEvent]) -> None:
    """Of a program's own values only texts and numbers are fields, printable and cut; a missing message is no entry."""
    log = Logger(namespace="program.part")
    log.info("{thing} {text}", thing=object(), text=_HOSTILE, data=b"\xff", number=5, flag=True, real=0.5)
    log.info("")
    log.info("{broken.attribute}")
    first, broken = entries(events)
    assert set(first.fields) == {"text", "data", "number", "flag", "real"}
    assert first.fields["data"] == r"\xff"
    assert str(first.fields["text"]).isprintable()
    assert "broken" in broken.message


def test_long_texts(events: list[LogEvent]) -> None:
    """Of a long message or traceback the beginning and the end are logged."""

    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise ValueError("at the bottom")

    Logger(namespace="program").info("{text}", text="a" + "x" * 100_000 + "z")
    try:
        deep(800)
    except ValueError:
        Logger(namespace="program").failure("deep")
    first, second = entries(events)
    assert len(first.message) < MAX_TEXT + 100
    assert (first.message[0], first.message[-1]) == ("a", "z")
    assert "100,002 in all" in first.message
    assert len(second.traceback) < MAX_TEXT + 100
    assert second.traceback.endswith("builtins.ValueError: at the bottom")


def test_exception_that_cannot_be_shown(events: list[LogEvent]) -> None:
    """An exception whose methods raise is logged nevertheless."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

        __repr__ = __str__

    Logger(namespace="program").failure("broken", Failure(Broken()))
    (entry,) = entries(events)
    assert entry.message == "broken"
    assert entry.traceback


@pytest.mark.parametrize(
    ("message", "level"),
    [
        ("JsonRpcSite starting on 8080", LogLevel.debug),
        ("SipProber starting on '/a b'", LogLevel.debug),
        ("(TCP Port 8080 Closed)", LogLevel.debug),
        ("(UNIX Port '/run/h' Closed)", LogLevel.debug),
        ("Starting factory <x.Y object at 0x7f>", LogLevel.debug),
        ("Stopping protocol <x.Y object at 0x7f>", LogLevel.debug),
        ("Received SIGTERM, shutting down.", LogLevel.info),
        ("hello from a program", LogLevel.info),
        ("line one\nJsonRpcSite starting on 8080", LogLevel.info),
    ],
)
def test_details(events: list[LogEvent], message: str, level: Any) -> None:
    """What Twisted says of its ports is of level debug; what programs say is of the level that they give it."""
    legacy.msg(message)
    Logger(namespace="program").info("{message}", message=message)
    assert [level_of(event) for event in events] == [level, LogLevel.info]
    assert entries(events)[0].level is level


def test_stale_pidfile(events: list[LogEvent]) -> None:
    """That a pid file was left behind is a warning."""
    legacy.msg("Removing stale pidfile /run/twistd.pid", isError=True)
    legacy.msg("Something else", isError=True)
    assert [entry.level for entry in entries(events)] == [LogLevel.warn, LogLevel.critical]


def test_events_without_anything() -> None:
    """Events that lack what events have are no entries, or have defaults."""
    assert entry_of({}) is None
    entry = entry_of({"log_format": "x"})
    assert entry is not None
    assert (entry.module, entry.level, entry.message, entry.seconds) == ("-", LogLevel.info, "x", 0.0)


def test_replayed_events_are_events(events: list[LogEvent]) -> None:
    """An event can be read more than once, as it is where two observers have it."""
    make_logger("jsonrpcs_tx.test").failure("{peer}", Failure(ValueError("x")), peer=("192.0.2.1", 5))
    assert entry_of(events[0]) == entry_of(events[0])
    globalLogPublisher(events[0])
    assert entry_of(events[1]) == entry_of(events[0])
