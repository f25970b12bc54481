"""Watching files that a server made, and looking at them from time to time where they cannot be watched."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Service
from twisted.internet.task import Clock

from jsonrpcs_tx.transports import filewatch
from jsonrpcs_tx.transports.files import LOOK_DELAY, LOOK_INTERVAL, SLOW_LOOK_INTERVAL, FileKeeper, OwnFile
from jsonrpcs_tx.transports.filewatch import FileWatch


class Watching(Clock):
    """A reactor with a clock that a test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def read(self) -> None:
        """Read what there is."""
        for reader in list(self.readers):
            reader.doRead()


class Maker(Service):
    """Makes a FIFO at its start, and keeps it open."""

    def __init__(self, path: Path, reactor: Any) -> None:
        self.path = path
        self.keeper = FileKeeper(self, reactor)
        self.made = 0
        self.fd = -1

    def startService(self) -> None:
        super().startService()
        os.mkfifo(self.path)
        self.made += 1
        self.fd = os.open(self.path, os.O_RDWR)
        status = os.fstat(self.fd)
        self.keeper.keep(OwnFile(str(self.path), status.st_dev, status.st_ino))

    def stopService(self) -> None:
        super().stopService()
        self.keeper.stop()
        os.close(self.fd)


@pytest.fixture
def reactor() -> Watching:
    return Watching()


@pytest.fixture
def maker(tmp_path: Path, reactor: Watching) -> Iterator[Maker]:
    (tmp_path / "run").mkdir()
    made = Maker(tmp_path / "run" / "fifo", reactor)
    made.startService()
    yield made
    made.stopService()
    assert reactor.readers == []
    assert reactor.getDelayedCalls() == []


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_untouched(maker: Maker, reactor: Watching) -> None:
    """Nobody looks at a file that nothing happens to, but once a minute; what is written to it is nobody's business."""
    os.write(maker.fd, b"x")
    reactor.read()
    (call,) = reactor.getDelayedCalls()
    assert call.getTime() == SLOW_LOOK_INTERVAL


def test_removed(maker: Maker, reactor: Watching) -> None:
    """A file that is removed is made again soon, also the second time; and no more often than that."""
    for time in (1, 2):
        maker.path.unlink()
        reactor.read()
        reactor.advance(LOOK_DELAY / 2)
        assert maker.made == time
        reactor.advance(LOOK_DELAY / 2)
        assert maker.made == time + 1
        assert maker.path.is_fifo()


def test_renamed(maker: Maker, reactor: Watching, tmp_path: Path) -> None:
    """So is one that gets another name, as do its directories; the one further up is noticed within a minute."""
    maker.path.rename(tmp_path / "elsewhere")
    reactor.read()
    reactor.advance(LOOK_DELAY)
    assert maker.made == 2
    (tmp_path / "run").rename(tmp_path / "former")
    (tmp_path / "run").mkdir()
    reactor.read()
    reactor.advance(LOOK_DELAY)
    assert maker.made == 3


def test_replaced(maker: Maker, reactor: Watching, tmp_path: Path) -> None:
    """What somebody puts in its place stays, and is looked at until it is gone."""
    (tmp_path / "other").write_text("mine")
    (tmp_path / "other").rename(maker.path)
    reactor.read()
    reactor.advance(LOOK_DELAY)
    reactor.advance(LOOK_INTERVAL)
    assert (maker.made, maker.path.read_text()) == (1, "mine")
    maker.path.unlink()
    reactor.advance(LOOK_INTERVAL)
    assert maker.made == 2


def test_changed_mode(maker: Maker, reactor: Watching) -> None:
    """A new mode is not a reason to make it again."""
    maker.path.chmod(0o600)
    reactor.read()
    reactor.advance(LOOK_DELAY)
    assert maker.made == 1


def test_no_watches(maker: Maker, reactor: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no watches left, the file is looked at instead."""

    def exhausted(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(filewatch, "_checked", exhausted)
    maker.path.unlink()
    reactor.read()
    reactor.advance(LOOK_DELAY)
    assert (maker.made, reactor.readers) == (2, [])
    maker.path.unlink()
    reactor.advance(LOOK_INTERVAL)
    assert maker.made == 3


def test_nothing_left(tmp_path: Path, reactor: Watching) -> None:
    """No descriptor stays open, whether there is a file to be watched or not."""
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        FileWatch(str(tmp_path / "none"), bool, reactor)
    (tmp_path / "file").touch()
    for _ in range(3):
        watch = FileWatch(str(tmp_path / "file"), bool, reactor)
        assert reactor.readers == [watch]
        watch.stop()
        watch.stop()
    assert descriptors() == before
    assert reactor.readers == []
