"""The FIFO: requests in any pieces, replies to the FIFOs of clients that read, stall, go away or cheat."""

import gc
import json
import os
import re
import stat
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import abstract, reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.log import throttle
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.rpc.registry import Registry
from jsonrpcs_tx.transports import fifo
from jsonrpcs_tx.transports.fifo import MAX_REPLY_PATH, OPEN_DELAY, OPEN_TRIES, FifoReader, FifoService, ReplyFifos
from tests.support import PATIENCE
from tests.support.documents import PARSE_ERROR, request, result
from tests.support.files import make_directory, ordinary_user
from tests.support.transports import Commands, TransportCase, start_error


class ReplyFifo(abstract.FileDescriptor):
    """A client's FIFO, open for reading.

    @ivar data: what was read of it.
    """

    def __init__(self, path: Path, reading: bool = True) -> None:
        super().__init__(reactor)
        if not path.exists():
            os.mkfifo(path)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._whole: Deferred[bytes] = Deferred()
        self.data = b""
        if reading:
            self.startReading()

    def fileno(self) -> int:
        return self._fd

    async def reply(self) -> Any:
        """What the server wrote before it closed the FIFO, decoded."""
        return json.loads(await self.whole())

    def whole(self) -> Deferred[bytes]:
        return self._whole.addTimeout(PATIENCE, reactor)

    def doRead(self) -> None:
        data = os.read(self._fd, 1_048_576)
        self.data += data
        if not data:
            self._end()

    def connectionLost(self, reason: Failure) -> None:
        self._end()

    def close(self) -> None:
        if self._fd >= 0:
            self.stopReading()
            os.close(self._fd)
            self._fd = -1

    def _end(self) -> None:
        self.close()
        self._whole.callback(self.data)


class FifoCase(TransportCase):
    """A server on a FIFO, with its settings in C{settings}."""

    settings: dict[str, Any] = {}

    def setUp(self) -> None:
        super().setUp()
        self.path = self.directory / "rpc.fifo"
        self.replies = self.directory / "r"
        self.replies.mkdir()
        self.service = self.make_service(**self.settings)
        self.service.startService()
        self.addCleanup(self.service.stopService)
        self.writer = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, self.writer)

    def make_service(self, **settings: Any) -> FifoService:
        names = {"run_dir": str(self.directory), "fifo_name": "rpc.fifo", "fifo_reply_dir": "r"}
        return FifoService(Settings(**{**names, **settings}), self.dispatcher, reactor)

    def write(self, data: bytes) -> None:
        assert os.write(self.writer, data) == len(data)

    def reader(self, name: str, reading: bool = True) -> ReplyFifo:
        reader = ReplyFifo(self.replies / name, reading)
        self.addCleanup(reader.close)
        return reader

    async def assert_answers(self, name: str = "proof") -> None:
        """The server answers another client, and all of what was written before has been read."""
        reader = self.reader(name)
        self.write(request("test.echo", name, reply_name=name))
        assert await reader.reply() == result(name)


class RequestTests(FifoCase):
    """Requests, in whatever pieces they come."""

    async def test_answered(self) -> None:
        """A request is answered to the FIFO that it names, and nothing is logged."""
        await self.assert_answers()
        assert self.log == [f"listening on fifo {self.path.absolute()}"]

    async def test_byte_by_byte(self) -> None:
        """A request that comes byte by byte is answered once."""
        reader = self.reader("a")
        for byte in request("test.echo", "{x}", reply_name="a"):
            self.write(bytes([byte]))
            await self.turns()
        assert await reader.reply() == result("{x}")
        assert self.commands.calls == ["{x}"]

    async def test_several_in_one_write(self) -> None:
        """Requests in one write are each answered, in their order, to the FIFO of each."""
        names = [f"a{number}" for number in range(20)]
        readers = [self.reader(name) for name in names]
        self.write(b"\n".join(request("test.echo", name, id=name, reply_name=name) for name in names))
        for name, reader in zip(names, readers, strict=True):
            assert await reader.reply() == result(name, name)
        assert self.commands.calls == names

    async def test_thousands_in_one_write(self) -> None:
        """Thousands of documents in one write are taken, and the next request is answered."""
        self.write(b"{}" * 5000)
        await self.assert_answers()

    async def test_batch(self) -> None:
        """A batch is answered to the FIFO that its first named request names."""
        reader = self.reader("a")
        plain = request("test.echo", 1, id=1)
        self.write(b"[%s,%s]" % (plain, request("test.echo", 2, id=2, reply_name="a")))
        assert await reader.reply() == [result(1, 1), result(2, 2)]

    async def test_without_reply_name(self) -> None:
        """A request that names no FIFO is not run, which the log says, and the next is answered."""
        self.write(request("test.echo", "lost"))
        await self.assert_answers()
        assert self.commands.calls == ["proof"]
        assert re.search("fifo: not run, it has no reply_name: .*lost", self.log[-1])

    async def test_fault(self) -> None:
        """A request for a command that is not there gets the fault."""
        reader = self.reader("a")
        self.write(request("test.none", id=[], reply_name="a") + request("test.none", reply_name="b"))
        assert (await reader.reply())["error"]["code"] == -32600
        await self.assert_answers("b")

    async def test_broken_document(self) -> None:
        """A document that ends and is no JSON is answered with -32700 to the FIFO that can still be read in it."""
        reader = self.reader("a")
        self.write(b'{"jsonrpc":"2.0","method":test.echo,"reply_name":"a","id":1}')
        assert await reader.reply() == PARSE_ERROR
        await self.assert_answers()

    async def test_garbage(self) -> None:
        """Garbage does no harm."""
        for garbage in (b":uptime:a\n\n", b"\0" * 100, b"}]", b'"reply_name":"x"', b"\xff\xfe", bytes(range(256))):
            self.write(garbage + b"\n}")
            await self.turns()
        self.write(b'"}')  # ends the string and the object that the last one began
        await self.assert_answers()

    async def test_replies_of_a_client_of_before(self) -> None:
        """A FIFO that was used before may be used again."""
        for number in range(3):
            reader = self.reader("a")
            self.write(request("test.echo", number, reply_name="a"))
            assert await reader.reply() == result(number)


class UnfinishedTests(FifoCase):
    """Documents that are given up, soon."""

    settings = {"fifo_timeout": 60, "fifo_max_request": 1000}

    async def test_given_up(self) -> None:
        """An unfinished document gets -32700 when nothing more comes, and the next one is answered."""
        reader = self.reader("a")
        self.write(b'{"reply_name":"a","jsonrpc":"2.0","method":"test.echo","params":["x')
        assert await reader.reply() == PARSE_ERROR
        await self.assert_answers()

    async def test_requests_behind_it(self) -> None:
        """Requests behind an unfinished document are answered when it is given up, each at its own FIFO."""
        readers = [self.reader(name) for name in ("a", "b", "c")]
        self.write(b'{"reply_name":"a","jsonrpc":"2.0","method":"test.ec')
        self.write(request("test.echo", 1, reply_name="b") + request("test.echo", 2, reply_name="c"))
        replies = [await reader.reply() for reader in readers]
        assert replies == [PARSE_ERROR, result(1), result(2)]

    async def test_too_long(self) -> None:
        """A document beyond the size limit gets -32700 before it ends, and the next one is answered."""
        reader = self.reader("a")
        self.write(b'{"reply_name":"a","jsonrpc":"2.0","method":"test.echo","params":["' + b"x" * 1000)
        assert await reader.reply() == PARSE_ERROR
        self.write(b"x" * 5000 + b'"]}')
        await self.assert_answers()

    async def test_too_long_in_one_write(self) -> None:
        """A document beyond the size limit gets -32700 and is not run, even when it comes in one write."""
        reader = self.reader("a")
        self.write(b'{"reply_name":"a",' + request("test.echo", "x" * 1000)[1:])
        assert await reader.reply() == PARSE_ERROR
        assert self.commands.calls == []

    async def test_request_behind_one_too_long(self) -> None:
        """A request in one write behind a document that is too long gets its own reply and no other."""
        reader = self.reader("a")
        self.write(b'{"x":"' + b"x" * 1000 + request("test.echo", "mine", reply_name="a"))
        assert await reader.whole() == b'{"jsonrpc":"2.0","result":"mine","id":1}'


class DeadClientTests(FifoCase):
    """What clients leave that died, where unfinished documents are given up late."""

    settings = {"fifo_timeout": 600_000}

    async def test_stray_beginnings(self) -> None:
        """Others are answered at once, each of them, while they keep writing on lines of their own."""
        dead = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        for stray in (b"{", b'{"jsonrpc":"2.0","method":"test.ec', b'{\n "id": 1,\n', b'{"params":{"a":"\\'):
            os.write(dead, stray)
            for number in range(3):
                reader = self.reader("a")
                self.write(b"\n" + request("test.echo", number, reply_name="a") + b"\n")
                assert await reader.reply() == result(number)
        os.close(dead)

    async def test_possible_beginning(self) -> None:
        """Behind what may still become a document, one is answered as soon as the next one writes."""
        self.write(b'{"params":[\n')
        first = self.reader("first")
        self.write(request("test.echo", 1, reply_name="first") + b"\n")
        await self.assert_answers()
        assert await first.reply() == result(1)


class IdleTimeTests(SynchronousTestCase):
    """When an unfinished document is given up: 2 seconds after its first byte."""

    class Replies:
        def __init__(self) -> None:
            self.sent: list[tuple[str, Any]] = []

        def send(self, name: str, body: bytes) -> None:
            self.sent.append((name, json.loads(body)))

    def setUp(self) -> None:
        self.clock = Clock()
        self.replies = self.Replies()
        dispatcher = Dispatcher(Registry(Commands()), self.clock)
        self.fifo: Any = FifoReader(-1, dispatcher, self.replies, 1000, 2, self.clock)  # type: ignore[arg-type] # a clock that cannot read
        self.fifo.turn = inf

    def test_from_the_first_byte(self) -> None:
        """It is given up the set time after its first byte, however often more of it comes."""
        for piece in (b'{"reply_name":"a",', b'"jsonrpc":', b'"2.0"', b',"id":1'):
            self.fifo.data_received(piece)
            self.clock.advance(0.45)
        assert self.replies.sent == []
        self.fifo.data_received(b",")
        self.clock.advance(0.2)
        assert self.replies.sent == [("a", PARSE_ERROR)]
        assert self.clock.getDelayedCalls() == []

    def test_each_has_its_own_time(self) -> None:
        """A document that begins behind one that was finished, or given up, has the whole time of its own."""
        first, second = request("test.echo", 1, reply_name="a"), request("test.echo", 2, reply_name="b")
        self.fifo.data_received(first[:30])
        self.clock.advance(1.5)
        self.fifo.data_received(first[30:] + second[:30])
        self.clock.advance(1.5)
        self.fifo.data_received(second[30:60])
        self.clock.advance(0.4)
        self.fifo.data_received(second[60:] + b'{"a')
        assert self.replies.sent == [("a", result(1)), ("b", result(2))]
        self.clock.advance(1)
        self.fifo.data_received(b'"\n{"reply_name":"c","id":')
        self.clock.advance(1.9)
        assert len(self.replies.sent) == 2
        self.clock.advance(0.1)
        assert self.replies.sent[2:] == [("c", PARSE_ERROR)]

    def test_others_keep_writing(self) -> None:
        """What can still become a document is given up in time while others keep writing, and they are answered."""
        self.fifo.data_received(b'{"params":[')
        for number in range(8):
            self.fifo.data_received(request("test.echo", number, reply_name=f"a{number}").replace(b"\n", b" ") + b",")
            self.clock.advance(0.25)
        assert self.replies.sent == [(f"a{number}", result(number)) for number in range(8)]

    def test_finished_in_time(self) -> None:
        """A document that is finished leaves no clock running."""
        document = request("test.echo", 1, reply_name="a")
        self.fifo.data_received(document[:30])
        assert len(self.clock.getDelayedCalls()) == 1
        self.fifo.data_received(document[30:])
        assert self.replies.sent == [("a", result(1))]
        assert self.clock.getDelayedCalls() == []

    def test_stop(self) -> None:
        """At the stop an unfinished document is dropped, and no clock is left running."""
        self.fifo.data_received(b'{"reply_name":"a"')
        self.fifo.stopReading = self.fifo.doRead = lambda: None  # the clock reads no files
        self.fifo.finish()
        self.clock.advance(10)
        assert (self.replies.sent, self.clock.getDelayedCalls()) == ([], [])


class TurnTests(FifoCase):
    """Many requests in one write."""

    COUNT = 20

    def setUp(self) -> None:
        self.patch(FifoReader, "turn", 0.002)
        super().setUp()
        self.commands.seconds = 0.003

    async def test_others_meanwhile(self) -> None:
        """They are answered in several turns, each in order, and nothing more needs to come for that."""
        readers = [self.reader(f"a{number}") for number in range(self.COUNT)]
        self.write(b"".join(request("test.echo", number, reply_name=f"a{number}") for number in range(self.COUNT)))
        turns = 0
        while len(self.commands.calls) < self.COUNT:
            await deferLater(reactor, 0)
            turns += 1
        assert turns >= self.COUNT
        assert self.commands.calls == list(range(self.COUNT))
        for number, reader in enumerate(readers):
            assert await reader.reply() == result(number)

    async def test_stop(self) -> None:
        """All are answered when the server stops, with what is still in the FIFO."""
        readers = [self.reader(f"a{number}") for number in range(self.COUNT)]
        for number in range(self.COUNT):
            self.write(request("test.echo", number, reply_name=f"a{number}"))
            if number == self.COUNT // 2:
                await self.turns()
        assert len(self.commands.calls) < self.COUNT // 2
        await self.service.stopService()
        assert self.commands.calls == list(range(self.COUNT))
        for number, reader in enumerate(readers):
            assert await reader.reply() == result(number)


class ReplyNameTests(FifoCase):
    """Which files the server writes replies to."""

    async def test_names(self) -> None:
        """A name that is empty or holds a dot, a slash, a backslash or NUL is refused, even if such a FIFO is there."""
        inner = self.replies / "d"
        inner.mkdir()
        places = (self.replies / "a.b", self.replies / "a\\b", self.replies / "a", inner / "f", self.directory / "f")
        readers = [ReplyFifo(place) for place in places]
        for reader in readers:
            self.addCleanup(reader.close)
        names = ["", ".", "..", "a.b", "a\\b", "d/f", "../f", "./a", "a/", "a\0b", "a\0", str(inner.absolute() / "f")]
        for name in names:
            del self.log[:]
            throttle.clear()
            self.write(request("test.echo", 1, reply_name=name))
            await self.turns()
            assert len(self.log) == 1, name
            assert re.search("no reply to .*: (an empty name|forbidden character|too long)", self.log[0])
        await self.assert_answers()
        assert [reader.data for reader in readers] == [b""] * len(readers)

    async def test_longest_name(self) -> None:
        """A name that makes 127 bytes with the directory is taken, one of 128 is not; bytes count, not characters."""
        room = MAX_REPLY_PATH - len(os.fsencode(str(self.replies) + "/"))
        assert MAX_REPLY_PATH == 127
        for good, bad in (("x" * room, "x" * (room + 1)), ("é" * (room // 2), "é" * (room // 2 + 1))):
            refused = self.reader(bad)
            self.write(request("test.echo", 1, reply_name=bad))
            await self.logged(f"no reply to .*{bad}: too long; allowed: 127 bytes with the directory")
            await self.assert_answers(good)
            assert refused.data == b""

    async def test_long_names_are_not_remembered(self) -> None:
        """Names beyond the limit, of which each could be a whole request long, leave nothing in memory."""
        replies = self.service._replies
        assert replies is not None
        for number in range(50):
            self.write(request("test.echo", 1, reply_name=f"{number}" + "x" * 50_000))
            await self.turns()
        await self.assert_answers()
        assert list(replies._passed) == ["proof"]

    async def test_name_types(self) -> None:
        """A reply_name that is not a string does not count as a name, and does no harm."""
        names: tuple[object, ...] = (1, None, True, [], {}, ["a"])
        for name in names:
            self.write(request("test.echo", 1, reply_name=name))
        await self.assert_answers()
        assert self.commands.calls == ["proof"]

    async def test_never_created(self) -> None:
        """A FIFO that is not there is not made, and is not waited for."""
        self.write(request("test.echo", 1, reply_name="a"))
        await self.logged("no reply to .*/r/a: No such file or directory")
        await self.assert_answers()
        assert sorted(os.listdir(self.replies)) == ["proof"]

    async def test_link(self) -> None:
        """A symbolic link is not followed, whatever it leads to."""
        target = ReplyFifo(self.directory / "target")
        self.addCleanup(target.close)
        (self.replies / "a").symlink_to("../target")
        (self.replies / "b").symlink_to("../new")
        for name in ("a", "b"):
            self.write(request("test.echo", 1, reply_name=name))
            await self.logged(f"no reply to .*/r/{name}: Too many levels of symbolic links")
        await self.assert_answers()
        assert target.data == b""
        assert not (self.directory / "new").exists()

    async def test_regular_file(self) -> None:
        """A regular file is refused, and left as it was; so is a directory."""
        file = self.replies / "a"
        file.write_text("precious")
        (self.replies / "b").mkdir()
        self.write(request("test.echo", 1, reply_name="a") + request("test.echo", 1, reply_name="b"))
        await self.logged("no reply to .*/r/a: allowed: a FIFO with one link")
        await self.logged("no reply to .*/r/b: Is a directory")
        await self.assert_answers()
        assert file.read_text() == "precious"

    async def test_changed_mode(self) -> None:
        """A FIFO whose client has changed its mode gets its reply, be the directory writable or not."""
        for number, mode in enumerate((0o700, 0o500)):
            reader = self.reader("a")
            (self.replies / "a").chmod(0o622)
            self.replies.chmod(mode)
            self.write(request("test.echo", number, reply_name="a"))
            assert await reader.reply() == result(number)
        self.replies.chmod(0o700)

    async def test_two_links(self) -> None:
        """A FIFO that has another name elsewhere is refused."""
        reader = self.reader("a")
        os.link(self.replies / "a", self.directory / "other")
        self.write(request("test.echo", 1, reply_name="a"))
        await self.logged("no reply to .*/r/a: allowed: a FIFO with one link")
        await self.assert_answers()
        assert reader.data == b""

    async def test_link_swapped_away(self) -> None:
        """Nothing is written to a FIFO elsewhere by a hard link that is replaced as soon as it is opened."""
        victim = ReplyFifo(self.directory / "victim")
        self.addCleanup(victim.close)
        own = self.reader("own")
        os.utime(self.directory / "victim", (0, 0))  # it is not as new as the link
        os.link(self.directory / "victim", self.replies / "a")
        self.on_fstat(lambda: os.rename(self.replies / "own", self.replies / "a"))
        self.write(request("test.echo", 1, reply_name="a"))
        await self.logged("no reply to .*/r/a: allowed: a FIFO with one link")
        await self.assert_answers()
        assert (victim.data, own.data) == (b"", b"")

    async def test_link_removed(self) -> None:
        """Nor does one that is removed as soon as it is opened."""
        victim = ReplyFifo(self.directory / "victim")
        self.addCleanup(victim.close)
        os.utime(self.directory / "victim", (0, 0))  # it is not as new as the link
        os.link(self.directory / "victim", self.replies / "a")
        self.on_fstat((self.replies / "a").unlink)
        self.write(request("test.echo", 1, reply_name="a"))
        await self.logged("no reply to .*/r/a: allowed: a FIFO with one link")
        await self.assert_answers()
        assert victim.data == b""

    async def test_fifo_removed_by_its_client(self) -> None:
        """A client that removes its FIFO, or replaces it, as soon as the server has opened it gets its reply."""
        for change in (
            (self.replies / "a").unlink,
            lambda: os.rename(self.replies / "b", self.replies / "a"),
        ):
            reader, _ = self.reader("a"), self.reader("b")
            self.on_fstat(change)
            self.write(request("test.echo", 1, reply_name="a"))
            assert await reader.reply() == result(1)

    async def test_link_as_new_as_the_fifo(self) -> None:
        """Where anybody can link FIFOs of others, a link made in the tick in which a FIFO was made gets nothing."""
        replies = self.service._replies
        assert replies is not None
        replies._sole_names.links_protected = False
        victim = ReplyFifo(self.directory / "victim")
        self.addCleanup(victim.close)
        os.link(self.directory / "victim", self.replies / "a")
        self.on_fstat((self.replies / "a").unlink)
        self.write(request("test.echo", 1, reply_name="a"))
        await self.logged("no reply to .*/r/a: allowed: a FIFO with one link")
        await self.assert_answers()
        assert victim.data == b""

    def on_fstat(self, change: Callable[[], object]) -> None:
        """Change something when the server looks at what it has opened."""
        fstat = os.fstat

        def changing(fd: int) -> os.stat_result:
            patched.restore()
            change()
            return fstat(fd)

        patched = self.patch(os, "fstat", changing)

    async def test_directory_replaced(self) -> None:
        """Replies stay in the directory that was there at the start, whatever takes its name."""
        reader = self.reader("a")
        self.replies.rename(self.directory / "moved")
        self.replies.mkdir()
        trap = self.reader("a")
        self.write(request("test.echo", 1, reply_name="a"))
        assert await reader.reply() == result(1)
        assert trap.data == b""


class NoReaderTests(FifoCase):
    """Reply FIFOs that nobody has opened yet."""

    async def test_others_answered_meanwhile(self) -> None:
        """While the FIFO of one client waits for its reader, others are answered; then it gets its reply too."""
        os.mkfifo(self.replies / "late")
        self.write(request("test.echo", "late", reply_name="late") + request("test.echo", "x", reply_name="late"))
        for number in range(3):
            await self.assert_answers(f"a{number}")
        assert not [line for line in self.log if "no reply" in line]
        reader = self.reader("late")
        whole = await reader.whole()
        assert whole.startswith(b'{"jsonrpc":"2.0","result":"late","id":1}'), whole

    @pytest.mark.slow
    async def test_nobody_ever(self) -> None:
        """A FIFO that nobody opens is given up with a line in the log, and stays."""
        os.mkfifo(self.replies / "late")
        self.write(request("test.echo", "late", reply_name="late"))
        await self.logged("no reply to .*/r/late: No such device or address")
        assert (self.replies / "late").is_fifo()
        await self.assert_answers()

    async def test_stop(self) -> None:
        """At the stop, what was written before is answered, and replies wait for a reader as long as ever."""
        await self.turns()
        before = set(reactor.getDelayedCalls())
        os.mkfifo(self.replies / "late")
        self.write(request("test.echo", "late", reply_name="late"))
        await self.assert_answers()
        last = self.reader("last")
        self.write(request("test.echo", "last", reply_name="last"))
        stopped = self.service.stopService()
        assert await last.reply() == result("last")
        assert await self.reader("late").reply() == result("late")
        await stopped
        assert set(reactor.getDelayedCalls()) <= before


class RetryTests(SynchronousTestCase):
    """When a reply FIFO without a reader is tried again."""

    def setUp(self) -> None:
        directory = make_directory(self)
        fd = os.open(directory, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        self.path = directory / "a"
        os.mkfifo(self.path)
        self.clock = Clock()
        self.fifos = ReplyFifos(fd, str(directory), 2, self.clock)

    def open(self) -> int:
        fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, fd)
        return fd

    def test_every_try(self) -> None:
        """It is tried at once and 4 times more at 80 ms: a reader that is there at any of them gets the reply."""
        assert (OPEN_TRIES, OPEN_DELAY) == (5, 0.08)
        for tries in range(OPEN_TRIES):
            reader = -1
            if tries == 0:
                reader = self.open()
            self.fifos.send("a", b"reply")
            for number in range(1, tries + 1):
                if number == tries:
                    reader = self.open()
                    self.clock.advance(OPEN_DELAY - 0.001)
                    assert os.read(reader, 100) == b""
                    self.clock.advance(0.001)
                else:
                    self.clock.advance(OPEN_DELAY)
            assert os.read(reader, 100) == b"reply"
            assert self.clock.getDelayedCalls() == []
            os.unlink(self.path)  # readers of before must not count
            os.mkfifo(self.path)

    def test_no_more(self) -> None:
        """After the last try it is given up: a reader that comes later gets nothing."""
        self.fifos.send("a", b"reply")
        self.clock.pump([OPEN_DELAY] * (OPEN_TRIES - 2))
        assert len(self.clock.getDelayedCalls()) == 1
        self.clock.advance(OPEN_DELAY)
        assert self.clock.getDelayedCalls() == []
        reader = self.open()
        self.clock.advance(10)
        assert os.read(reader, 100) == b""

    def test_only_without_a_reader(self) -> None:
        """What else hinders the reply is not tried again."""
        os.unlink(self.path)
        self.fifos.send("a", b"reply")
        assert self.clock.getDelayedCalls() == []

    def test_cheat_between_tries(self) -> None:
        """What takes the FIFO's place between two tries is checked as at the first."""
        self.fifos.send("a", b"reply")
        os.unlink(self.path)
        self.path.write_text("precious")
        self.clock.advance(OPEN_DELAY)
        assert self.path.read_text() == "precious"
        assert self.clock.getDelayedCalls() == []


class LargeReplyTests(FifoCase):
    """Replies that no queue holds at once."""

    SIZE = 3_000_000

    async def test_beyond_the_pipe_buffer(self) -> None:
        """Replies beyond the pipe's buffer arrive whole, at once or as the reader takes them."""
        for size in (65_000, 65_536, 200_000, 1_048_577, self.SIZE):
            reader = self.reader("a")
            self.write(request("test.big", size, reply_name="a"))
            assert await reader.reply() == result(self.commands.big(size))

    async def test_stalled_reader(self) -> None:
        """A reader that stalls delays no other client, and gets its reply whole when it goes on."""
        stalled = self.reader("a", reading=False)
        self.write(request("test.big", self.SIZE, reply_name="a"))
        for number in range(5):
            await self.assert_answers(f"b{number}")
        stalled.startReading()
        assert await stalled.reply() == result(self.commands.big(self.SIZE))

    async def test_nothing_stays(self) -> None:
        """Of a reply that its reader took slowly, or not to its end, nothing stays in memory."""
        slow, leaver = self.reader("a", reading=False), self.reader("b", reading=False)
        self.write(request("test.big", self.SIZE, reply_name="a") + request("test.big", self.SIZE, reply_name="b"))
        await self.assert_answers("c")
        slow.startReading()
        await slow.reply()
        leaver.close()
        await self.logged("no reply to .*/r/b: ")
        await self.turns()
        gc.collect()
        kept = [found for found in gc.get_objects() if isinstance(found, fifo._ReplyWriter)]
        assert kept == []

    async def test_reader_goes_away(self) -> None:
        """A reader that goes away in the middle of its reply harms nothing, and the log says it."""
        leaver = self.reader("a", reading=False)
        self.write(request("test.big", self.SIZE, reply_name="a"))
        await self.assert_answers("b")
        leaver.close()
        await self.logged("no reply to .*/r/a: ")
        await self.assert_answers("c")

    async def test_stop(self) -> None:
        """At the stop, a reply that is being written is written to its end."""
        stalled = self.reader("a", reading=False)
        self.write(request("test.big", self.SIZE, reply_name="a"))
        await self.assert_answers("b")
        stopped = self.service.stopService()
        stalled.startReading()
        assert len((await stalled.reply())["result"]) == self.SIZE
        await stopped


class WaitingTests(FifoCase):
    """Replies that wait for slow readers: in order, and limited."""

    SIZE = 1_500_000

    def setUp(self) -> None:
        self.patch(fifo, "MAX_BYTES", 5 * self.SIZE)
        super().setUp()

    def ask(self, name: str, count: int = 1) -> list[dict[str, object]]:
        """Ask for large replies to the FIFO of a name.

        @return: what they should be.
        """
        for id in range(count):
            self.write(request("test.big", self.SIZE, id=id, reply_name=name))
        return [result(self.commands.big(self.SIZE), id) for id in range(count)]

    async def test_order(self) -> None:
        """Large replies to one FIFO come one after the other, each whole."""
        stalled = self.reader("a", reading=False)
        expected = self.ask("a", 2)
        await self.assert_answers("b")
        stalled.startReading()
        data = await stalled.whole()
        if len(data) < 2 * self.SIZE:  # it has seen the end of the first
            data += await self.reader("a").whole()
        wanted = "".join(json.dumps(one, separators=(",", ":")) for one in expected)
        assert data.decode() == wanted

    @pytest.mark.slow
    async def test_bytes_of_one(self) -> None:
        """A reader that stalls has half of the bytes at the most; its oldest replies are dropped, counted and logged,
        and others get theirs.
        """
        self.reader("a", reading=False)
        self.ask("a", 5)
        await self.logged("no reply to .*/r/a: newer replies to it wait")
        await self.assert_answers("b")
        assert self.dispatcher.traffic("fifo").dropped.value == 3
        others = self.reader("c", reading=False)
        expected = self.ask("c")
        await self.assert_answers("d")
        others.startReading()
        assert [await others.reply()] == expected

    async def test_open_files(self) -> None:
        """Slow readers do not take all descriptors: of too many, the one that was first loses its reply."""
        self.patch(fifo, "MAX_BEGUN", 2)
        readers = [self.reader(name, reading=False) for name in "abcd"]
        expected = [self.ask(name) for name in "abcd"]
        await self.logged("no reply to .*/r/a: too many")
        await self.logged("no reply to .*/r/b: too many")
        for reader in readers:
            reader.startReading()
        assert len(await readers[0].whole()) < self.SIZE
        for reader, replies in zip(readers[2:], expected[2:], strict=True):
            assert [await reader.reply()] == replies


class DeadlineTests(FifoCase):
    """The time that a reader has."""

    settings = {"fifo_timeout": 100}

    async def test_deadline(self) -> None:
        """A reply that its reader does not take in time is ended, with a line in the log, and others are answered."""
        stalled = self.reader("a", reading=False)
        self.write(request("test.big", LargeReplyTests.SIZE, reply_name="a"))
        await self.logged(r"no reply to .*/r/a: its reader took 0\.1 s and more")
        stalled.startReading()
        whole = await stalled.whole()
        assert 0 < len(whole) < LargeReplyTests.SIZE
        await self.assert_answers("b")


class ServiceTests(FifoCase):
    """The FIFO itself: made at the start, gone at the stop."""

    settings = {"fifo_mode": 0o622, "fifo_user": os.geteuid(), "fifo_group": os.getegid()}

    def test_mode_and_owner(self) -> None:
        """The FIFO has the mode, the user and the group of the settings."""
        status = os.lstat(self.path)
        assert stat.S_ISFIFO(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o622
        assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())

    def test_default_mode(self) -> None:
        """Without a mode of its own it has 0660."""
        self.service.stopService()
        self.service = self.make_service()
        self.addCleanup(self.service.stopService)
        self.service.startService()
        assert stat.S_IMODE(os.lstat(self.path).st_mode) == 432

    def test_gone_at_the_stop(self) -> None:
        """The FIFO and all descriptors are gone after the stop; a second stop does no harm."""
        before = len(os.listdir("/proc/self/fd"))
        assert str(self.service.listener) == f"fifo {self.path.absolute()}"
        self.service.stopService()
        assert not os.path.lexists(self.path)
        assert self.service.listener is None
        assert len(os.listdir("/proc/self/fd")) == before - 3  # the FIFO, the directory, and what watches the FIFO
        self.service.stopService()

    def test_anothers_file_stays(self) -> None:
        """What another made in the place of the FIFO stays at the stop."""
        os.unlink(self.path)
        os.mkfifo(self.path)
        inode = os.lstat(self.path).st_ino
        self.service.stopService()
        assert os.lstat(self.path).st_ino == inode

    async def test_started_again(self) -> None:
        """A service that was stopped can be started again, and answers."""
        self.service.stopService()
        self.service.startService()
        self.writer = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, self.writer)
        await self.assert_answers()

    async def test_two_servers(self) -> None:
        """A second server is refused the FIFO of a running one, which goes on."""
        second = self.make_service()
        error = start_error(second)
        assert str(error) == f"fifo_name: {self.path}: in use by a running server; allowed: a path of its own for each"
        second.stopService()
        await self.assert_answers()

    async def test_dead_server(self) -> None:
        """The FIFO of a server that died is replaced."""
        self.service.stopService()
        os.mkfifo(self.path)
        await self.test_started_again()

    def test_no_reply_directory(self) -> None:
        """Without a directory for the replies it does not start, and the error says what is allowed."""
        (self.directory / "file").touch()
        self.service.stopService()
        for name, reason in (("nowhere", "No such file or directory"), ("file", "Not a directory")):
            second = self.make_service(fifo_reply_dir=name)
            error = start_error(second)
            assert str(error) == f"fifo_reply_dir: {self.directory / name}: {reason}; allowed: a directory"
            assert not os.path.lexists(self.path)

    def test_unreadable_for_the_server(self) -> None:
        """A mode that keeps the server itself out is refused with what is allowed, and no FIFO stays."""
        self.service.stopService()
        self.directory.parent.chmod(0o755)
        self.directory.chmod(0o777)
        second = self.make_service(fifo_mode=0o066)
        with ordinary_user():
            error = start_error(second)
        assert not os.path.lexists(self.path)
        assert re.search(r"^fifo_(name|mode): .*denied; allowed: ", str(error))
