"""Reply FIFOs that are recognized, and everything that somebody could put in the place of one."""

import os
import resource
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock

from jsonrpcs_tx.transports import solenames
from jsonrpcs_tx.transports.fifo import OPEN_DELAY, OPEN_TRIES, ReplyFifos
from jsonrpcs_tx.transports.solenames import SoleNames
from tests.support.files import STRANGER, ordinary_user
from tests.support.logs import logged

Change = Callable[[], object]


class Fifos:
    """A directory with the FIFO C{a}, which a client reads, and what writes replies to it.

    @ivar whole_checks: how many times the times of a file were looked at.
    @ivar log: the lines of the log.
    """

    def __init__(self, stack: ExitStack, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stack = stack
        self.path = path / "r"
        self.path.mkdir(mode=0o777)
        directory = os.open(self.path, os.O_PATH)
        stack.callback(os.close, directory)
        self.clock = MemoryReactorClock()
        self.replies = ReplyFifos(directory, str(self.path), 2, self.clock)
        self.names: SoleNames = self.replies._sole_names
        self.names.links_protected = True
        self.whole_checks = 0
        self._fstat = os.fstat
        monkeypatch.setattr(os, "fstat", self._counting)
        self.log: list[str] = stack.enter_context(logged())
        self.reader = self.make("a")

    def _counting(self, fd: int) -> os.stat_result:
        self.whole_checks += 1
        return self._fstat(fd)

    def make(self, name: str) -> int:
        """Make a FIFO and open it for reading."""
        os.mkfifo(self.path / name)
        return self.open(name)

    def open(self, name: str) -> int:
        fd = os.open(self.path / name, os.O_RDONLY | os.O_NONBLOCK)
        self._stack.callback(os.close, fd)
        return fd

    def recognized(self) -> None:
        """Have C{a} recognized."""
        assert self.sent(b"first") == b"first"
        self.whole_checks = 0
        assert self.sent(b"second") == b"second"
        assert self.whole_checks == 0

    def sent(self, body: bytes = b"reply", name: str = "a", reader: int | None = None) -> bytes:
        """Send a reply.

        @param reader: who reads; None: the client of C{a}.
        @return: what the reader gets.
        """
        self.replies.send(name, body)
        return unread(self.reader if reader is None else reader)


def unread(fd: int) -> bytes:
    """What is in a FIFO."""
    with suppress(BlockingIOError):
        return os.read(fd, 1_000_000)
    return b""


@pytest.fixture
def fifos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fifos]:
    with ExitStack() as stack:
        yield Fifos(stack, tmp_path, monkeypatch)


def test_recognized(fifos: Fifos) -> None:
    """Of a FIFO that has passed, the times are not looked at again, for large replies either."""
    fifos.recognized()
    large = b"x" * 10_000
    assert fifos.sent(large) == large
    assert fifos.whole_checks == 0


def test_another_fifo_in_its_place(fifos: Fifos) -> None:
    """A client that makes its FIFO again gets its reply, and is recognized again."""
    fifos.recognized()
    for _ in range(3):
        os.unlink(fifos.path / "a")
        fifos.reader = fifos.make("a")
        assert fifos.sent() == b"reply"
        assert fifos.whole_checks == 1
        fifos.whole_checks = 0
        assert fifos.sent() == b"reply"
        assert fifos.whole_checks == 0


def test_second_name(fifos: Fifos) -> None:
    """A FIFO that has been given a second name, here or elsewhere, is refused, however often it was recognized."""
    for other in (fifos.path / "b", fifos.path.parent / "b"):
        fifos.recognized()
        os.link(fifos.path / "a", other)
        assert fifos.sent() == b""
        assert fifos.log[-1].endswith("/r/a: allowed: a FIFO with one link")
        os.unlink(other)
    assert fifos.replies._dropped.value == 2


def test_moved_away_and_linked_back(fifos: Fifos) -> None:
    """One that was moved elsewhere, and is only linked here, is refused."""
    fifos.recognized()
    os.rename(fifos.path / "a", fifos.path.parent / "moved")
    os.link(fifos.path.parent / "moved", fifos.path / "a")
    assert fifos.sent() == b""


def test_link_to_the_fifo_of_another(fifos: Fifos) -> None:
    """A link to a FIFO elsewhere in the place of a recognized one is refused; also one that is gone at once."""
    elsewhere = fifos.path.parent / "victim"
    os.mkfifo(elsewhere)
    os.utime(elsewhere, (0, 0))  # it is not as new as the link
    victim = os.open(elsewhere, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fifos.recognized()
        os.unlink(fifos.path / "a")
        os.link(elsewhere, fifos.path / "a")
        assert fifos.sent(reader=victim) == b""
        on_opening(fifos, (fifos.path / "a").unlink)
        assert fifos.sent(reader=victim) == b""
        assert fifos.replies._dropped.value == 2
    finally:
        os.close(victim)


def on_opening(fifos: Fifos, change: Change) -> None:
    """Change something as soon as a file has been opened for the next reply."""
    check = fifos.names.check

    def changing(fd: int, name: str) -> bool:
        fifos.names.check = check  # type: ignore[method-assign] # once only
        change()
        return check(fd, name)

    fifos.names.check = changing  # type: ignore[method-assign]


def test_removed_as_soon_as_it_is_opened(fifos: Fifos) -> None:
    """A client that removes its FIFO while its reply is on the way gets it."""
    fifos.recognized()
    on_opening(fifos, (fifos.path / "a").unlink)
    assert fifos.sent() == b"reply"


def test_second_name_as_soon_as_it_is_opened(fifos: Fifos) -> None:
    """A second name that comes between opening and checking is noticed."""
    fifos.recognized()
    on_opening(fifos, lambda: os.link(fifos.path / "a", fifos.path.parent / "b"))
    assert fifos.sent() == b""


def test_same_inode(fifos: Fifos) -> None:
    """Another FIFO is not taken for one that is gone, even if it has been given that one's inode number."""
    fifos.recognized()
    inode = os.stat(fifos.path / "a").st_ino
    fd = os.open(os.devnull, os.O_RDONLY)
    os.dup2(fd, fifos.reader)  # nobody holds the inode any longer
    os.close(fd)
    os.unlink(fifos.path / "a")
    for number in range(200):
        os.mkfifo(fifos.path / "a")
        if os.stat(fifos.path / "a").st_ino == inode:
            break
        os.rename(fifos.path / "a", fifos.path / f"other{number}")
    else:
        pytest.skip("this file system does not use inode numbers again so soon")
    reader = fifos.open("a")
    assert fifos.sent(reader=reader) == b"reply"
    assert fifos.whole_checks == 1


def put_file(path: Path) -> None:
    path.write_text("precious")


def put_directory(path: Path) -> None:
    path.mkdir()


def put_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))


def put_link(path: Path) -> None:
    path.symlink_to(path.parent / "b")


def put_device(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root makes devices")
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))


@pytest.mark.parametrize("put", [put_file, put_directory, put_socket, put_link, put_device])
def test_something_else_in_its_place(fifos: Fifos, put: Callable[[Path], None]) -> None:
    """What is no FIFO is refused in the place of one that was recognized, and is left as it was; others go on."""
    fifos.recognized()
    other = fifos.make("b")
    os.unlink(fifos.path / "a")
    put(fifos.path / "a")
    before = os.lstat(fifos.path / "a")
    assert fifos.sent() == b""
    fifos.clock.pump([OPEN_DELAY] * OPEN_TRIES)  # a socket is tried again: it is taken for a FIFO without a reader
    assert "no reply to" in fifos.log[-1]
    after = os.lstat(fifos.path / "a")
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
    assert fifos.replies.waiting() == (0, 0)
    assert fifos.sent(name="b", reader=other) == b"reply"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_fifo_of_another_user(fifos: Fifos) -> None:
    """A FIFO of another user that the server's user may not write to is refused, also when it was recognized."""
    for directory in (*fifos.path.parents, fifos.path):
        if directory.owner() == "root" and directory.stat().st_mode & 0o077 == 0:
            directory.chmod(0o711)
    fifos.path.chmod(0o777)
    os.chown(fifos.path / "a", STRANGER, STRANGER)
    with ordinary_user():
        assert fifos.sent() == b"reply"
    os.chown(fifos.path / "a", 0, 0)
    (fifos.path / "a").chmod(0o600)
    with ordinary_user():
        assert fifos.sent() == b""
    assert "Permission denied" in fifos.log[-1]


def test_links_not_protected(fifos: Fifos) -> None:
    """Where anybody can link FIFOs of others, each reply has the whole check."""
    fifos.names.links_protected = False
    assert fifos.sent() == b"reply"
    fifos.whole_checks = 0
    assert fifos.sent() == b"reply"
    assert fifos.whole_checks > 0


@pytest.mark.parametrize("statx", [None, lambda *arguments: -1], ids=["none", "refused"])
def test_without_statx(fifos: Fifos, statx: Callable[..., int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on a system that has no statx, or refuses it."""
    monkeypatch.setattr(solenames, "_statx", statx)
    for _ in range(2):
        fifos.whole_checks = 0
        assert fifos.sent() == b"reply"
        assert fifos.whole_checks > 0


def test_statx_that_tells_less(fifos: Fifos, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on a file system that does not know when a file was made."""
    real = solenames._statx

    def less(fd: int, path: bytes, flags: int, mask: int, status: object) -> int:
        return int(real(fd, path, flags, mask & ~0x800, status))

    monkeypatch.setattr(solenames, "_statx", less)
    monkeypatch.setattr(solenames, "_read_mask", lambda status: (0x7FF,))
    for _ in range(2):
        fifos.whole_checks = 0
        assert fifos.sent() == b"reply"
        assert fifos.whole_checks > 0


def test_many_names(fifos: Fifos, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more are kept than allowed; those that were forgotten get their replies as before."""
    monkeypatch.setattr(solenames, "MAX_PASSED", 3)
    readers = {name: fifos.make(name) for name in "bcdefg"}
    for _ in range(3):
        for name, reader in readers.items():
            assert fifos.sent(name=name, reader=reader) == b"reply"
            assert len(fifos.names.passed) <= 3


def test_reader_gone_as_soon_as_it_is_opened(fifos: Fifos) -> None:
    """A client that reopens its FIFO while its reply is on the way gets it, and nothing is left open."""
    fifos.recognized()

    def close() -> None:
        fd = os.open(os.devnull, os.O_RDONLY)
        os.dup2(fd, fifos.reader)
        os.close(fd)

    before = len(os.listdir("/proc/self/fd"))
    on_opening(fifos, close)
    fifos.replies.send("a", b"reply")
    reader = fifos.open("a")
    fifos.clock.advance(OPEN_DELAY)
    assert unread(reader) == b"reply"
    assert len(os.listdir("/proc/self/fd")) == before + 1


def test_no_descriptor_left(fifos: Fifos) -> None:
    """A reply for which there is no descriptor waits, and comes when there is one."""
    fifos.recognized()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    least_free = os.dup(fifos.reader)
    os.close(least_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (least_free, limit[1]))
    try:
        assert fifos.sent() == b""
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert fifos.replies.waiting()[0] == 1
    fifos.clock.advance(OPEN_DELAY)
    assert unread(fifos.reader) == b"reply"
    fifos.recognized()


def test_full(fifos: Fifos) -> None:
    """Small replies to a client that does not read wait, and come whole and in order, behind one another."""
    fifos.recognized()
    replies = [b"%05d" % number * 200 for number in range(200)]
    for reply in replies:
        fifos.replies.send("a", reply)
    assert fifos.replies.waiting()[0] > 0
    received = b""
    for _ in range(100):
        received += unread(fifos.reader)
        fifos.clock.advance(OPEN_DELAY)
    assert received == b"".join(replies)
    assert fifos.replies.waiting() == (0, 0)
    fifos.recognized()
