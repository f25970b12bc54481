"""The audit log: what an entry says, that nobody can forge one, and what becomes of entries that cannot be written."""

import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent

from jsonrpcs_tx.access import auditlog
from jsonrpcs_tx.access.auditentries import Entry, Note, _Clock, as_lines, fields, now
from jsonrpcs_tx.access.auditlog import AuditLog
from jsonrpcs_tx.config.problems import FIRST
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.state.counters import Counters
from tests.support.files import ordinary_user
from tests.support.journal import FakeJournal
from tests.support.logs import observed

FULL = Entry(
    "2026-02-03T04:05:06.789Z",
    "fault",
    500,
    "https",
    "192.0.2.1",
    5060,
    1000,
    100,
    4242,
    "ann",
    "bob",
    ("a.example", "b.example"),
    "shop.sell",
    msgspec.Raw(b'["pear",3]'),
    "id-1",
    "No pears",
    1.5,
    3,
)
BARE = Entry("2026-02-03T04:05:06.789Z", "result", 200, "fifo")


class Served:
    """An audit log that is open.

    @ivar lines: what is in its file.
    """

    def __init__(self, directory: Path, **options: Any) -> None:
        self.path = directory / "audit.log"
        self.counters = Counters()
        self.clock = Clock()
        self.log = AuditLog(str(self.path), False, self.counters, self.clock, **options)

    def start(self) -> AuditLog:
        self.log.startService()
        return self.log

    @property
    def lines(self) -> list[dict[str, Any]]:
        self.clock.advance(0)
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]

    def count(self, name: str) -> int:
        counter = self.counters.get("audit", name)
        assert counter is not None
        return counter.read()


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def entry(method: str = "shop.sell") -> Entry:
    return Entry(now(), "result", 200, "unix", method=method)


def test_line() -> None:
    """A line has what is known, and nothing else."""
    assert json.loads(as_lines([FULL])) == {
        "time": "2026-02-03T04:05:06.789Z",
        "outcome": "fault",
        "code": 500,
        "transport": "https",
        "address": "192.0.2.1",
        "port": 5060,
        "uid": 1000,
        "gid": 100,
        "pid": 4242,
        "user": "ann",
        "claimed_user": "bob",
        "tls_names": ["a.example", "b.example"],
        "method": "shop.sell",
        "params": ["pear", 3],
        "id": "id-1",
        "text": "No pears",
        "ms": 1.5,
        "held_back": 3,
    }
    assert as_lines([BARE]) == b'{"time":"2026-02-03T04:05:06.789Z","outcome":"result","code":200,"transport":"fifo"}\n'


def test_zeros_are_known() -> None:
    """Root is a user, and 0 a code and an id."""
    zeros = Entry("t", "fault", 0, "unix", uid=0, gid=0, pid=0, id=0, ms=0.0)
    assert json.loads(as_lines([zeros])) | {"time": ""} == {
        "time": "",
        "outcome": "fault",
        "code": 0,
        "transport": "unix",
        "uid": 0,
        "gid": 0,
        "pid": 0,
        "id": 0,
        "ms": 0.0,
    }


def test_time_of_a_moment() -> None:
    """What ended a little ago has the time of then, whatever was asked for in between."""
    ended = time.perf_counter_ns()
    before, later = now.at(ended - 2_000_000_000), now.at(ended)
    read = datetime.fromisoformat
    assert 1.9 < (read(later) - read(before)).total_seconds() < 2.1
    assert now.at(ended - 2_000_000_000) == before
    assert abs(read(now()).timestamp() - time.time()) < 0.5


@given(st.lists(st.integers(0, 5_000_000_000), max_size=20))
def test_times_of_moments(ago: list[int]) -> None:
    """Whatever was asked for before, in the same second or another one, a moment has its own time."""
    clock = _Clock()
    offset = time.time_ns() - time.perf_counter_ns()
    for one in ago:
        moment = time.perf_counter_ns() - one
        found = datetime.fromisoformat(clock.at(moment)).timestamp()
        assert abs(found - (moment + offset) / 1e9) < 0.02


def test_time() -> None:
    """The time is that of UTC, to the millisecond."""
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", now())


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_no_line_is_forged(user: str, id: str) -> None:
    """Whatever is in a text, the entry is one printable line, and reads as it was."""
    hostile = Entry("t", "refused", 403, "http", user=user or "x", id=id)
    line = as_lines([hostile])
    assert line.endswith(b"\n")
    assert line[:-1].decode().isprintable()
    assert (json.loads(line)["user"], json.loads(line)["id"]) == (user or "x", id)


def test_what_is_escaped() -> None:
    """Control characters of any kind, and what turns the direction of text, are escaped; other letters are not."""
    line = as_lines([Entry("t", "result", 200, "http", user="é\x7f\x9b\u202e\u2028\U000e0001\n")])
    assert rb'"\xc3\xa9' in repr(line).encode()
    assert b"\\u007f\\u009b\\u202e\\u2028\\udb40\\udc01\\n" in line


def test_journal(tmp_path: Path) -> None:
    """In the journal an entry has the fields of the log's, a message for people, and a priority."""
    journal = FakeJournal(tmp_path / "journal")
    log = AuditLog("journald", False, Counters(), Clock(), str(journal.path))
    log.startService()
    log.write(FULL)
    log.write(entry("a\nPRIORITY=0"))
    found = journal.read()
    assert found == {
        "MESSAGE": b"https 192.0.2.1 uid=1000 gid=100 pid=4242 user=ann claimed_user=bob: "
        b"shop.sell: fault 500 No pears",
        "PRIORITY": b"4",
        "SYSLOG_IDENTIFIER": b"jsonrpcs",
        "JSONRPCS_MODULE": b"jsonrpcs_tx.access.auditlog",
        "JSONRPCS_TIME": b"2026-02-03T04:05:06.789Z",
        "JSONRPCS_OUTCOME": b"fault",
        "JSONRPCS_CODE": b"500",
        "JSONRPCS_TRANSPORT": b"https",
        "JSONRPCS_PEER": b"192.0.2.1",
        "JSONRPCS_PORT": b"5060",
        "JSONRPCS_UID": b"1000",
        "JSONRPCS_GID": b"100",
        "JSONRPCS_PID": b"4242",
        "JSONRPCS_USER": b"ann",
        "JSONRPCS_CLAIMED_USER": b"bob",
        "JSONRPCS_TLS": b"a.example b.example",
        "JSONRPCS_METHOD": b"shop.sell",
        "JSONRPCS_PARAMS": b'["pear",3]',
        "JSONRPCS_ID": b"id-1",
        "JSONRPCS_TEXT": b"No pears",
        "JSONRPCS_MS": b"1.5",
        "JSONRPCS_HELD_BACK": b"3",
    }
    second = journal.read()
    assert (second["PRIORITY"], second["JSONRPCS_METHOD"]) == (b"5", b"a\nPRIORITY=0")
    assert second["MESSAGE"] == b"unix: a\\nPRIORITY=0: result"
    assert log.reopen() == "the journal needs no reopening"
    log.stopService()
    journal.close()


def test_no_journal(tmp_path: Path) -> None:
    """Without a journal the start is refused."""
    log = AuditLog("journald", False, Counters(), Clock(), str(tmp_path / "none"))
    with pytest.raises(StartError, match=r"audit: journald: .*none: No such file or directory; allowed: journald"):
        log.startService()
    with pytest.raises(StartError, match="audit: journald: "):
        log.check(FIRST)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.parent.write_bytes(b""), "Not a directory"),
        (lambda path: (path.parent.mkdir(), path.mkdir()), "Is a directory"),
        (lambda path: (path.parent.mkdir(), path.symlink_to("x")), "not a regular file"),
    ],
)
def test_cannot_be_opened(tmp_path: Path, make: Any, says: str) -> None:
    """A path that cannot be used stops the start, with what is allowed."""
    path = tmp_path / "directory" / "audit.log"
    make(path)
    with pytest.raises(StartError, match=rf"audit: {path}: {says}; allowed: a file"):
        AuditLog(str(path), False, Counters(), Clock()).startService()
    with pytest.raises(StartError, match=rf"audit: {path}: {says.replace('Is a directory', 'not a regular file')}"):
        AuditLog(str(path), False, Counters(), Clock()).check(FIRST)


def test_check_changes_nothing(tmp_path: Path) -> None:
    """What can be used is no problem, and the check makes no file."""
    AuditLog(str(tmp_path / "audit.log"), False, Counters(), Clock()).check(FIRST)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "audit.log").write_bytes(b"")
    AuditLog(str(tmp_path / "audit.log"), False, Counters(), Clock()).check(FIRST)
    (tmp_path / "audit.log").chmod(0o400)
    log = AuditLog(str(tmp_path / "audit.log"), False, Counters(), Clock())
    with ordinary_user(), pytest.raises(StartError, match=r"audit\.log: (it belongs to user|Permission denied)"):
        log.check(FIRST)


def test_others_could_replace_it(tmp_path: Path) -> None:
    """One warning says that others could take the file away."""
    tmp_path.chmod(0o777)
    events: list[LogEvent] = []
    with observed(events.append):
        Served(tmp_path).start().stopService()
    (event,) = events
    weakness = f"{tmp_path} can be written by others"
    assert formatEvent(event) == f"audit: others could replace {tmp_path}/audit.log: {weakness}"


def test_before_the_start_and_after_the_stop(served: Served) -> None:
    """What is called while the server does not run is written when it does; there is a limit."""
    for number in range(auditlog.MAX_EARLY + 2):
        served.log.write(entry(f"early.{number}"))
    log = served.start()
    log.write(entry("now"))
    log.stopService()
    log.write(entry("between"))
    log.startService()
    written = served.lines
    assert [line.get("method") for line in written[:2]] == [None, "early.0"]
    assert written[0]["lost"] == 2
    assert [line["method"] for line in written[-2:]] == ["now", "between"]
    assert served.count("lost") == 2
    log.stopService()


class Disk:
    """What writes to the disk end with."""

    def __init__(self, log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: OSError | None = None
        sink: Any = log._sink
        sink._free = float("-inf")
        self._write = sink._file.write
        monkeypatch.setattr(sink._file, "write", self.write)
        monkeypatch.setattr("jsonrpcs_tx.access.auditfile.PAUSE", float("-inf"))

    def write(self, lines: bytes) -> None:
        if self.error is not None:
            raise self.error
        self._write(lines)


def test_full_disk(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can be written, the lines are counted, and one error is logged; then the log says how many there
    should have been, in the place where they are missing.
    """
    log = served.start()
    disk = Disk(log, monkeypatch)
    events: list[LogEvent] = []
    with observed(events.append):
        log.write(entry("before"))
        disk.error = OSError(28, "No space left on device")
        for _ in range(5):
            log.write(entry("lost"))
        disk.error = None
        log.write(entry("after"))
        log.write(entry("later"))
    assert [line.get("method", "note") for line in served.lines] == ["before", "note", "after", "later"]
    note = served.lines[1]
    assert (note["note"], note["lost"]) == ("lines are missing here", 5)
    assert (served.count("lost"), served.count("lines")) == (5, 3)
    assert [formatEvent(event) for event in events] == [
        f"audit: {served.path} cannot be written, lines are lost: [Errno 28] No space left on device",
        f"audit: {served.path} is written again; 5 lines are lost",
    ]
    log.stopService()


def test_lost_at_the_end_of_a_turn(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that are written together are lost together, and counted one by one."""
    log = served.start()
    disk = Disk(log, monkeypatch)
    sink: Any = log._sink
    sink._free = float("inf")
    disk.error = OSError(28, "No space left on device")
    for _ in range(3):
        log.write(entry())
    served.clock.advance(0)
    assert served.count("lost") == 3
    disk.error = None
    log.stopService()
    assert [line["lost"] for line in served.lines] == [3]


def test_together(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries of calls that are answered together are in the file when C{write_all} returns, and followers are told;
    what a full disk takes is counted, and told before the next ones. After a rotation they go to the new file.
    """
    told: list[Any] = []
    served.log.followers.append(told.append)
    early, two, lost, after, last = [[entry(f"m.{name}{number}") for number in range(2)] for name in "abcde"]
    served.log.write_all(early)
    log = served.start()
    log.write_all(two)
    assert [line["method"] for line in map(json.loads, served.path.read_bytes().splitlines())] == [
        "m.a0",
        "m.a1",
        "m.b0",
        "m.b1",
    ]
    disk = Disk(log, monkeypatch)
    disk.error = OSError(28, "No space left on device")
    log.write_all(lost)
    assert (served.count("lost"), served.count("lines")) == (2, 4)
    disk.error = None
    log.write_all(after)
    assert [line.get("method", line.get("lost")) for line in served.lines[4:]] == [2, "m.d0", "m.d1"]
    served.path.rename(served.path.with_suffix(".1"))
    log.reopen()
    log.write_all(last)
    assert [line["method"] for line in served.lines] == ["m.e0", "m.e1"]
    assert told == [*early, *two, *lost, *after, *last]
    log.stopService()


def test_flood_of_refusals(served: Served) -> None:
    """Refused calls have so many lines at once, then few a second; the next line and the last say how many had none.
    Somebody else has one all the same.
    """
    log = served.start()
    rooms = [log.room_for_refused("192.0.2.1") for _ in range(auditlog.BURST + 25)]
    assert rooms[: auditlog.BURST] == [0] * auditlog.BURST
    assert log.room_for_refused("192.0.2.2") == rooms.count(None)
    assert rooms.count(None) > 0
    served.clock.advance(0.1)
    held_back = [log.room_for_refused("192.0.2.1") for _ in range(3)]
    assert held_back[0] == 0
    assert held_back[-1] is None
    log.stopService()
    (note,) = served.lines
    assert note["held_back"] == held_back.count(None)
    assert served.count("held_back") == rooms.count(None) + held_back.count(None)


def test_reopened(served: Served, tmp_path: Path) -> None:
    """After a rotation entries go to the new file."""
    log = served.start()
    log.write(entry("one"))
    served.path.rename(tmp_path / "audit.log.1")
    assert log.reopen() == str(served.path)
    log.write(entry("two"))
    assert [line["method"] for line in served.lines] == ["two"]
    log.stopService()
    assert log.reopen() == "it is not open"


def test_note_in_the_journal() -> None:
    """A note is a warning."""
    assert fields(Note("t", "lines are missing here", 3))["PRIORITY"] == "4"


def test_followers(served: Served) -> None:
    """Who follows the log is told of each entry once, those before the start of the server included."""
    told: list[Any] = []
    log = served.log
    log.followers.append(told.append)
    entries = [entry(f"m.{number}") for number in range(3)]
    log.write(entries[0])
    served.start()
    log.write(entries[1])
    log.write_now(entries[2])
    assert told == entries
