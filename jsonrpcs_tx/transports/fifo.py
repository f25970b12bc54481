"""The FIFO: requests are written to one that the server made, replies go to one that the client made."""

import contextlib
import errno
import fcntl
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from select import PIPE_BUF
from time import monotonic
from typing import Any, Final

import msgspec
from twisted.internet import abstract
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from jsonrpcs_tx.config.kinds import passed_name
from jsonrpcs_tx.config.problems import FIRST, Problems
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.files import owners
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.envelope import reply_name
from jsonrpcs_tx.state.counters import Counter
from jsonrpcs_tx.transports.base import Listener, Transport
from jsonrpcs_tx.transports.files import FileKeeper, Ownership, check_fifo, make_fifo, replaced
from jsonrpcs_tx.transports.framing import Framer
from jsonrpcs_tx.transports.inherited import HERE, path_of
from jsonrpcs_tx.transports.parts import Parts
from jsonrpcs_tx.transports.persistentreader import PersistentReader
from jsonrpcs_tx.transports.solenames import SoleNames
from jsonrpcs_tx.transports.waiting import OVERHEAD, WaitingReplies

_log = make_logger(__name__)

FIFO: Final = "fifo"
"""The name of the transport."""

READ_SIZE: Final = 65_536
"""Bytes that are read at once: the size of a FIFO's queue."""

MAX_REPLY_PATH: Final = 127
"""Bytes of a reply FIFO's path, as in Kamailio."""

OPEN_TRIES: Final = 5
"""Attempts to open a reply FIFO that nobody reads, as in Kamailio."""

OPEN_DELAY: Final = 0.08
"""Seconds between two tries."""

_TRY_AGAIN: Final = (errno.ENXIO, errno.EMFILE, errno.ENFILE)
"""Temporary errors: nobody reads yet, or too many files are open."""

_FORBIDDEN: Final = re.compile(r"[./\\\0]")
"""Characters that the name of a reply FIFO must not have."""

_TOO_LONG: Final = f"too long; allowed: {MAX_REPLY_PATH} bytes with the directory"

_NOT_SOLE: Final = "allowed: a FIFO with one link"

_OWNER_READS_AND_WRITES: Final = 0o600

_REPLY_FLAGS: Final = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags with which a reply FIFO is opened."""

MAX_PIPE_SIZE: Final = 1_048_576
"""Bytes that a FIFO's queue can be made to hold, unless the machine is configured otherwise."""

MAX_BYTES: Final = 67_108_864
"""Bytes of replies that may wait for their readers in total. One FIFO may take up half of what the others leave."""

NAME_SHARE: Final = 2

MAX_BEGUN: Final = 256
"""Reply FIFOs that may be open because their readers are slow; for another one, the oldest reply is dropped."""


class FifoReader(PersistentReader):
    """Answers the documents that come over a FIFO.

    @param fd: opened for reading and writing, so that it never ends, and non-blocking; whoever gives it closes it.
    @param dispatcher: answers the documents.
    @param replies: takes the replies to the clients.
    @param max_request: the largest document, in bytes; a longer one is given up.
    @param timeout: seconds from the first byte of a document after which it is given up if it is incomplete.
    @ivar timeout: may be set at any time.
    @ivar framer: finds the documents.
    """

    def __init__(
        self,
        fd: int,
        dispatcher: Dispatcher,
        replies: "ReplyFifos",
        max_request: int,
        timeout: float,
        reactor: Any,
    ) -> None:
        super().__init__(reactor)
        self._fd = fd
        self._dispatcher = dispatcher
        self._replies = replies
        self.forget_caller()
        self.timeout = timeout
        self.framer: Framer = Framer(max_request)
        self._clock: IReactorTime = reactor
        self._deadline: Any = None
        self._awaited = 0
        self._documents: deque[bytes] = deque()
        self._rest: Any = None

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return FIFO

    def forget_caller(self) -> None:
        """Recreate the origin of all documents, with the facts that the rules now ask for."""
        self.origin: Origin = self._dispatcher.origin(FIFO)

    def doRead(self) -> None:
        if self._rest is not None:  # nothing more is read before all is answered
            return
        try:
            data = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return
        self.data_received(data)

    def data_received(self, data: bytes) -> None:
        """Answer the documents that the data completes."""
        documents = self.framer.feed(data)
        self._watch()
        if len(documents) == 1 and not self._documents:
            self._answer_one(documents[0])
        else:
            self._documents += documents
            self._answer(monotonic() + self.turn)

    def finish(self) -> None:
        """Read only what has already come; an unfinished document is dropped."""
        self.stopReading()
        self._answer_all()
        self.doRead()
        self._answer_all()
        self._watch_no_more()

    def _watch(self) -> None:
        """Make sure that an unfinished document is given up in time. What comes later does not give it more time."""
        awaited = self.framer.unfinished
        if awaited == self._awaited:
            return
        self._watch_no_more()
        if awaited:
            self._awaited = awaited
            self._deadline = self._clock.callLater(self.timeout, self._give_up)

    def _watch_no_more(self) -> None:
        self._awaited = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _answer_all(self) -> None:
        self._answer()
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _answer_rest(self) -> None:
        self._rest = None
        self._answer(monotonic() + self.turn)

    def _give_up(self) -> None:
        self._deadline = None
        self._awaited = 0
        self._documents += self.framer.give_up()
        self._watch()
        self._answer(monotonic() + self.turn)

    def _answer(self, end: float = inf) -> None:
        """Answer the documents that are there.

        @param end: when to leave the rest for later, by C{monotonic}.
        """
        documents = self._documents
        try:
            while documents:
                self._answer_one(documents.popleft())
                if documents and monotonic() >= end:
                    return
        finally:
            if documents and self._rest is None:  # nothing more may come, so nobody else would call this
                self._rest = self._clock.callLater(0, self._answer_rest)

    def _answer_one(self, document: bytes) -> None:
        request = self._dispatcher.read(document)
        name = reply_name(request)
        if name is None:
            _log.warn("fifo: not run, it has no reply_name: {document}", document=document)
            return
        reply = self._dispatcher.dispatch(document, self.origin, request)
        if type(reply) is not Reply:
            self._replies.send_when_there(name, reply)
        elif reply.body:
            self._replies.send(name, reply.body)


class ReplyFifos:
    """Writes replies to the FIFOs that clients made in one directory, without ever waiting for one.

    A FIFO that nobody has opened for reading is tried again, L{OPEN_TRIES} times in all. Replies to the same FIFO keep
    their order, and each begins only when the one before it is written or given up.

    @param directory: a descriptor of the directory; whoever gives it closes it.
    @param path: the directory's path as the setting has it, for messages and the limit of a path's length.
    @param timeout: seconds to wait for a reader that does not take the whole reply at once.
    @param dropped: counts replies that could not be delivered.
    """

    def __init__(self, directory: int, path: str, timeout: float, reactor: Any, dropped: Counter | None = None) -> None:
        self._directory = directory
        self._path = os.path.join(path, "")
        self._room = MAX_REPLY_PATH - len(os.fsencode(self._path))
        self._reactor = reactor
        self._sole_names = SoleNames(directory)
        self._passed = self._sole_names.passed
        self._dropped = Counter("fifo", "dropped") if dropped is None else dropped
        self._waiting: WaitingReplies[_Reply] = WaitingReplies(
            self._try, self._drop, 0, reactor, MAX_BYTES, NAME_SHARE, OPEN_DELAY
        )
        self._begun: dict[str, _Reply] = {}  # the one that was opened first comes first
        self._delayed = 0
        self._delayed_done: Deferred[None] | None = None
        self.timeout = timeout

    @property
    def timeout(self) -> float:
        """Seconds to wait for a reader; may be set at any time."""
        return self._timeout

    @timeout.setter
    def timeout(self, timeout: float) -> None:
        self._timeout = timeout
        self._waiting.timeout = timeout + OPEN_TRIES * OPEN_DELAY

    def waiting(self) -> tuple[int, int]:
        """How many replies wait for their readers, and how many bytes they take up."""
        return self._waiting.waiting()

    def send_when_there(self, name: str, later: Deferred[Reply]) -> None:
        """Write the reply to a batch that has given way, once it is complete."""

        def send(reply: Reply) -> None:
            self._delayed -= 1
            if reply.body:
                self.send(name, reply.body)
            self._check_delayed()

        self._delayed += 1
        later.addCallback(send)

    def send(self, name: str, body: bytes) -> None:
        """Write a reply to the FIFO of that name, now or when its reader takes it; what prevents that is logged."""
        if name not in self._passed:
            problem = self._find_problem(name)
            if problem is not None:
                self._drop(name, problem)
                return
        if self._waiting.size and name in self._waiting:
            self._waiting.add(_Reply(name, body, body))
        elif len(body) > PIPE_BUF or not self._write_whole(name, body):
            reply = _Reply(name, body, body)
            if not self._try(reply):
                self._waiting.add(reply)

    def _write_whole(self, name: str, body: bytes) -> bool:
        """Write, in few steps, a reply that a FIFO takes whole or not at all (pipe(7)), or give it up.

        @param body: of at most L{PIPE_BUF} bytes.
        @return: False where nothing was written, so that L{_try} finds out what is to be done.
        """
        try:
            fd = os.open(name.encode(), _REPLY_FLAGS, dir_fd=self._directory)
        except OSError:
            return False
        try:
            if self._sole_names.check(fd, name):
                return os.write(fd, body) == len(body)
        except OSError:
            return False
        finally:
            os.close(fd)
        self._drop(name, _NOT_SOLE)
        return True

    def finish(self) -> Deferred[None]:
        """@return: a Deferred that fires with None when all replies are written, or given up."""
        self._delayed_done = done = Deferred[None]()
        done.addCallback(lambda _: self._waiting.finished())
        self._check_delayed()
        return done

    def _check_delayed(self) -> None:
        if self._delayed_done is not None and not self._delayed:
            done, self._delayed_done = self._delayed_done, None
            done.callback(None)

    def _try(self, reply: "_Reply") -> bool:
        """Write a reply, as far as there is room for it, or give it up.

        @return: False where it has to wait, for a reader or for room.
        """
        fd, rest, written = reply.fd, reply.rest, 0
        try:
            if fd < 0:
                fd = self._open(reply.peer, len(rest))
            written = os.write(fd, rest)
        except BlockingIOError:
            pass
        except _NoReplyFifo as error:
            self._drop(reply.peer, str(error))
            return True
        except OSError as error:
            if fd < 0 and error.errno in _TRY_AGAIN and reply.tries < OPEN_TRIES:
                reply.tries += 1
                return False
            if reply.fd < 0 <= fd:
                os.close(fd)
            self._drop(reply.peer, str(error.strerror))
            return True
        if written == len(rest):
            if reply.fd < 0:
                os.close(fd)
            else:
                self._close(reply)
            return True
        if reply.fd < 0:
            self._begin(reply, fd)
        reply.rest = memoryview(rest)[written:]
        return self._drop_late(reply)

    def _drop_late(self, reply: "_Reply") -> bool:
        """Give up a reply whose reader has taken too long.

        @return: whether it was given up.
        """
        if 0 <= self._reactor.seconds() - reply.begun < self._timeout:  # below 0 the clock was set back
            return False
        self._drop(reply.peer, f"its reader took {self._timeout:g} s and more")
        return True

    def _open(self, name: str, size: int) -> int:
        """Open the FIFO of that name.

        @param size: of the reply, in bytes.
        @raise _NoReplyFifo: the name is not that of a FIFO that may be written to.
        @raise OSError: it cannot be opened.
        """
        fd = os.open(name.encode(), _REPLY_FLAGS, dir_fd=self._directory)
        if not self._sole_names.check(fd, name):
            os.close(fd)
            raise _NoReplyFifo(_NOT_SOLE)
        if size > READ_SIZE:
            with contextlib.suppress(OSError):
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, min(size, MAX_PIPE_SIZE))
        return fd

    def _begin(self, reply: "_Reply", fd: int) -> None:
        """Keep the FIFO of a reply open until its reader has taken all of it."""
        if len(self._begun) >= MAX_BEGUN:
            self._waiting.drop_oldest(next(iter(self._begun)), "too many readers are slower")
        peer = reply.peer  # the writer must not lead back to the reply, which the garbage collector does not see
        reply.fd = fd
        reply.begun = self._reactor.seconds()
        reply.writer = _ReplyWriter(fd, lambda: self._waiting.proceed(peer), self._reactor)
        self._begun[peer] = reply

    def _close(self, reply: "_Reply") -> None:
        reply.writer.stopWriting()
        os.close(reply.fd)
        reply.fd = -1
        del self._begun[reply.peer]

    def _drop(self, name: str, problem: str) -> None:
        """Give up the oldest reply to a name."""
        begun = self._begun.get(name)
        if begun is not None:
            self._close(begun)
        self._dropped.value += 1
        _log.warn("fifo: no reply to {path}{name}: {problem}", path=self._path, name=name, problem=problem)

    def _find_problem(self, name: str) -> str | None:
        """What is wrong with the name of a FIFO."""
        if not name:
            return "an empty name"
        if len(name.encode()) > self._room:
            return _TOO_LONG
        forbidden = _FORBIDDEN.search(name)
        if forbidden is not None:
            return f"forbidden character {forbidden[0]!r}; allowed: a name without '.', '/', '\\' and NUL"
        return None


class _NoReplyFifo(Exception):
    """The file with the name of a reply FIFO must not be written to; the message says why."""


class _Reply(msgspec.Struct, gc=False):
    """A reply on its way.

    @ivar peer: the name of the FIFO.
    @ivar body: all of it.
    @ivar rest: what is still to be written.
    @ivar tries: how many times opening the FIFO was tried.
    @ivar fd: the descriptor of the FIFO; -1 while it is not open.
    @ivar writer: tells when there is room again, while it is open.
    @ivar begun: when it was opened, by the reactor's clock.
    """

    peer: str
    body: bytes
    rest: bytes | memoryview
    tries: int = 1
    fd: int = -1
    writer: Any = None
    begun: float = 0.0

    @property
    def size(self) -> int:
        """Bytes that it takes up at first."""
        return len(self.body) + OVERHEAD


class _ReplyWriter(abstract.FileDescriptor):
    """Tells when a reply FIFO has room again.

    @param proceed: called then, or when its reader has gone.
    """

    def __init__(self, fd: int, proceed: Callable[[], None], reactor: Any) -> None:
        super().__init__(reactor)
        self._fd = fd
        self._proceed = proceed
        self.startWriting()

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "fifo reply"

    def doWrite(self) -> None:
        self._proceed()

    def connectionLost(self, reason: Failure) -> None:
        self.stopWriting()
        self._proceed()


class FifoService(Transport):
    """Makes the FIFO, again if it is removed, answers what comes over it, and removes it. One that systemd passes is
    left as it is.
    """

    protocol = FIFO
    setting = "fifo_name"
    path: str | None = None

    def __init__(self, settings: Settings, dispatcher: Dispatcher, reactor: Any) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._reactor = reactor
        self._passed = passed_name(os.fspath(settings.fifo_name))
        self._keeper = FileKeeper(self, reactor)
        self._fds: list[int] = []
        self._reader: FifoReader | None = None
        self._replies: ReplyFifos | None = None

    def settings_changed(self, settings: Settings) -> None:
        """Apply a change of settings to a running server: C{fifo_timeout} and C{fifo_max_request}."""
        self._settings = settings
        if self._reader is not None and self._replies is not None:
            self._reader.timeout = self._replies.timeout = settings.fifo_timeout / 1000
            self._reader.framer.limit = settings.fifo_max_request

    def waiting(self) -> tuple[int, int]:
        return (0, 0) if self._replies is None else self._replies.waiting()

    def rules_changed(self) -> None:
        if self._reader is not None:
            self._reader.forget_caller()

    def check(self, problems: Problems) -> None:
        with problems.noted():
            os.close(self._open_reply_dir())
        if self._passed is not None:
            with problems.noted():
                HERE.check("fifo_name", self._passed)
            return
        ownership, self.path = self._ownership(), self._path()
        check_fifo("fifo_name", self.path, ownership, problems)
        usable = not ownership.mode or ownership.mode & _OWNER_READS_AND_WRITES == _OWNER_READS_AND_WRITES
        if not usable and not owners.has_capability(owners.CAP_DAC_OVERRIDE):
            problems.note(self._unusable_mode(os.strerror(errno.EACCES)))

    def _unusable_mode(self, reason: str | None) -> StartError:
        return StartError("fifo_mode", self._path(), reason, "a mode with which the server may read and write it")

    def _path(self) -> str:
        return self._settings.path(self._settings.fifo_name)

    def _ownership(self) -> Ownership:
        settings = self._settings
        return Ownership("fifo", settings.fifo_mode, settings.fifo_user, settings.fifo_group)

    def _open_reply_dir(self) -> int:
        """@return: a descriptor of the directory for the replies.
        @raise StartError: there is no such directory.
        """
        reply_dir = self._settings.path(self._settings.fifo_reply_dir)
        try:
            return os.open(reply_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StartError("fifo_reply_dir", reply_dir, error.strerror, "a directory") from None

    def privilegedStartService(self) -> None:
        """Make the FIFO, while the process may still do so.

        @raise StartError: it cannot be made, or there is no directory for the replies.
        """
        if self._fds:
            return
        self.check(FIRST)
        settings = self._settings
        reply_dir = settings.path(settings.fifo_reply_dir)
        directory = self._open_reply_dir()
        self._fds.append(directory)
        try:
            self._fds.append(self._open())
        except StartError:
            self._close()
            raise
        timeout = settings.fifo_timeout / 1000
        dropped = self._dispatcher.traffic(FIFO).dropped
        self._replies = ReplyFifos(directory, reply_dir, timeout, self._reactor, dropped)
        self._reader = FifoReader(
            self._fds[1], self._dispatcher, self._replies, settings.fifo_max_request, timeout, self._reactor
        )
        path = path_of(self._fds[1]) if self.file is None else os.path.abspath(self.file.path)
        self.listener = Listener("fifo", path)
        _log.info("listening on {listener}", listener=self.listener)

    def _open(self) -> int:
        """Make the FIFO, or take the one that systemd passes.

        @return: a descriptor of it.
        @raise StartError: it cannot be made, or was not passed.
        """
        if self._passed is not None:
            return HERE.fifo("fifo_name", self._passed)
        path = self._path()
        self.file = make_fifo("fifo_name", path, self._ownership())
        try:
            return self.file.open(os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise replaced("fifo_name", path) from None
        except OSError as error:
            raise self._unusable_mode(error.strerror) from None

    def startService(self) -> None:
        super().startService()
        assert self._reader is not None
        self._reader.startReading()
        if self.file is not None:
            self._keeper.keep(self.file)

    def stopService(self) -> Deferred[None]:
        """@return: a Deferred that fires with None when everything that came before is answered, and the FIFO is
        removed.
        """
        super().stopService()
        self._keeper.stop()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.finish()
        replies, self._replies = self._replies, None
        finished = succeed(None) if replies is None else replies.finish()
        return finished.addCallback(lambda _: self._close())

    def _close(self) -> None:
        self.listener = None
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        if self.file is not None:
            self.file.remove()
            self.file = None


def make_transports(parts: Parts) -> Iterator[FifoService]:
    """The service for C{fifo_name}, if that is set."""
    if parts.settings.fifo_name:
        yield FifoService(parts.settings, parts.dispatcher, parts.reactor)
