"""The file of the audit log: safe to open, whole lines, and no wait for a slow disk."""

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from jsonrpcs_tx.access import auditfile
from jsonrpcs_tx.access.auditentries import Entry, Note
from jsonrpcs_tx.access.auditfile import AuditFile
from jsonrpcs_tx.access.auditlog import AuditLog
from jsonrpcs_tx.errors import NotAllowed
from jsonrpcs_tx.state.counters import Counters
from tests.support import PATIENCE
from tests.support.files import STRANGER


class Reactor(Clock):
    """Calls at once what a thread wants to be called."""

    def callFromThread(self, function: Callable[..., object], *arguments: Any) -> None:
        function(*arguments)


def make(path: Path, failed: Callable[[int, OSError], object] = lambda lines, error: None) -> tuple[AuditFile, Reactor]:
    reactor = Reactor()
    return AuditFile(str(path), reactor, failed), reactor


def note(text: str) -> Note:
    return Note("t", text)


def notes(path: Path) -> list[str]:
    return [line.partition('"note":"')[2][:-2] for line in path.read_text().splitlines()]


def test_first_line_is_there_at_once(tmp_path: Path) -> None:
    """A line is in the file when it is written; those that come right behind it are there at the end of the turn."""
    file, reactor = make(tmp_path / "audit")
    file.write(note("one"))
    assert notes(tmp_path / "audit") == ["one"]
    file._free = float("inf")
    file.write(note("two"))
    file.write(note("three"))
    assert notes(tmp_path / "audit") == ["one"]
    reactor.advance(0)
    assert notes(tmp_path / "audit") == ["one", "two", "three"]
    file.write(note("four"))
    file.close()
    assert notes(tmp_path / "audit")[-1] == "four"


def test_mode(tmp_path: Path) -> None:
    """The file is for its owner only; the mode of one that is there stays."""
    file, _ = make(tmp_path / "audit")
    file.close()
    assert os.stat(tmp_path / "audit").st_mode & 0o777 == 0o600
    (tmp_path / "audit").chmod(0o640)
    make(tmp_path / "audit")[0].close()
    assert os.stat(tmp_path / "audit").st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "kind", ["link", "hard link", "fifo", "directory", "everybody's", "stranger's", "dangling link"]
)
def test_refused(tmp_path: Path, kind: str) -> None:
    """What is not a regular file of the server's user alone is refused, and left as it was."""
    path, other = tmp_path / "audit", tmp_path / "other"
    if kind != "dangling link":
        other.write_bytes(b"kept\n")
    if kind in ("link", "dangling link"):
        path.symlink_to(other)
    elif kind == "hard link":
        path.hardlink_to(other)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_bytes(b"")
        if kind == "everybody's":
            path.chmod(0o602)
        elif os.geteuid():
            pytest.skip("only root gives files away")
        else:
            os.chown(path, STRANGER, STRANGER)
    with pytest.raises((NotAllowed, IsADirectoryError)):
        make(path)
    assert not other.exists() if kind == "dangling link" else other.read_bytes() == b"kept\n"


def test_together(tmp_path: Path) -> None:
    """Entries that are written together are in the file at once, after those that wait for the end of the turn."""
    path = tmp_path / "audit"
    file, _ = make(path)
    file._free = float("inf")
    file.write(note("one"))
    assert notes(path) == []
    file.write_all([note("two"), note("three")])
    assert notes(path) == ["one", "two", "three"]
    file.close()
    assert notes(path) == ["one", "two", "three"]


def test_reopened(tmp_path: Path) -> None:
    """After a rotation lines go to the new file; one that is refused leaves the former in use."""
    path, former = tmp_path / "audit", tmp_path / "audit.1"
    file, _ = make(path)
    file.write(note("one"))
    path.rename(former)
    file._free = float("inf")
    file.write(note("two"))
    assert file.reopen() == str(path)
    file._free = 0
    file.write(note("three"))
    assert (notes(former), notes(path)) == (["one", "two"], ["three"])
    path.unlink()
    path.symlink_to(former)
    with pytest.raises(NotAllowed):
        file.reopen()
    file.write(note("four"))
    assert notes(former) == ["one", "two"]


class SlowDisk:
    """Holds up a thread that writes until it is let go.

    @ivar asked: set as soon as it waits.
    @ivar error: what the write then ends with.
    """

    def __init__(self, file: AuditFile, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self.error: OSError | None = None
        self._write = file._file.write
        self._main = threading.current_thread()
        monkeypatch.setattr(file._file, "write", self.write)

    def write(self, lines: bytes) -> None:
        if threading.current_thread() is not self._main:
            self.asked.set()
            assert self.go.wait(PATIENCE)
            if self.error is not None:
                raise self.error
        self._write(lines)


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each write takes."""
    taken = [1.0]
    now = [0.0]

    def monotonic() -> float:
        now[0] += taken[0]
        return now[0]

    monkeypatch.setattr(auditfile, "monotonic", monotonic)
    monkeypatch.setattr(auditfile, "SLOW", 0.05)
    return taken


def test_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> None:
    """After a slow write a thread writes: nobody waits for it, no line is lost, and their order stays. When the disk
    keeps up again, lines are there at once.
    """
    path = tmp_path / "audit"
    file, _ = make(path)
    disk = SlowDisk(file, monkeypatch)
    file.write(note("0"))
    for number in range(1, 50):
        file.write(note(str(number)))
    assert disk.asked.wait(PATIENCE)
    assert notes(path) == ["0"]
    seconds[0] = 0.001
    disk.go.set()
    assert file._behind is not None
    assert file._behind.end(PATIENCE)
    file.write(note("50"))
    assert notes(path) == [str(number) for number in range(51)]
    assert file._behind is None
    file.close()


def test_rotation_of_a_slow_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> None:
    """A file whose lines wait is opened again behind them."""
    path, former = tmp_path / "audit", tmp_path / "audit.1"
    file, _ = make(path)
    disk = SlowDisk(file, monkeypatch)
    for number in range(3):
        file.write(note(str(number)))
    assert disk.asked.wait(PATIENCE)
    path.rename(former)
    assert "once the disk" in file.reopen()
    disk.go.set()
    assert file._behind is not None
    assert file._behind.end(PATIENCE)
    file.write(note("3"))
    file.close()
    assert notes(former) == ["0", "1", "2"]
    assert notes(path) == ["3"]


def test_slow_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> None:
    """Lines that the thread cannot write, or that are too many to wait, are lost, and counted."""
    lost: list[tuple[int, str]] = []
    file, _ = make(tmp_path / "audit", lambda lines, error: lost.append((lines, str(error))))
    disk = SlowDisk(file, monkeypatch)
    disk.error = OSError(errno.ENOSPC, "No space left")
    for number in range(4):
        file.write(note(str(number)))
    assert disk.asked.wait(PATIENCE)
    monkeypatch.setattr(auditfile, "MAX_WAITING", 300)
    with pytest.raises(OSError, match="300 bytes wait"):
        file.write(note("x" * 300))
    disk.go.set()
    file.close()
    assert sum(lines for lines, _ in lost) == 3
    assert "No space left" in lost[0][1]


def test_disk_that_never_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> None:
    """At the stop the disk has a time; what waits then is lost, and counted."""
    lost: list[int] = []
    file, _ = make(tmp_path / "audit", lambda lines, error: lost.append(lines))
    disk = SlowDisk(file, monkeypatch)
    for number in range(4):
        file.write(note(str(number)))
    assert disk.asked.wait(PATIENCE)
    monkeypatch.setattr(auditfile, "STOP_TIME", 0.01)
    file.close()
    assert lost == [3]
    disk.go.set()


@pytest.mark.parametrize("full", [False, True])
def test_needed_lines_on_a_slow_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: list[float], full: bool
) -> None:
    """While a thread writes, nobody knows whether a line can be written, so one that is needed is refused until the
    disk keeps up.
    """
    path = tmp_path / "audit"
    lost: list[int] = []
    file, _ = make(path, lambda lines, error: lost.append(lines))
    disk = SlowDisk(file, monkeypatch)
    disk.error = OSError(errno.ENOSPC, "No space left") if full else None
    file.write(note("slow"))
    with pytest.raises(OSError, match="too slow"):
        file.append(entry("refused"), surely=True)
    file.write(note("behind"))
    assert disk.asked.wait(PATIENCE)
    with pytest.raises(OSError, match="too slow"):
        file.append(entry("refused"), surely=True)
    seconds[0] = 0.001
    disk.go.set()
    assert file._behind is not None
    assert file._behind.end(PATIENCE)
    file.append(entry("needed"), surely=True)
    assert [json.loads(line).get("note", "an entry") for line in path.read_bytes().splitlines()] == [
        "slow",
        *(() if full else ("behind",)),
        "an entry",
    ]
    file.close()


def test_needed_line_is_there_at_once(tmp_path: Path) -> None:
    """A line that is needed does not wait for the end of the turn, and those before it do not either."""
    file, _ = make(tmp_path / "audit")
    file.write(note("one"))
    file._free = float("inf")
    file.write(note("two"))
    file.append(entry("needed"), surely=True)
    assert (tmp_path / "audit").read_bytes().count(b"\n") == 3
    file.close()


def test_missing_lines_are_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the log says of missing lines never waits for the end of a turn, in which it could get lost itself."""
    log = AuditLog(str(tmp_path / "audit"), False, Counters(), Reactor())
    log.startService()
    sink: Any = log._sink
    write, full = sink._file.write, OSError(errno.ENOSPC, "No space left")

    def fail(lines: bytes) -> None:
        raise full

    monkeypatch.setattr(sink._file, "write", fail)
    for _ in range(5):
        log.write(entry("lost"))
        sink._free = float("inf")
        log.write(entry("lost"))
        sink.flush()
    assert log.problem is not None
    monkeypatch.setattr(sink._file, "write", write)
    log.write(entry("after"))
    log.stopService()
    lines = [json.loads(line) for line in (tmp_path / "audit").read_bytes().splitlines()]
    assert [line.get("lost") for line in lines] == [10, None]


def entry(method: str) -> Entry:
    return Entry("", "begun", 0, "unix", method=method)
