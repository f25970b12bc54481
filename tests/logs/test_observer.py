"""The observer of the daemon's log: levels and limits for everybody, and disks that are full."""

import threading
from collections.abc import Iterator

import pytest
from twisted.internet.defer import fail
from twisted.logger import Logger
from twisted.python import log as legacy
from twisted.python.failure import Failure

from jsonrpcs_tx import log
from jsonrpcs_tx.log import BURST, make_logger, set_debug
from jsonrpcs_tx.logs.entries import Entry
from jsonrpcs_tx.logs.observer import Observer
from tests.support.logs import observed


class Disk:
    """Takes entries while it is not full."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.full = False

    def write(self, entry: Entry) -> None:
        if self.full:
            raise OSError(28, "No space left on device", "/var/log/x.log")
        self.entries.append(entry)

    @property
    def messages(self) -> list[str]:
        return [entry.message for entry in self.entries]


@pytest.fixture
def disk() -> Iterator[Disk]:
    """Where the log of the test goes."""
    found = Disk()
    level = log.debug()
    with observed(Observer(found.write)):
        yield found
    set_debug(level)
    log.throttle.clear()


@pytest.mark.parametrize(
    ("debug", "levels"),
    [
        (3, ["debug", "info", "warn", "error", "critical"]),
        (2, ["info", "warn", "error", "critical"]),
        (1, ["warn", "error", "critical"]),
        (0, ["warn", "error", "critical"]),
        (-1, ["error", "critical"]),
        (-2, ["critical"]),
    ],
)
def test_levels(disk: Disk, debug: int, levels: list[str]) -> None:
    """Kamailio's level holds for every logger: this package's, Twisted's, and those of programs."""
    set_debug(debug)
    for logger in (make_logger("own"), Logger(namespace="program")):
        for name in ("debug", "info", "warn", "error", "critical"):
            getattr(logger, name)(name)
    assert disk.messages == levels * 2


def test_details_of_twisted(disk: Disk) -> None:
    """At level info Twisted says nothing of its ports; at level debug it does."""
    legacy.msg("X starting on 5")
    set_debug(3)
    legacy.msg("X starting on 6")
    assert disk.messages == ["X starting on 6"]


def test_floods(disk: Disk) -> None:
    """Floods of Twisted's and programs' own errors are held back, each kind by itself; what is printed is not."""
    for number in range(10 * BURST):
        fail(ValueError("lost"))
        Logger(namespace="program").warn("warning {number}", number=number)
        Logger(namespace="program").info("news {number}", number=number)
        Logger(namespace="stderr").error("{log_io}", log_io=f"line {number}")
    messages = disk.messages
    for begin, count in (("Unhandled", BURST), ("warning", BURST), ("news", 10 * BURST), ("line", 10 * BURST)):
        assert len([message for message in messages if message.startswith(begin)]) == count, begin
    log.throttle._buckets.clear()
    Logger(namespace="program").warn("warning {number}", number=0)
    assert disk.messages[-1] == f"warning 0 (and {9 * BURST} more)"


def test_full_disk(disk: Disk) -> None:
    """While the disk is full nothing is raised, and lines are counted; then the log says how many are missing, once."""
    lost = log.lost()
    own = make_logger("own")
    own.info("before")
    disk.full = True
    for number in range(1234):
        own.info("{number}", number=number)
    assert log.lost() == lost + 1234
    disk.full = False
    own.info("after")
    own.info("later")
    missing = disk.entries[1]
    assert disk.messages == ["before", missing.message, "after", "later"]
    assert missing.message == "1,234 lines of the log are lost here: No space left on device"
    assert missing.fields == {"lost": 1234, "reason": "No space left on device"}
    assert missing.level.name == "error"


def test_nothing_is_raised(disk: Disk) -> None:
    """A failing log is not logged itself, to nobody: neither by this observer nor by Twisted to others."""
    seen: list[str] = []
    disk.full = True
    with observed(lambda event: seen.append(str(event["log_format"]))):
        make_logger("own").failure("{x}", Failure(ValueError("x")), x=1)
        Logger(namespace="program").error("y")
    assert seen == ["{x}", "y"]


def test_logging_while_a_line_is_written() -> None:
    """What is cleared away while a line is written may log itself: both lines are written, and nothing stands still."""
    written: list[str] = []

    def write(entry: Entry) -> None:
        if entry.message == "outer":
            make_logger("own").info("inner")
        written.append(entry.message)

    with observed(Observer(write)):
        make_logger("own").info("outer")
    assert written == ["inner", "outer"]


def test_threads(disk: Disk) -> None:
    """Threads that log at the same time count what is lost together, and each line is written once."""
    lost = log.lost()
    disk.full = True

    def work(name: str) -> None:
        for number in range(500):
            make_logger("own").info("{name} {number}", name=name, number=number)

    for _ in range(2):
        threads = [threading.Thread(target=work, args=(str(name),)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        disk.full = False
    assert log.lost() == lost + 2000
    assert disk.messages[0] == "2,000 lines of the log are lost here: No space left on device"
    assert len(disk.messages) == len(set(disk.messages)) == 2001


def test_entry_that_is_refused(disk: Disk) -> None:
    """An entry that the journal refuses for what is in it counts as lost."""

    def refuse(entry: Entry) -> None:
        raise ValueError("journal entry of 99,999,999 bytes: at most 16,777,216 are allowed")

    lost = log.lost()
    with observed(Observer(refuse)):
        make_logger("own").info("x")
    assert log.lost() == lost + 1
