"""The FIFO: requests are written to one that the server made, replies go to one that the client made."""

import contextlib
import errno
import fcntl
import os
import re
import stat
from functools import lru_cache
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet import abstract
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Reply
from jsonrpcs_tx.rpc.envelope import reply_name
from jsonrpcs_tx.state.counters import Counter
from jsonrpcs_tx.transports import Listener
from jsonrpcs_tx.transports.files import Access, FileKeeper, OwnFile, make_fifo, replaced
from jsonrpcs_tx.transports.framing import Framer
from jsonrpcs_tx.transports.persistentreader import PersistentReader

_log = make_logger(__name__)

FIFO: Final = "fifo"
"""The name of the transport."""

READ_SIZE: Final = 65_536
"""Bytes that are read at once: the size of a FIFO's queue."""

MAX_REPLY_PATH: Final = 127
"""Bytes of a reply FIFO's path, as in Kamailio."""

OPEN_TRIES: Final = 5
"""How often a reply FIFO is opened before it is given up that nobody reads; Kamailio does the same."""

OPEN_DELAY: Final = 0.08
"""Seconds between two tries."""

_TRY_AGAIN: Final = (errno.ENXIO, errno.EMFILE, errno.ENFILE)
"""What passes: nobody reads yet, or too many files are open."""

_FORBIDDEN: Final = re.compile(r"[./\\\0]")
"""What the name of a reply FIFO must not have."""

MAX_NAMES: Final = 1024
"""Names of reply FIFOs that need not be looked at again."""

_TOO_LONG: Final = f"too long; allowed: {MAX_REPLY_PATH} bytes with the directory"

_REPLY_FLAGS: Final = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
"""With which a reply FIFO is opened."""

MAX_PIPE_SIZE: Final = 1_048_576
"""Bytes that a FIFO's queue can be made to hold, unless the machine is set otherwise."""


class FifoReader(PersistentReader):
    """Answers the documents that come over a FIFO.

    @param fd: opened for reading and writing, so that it never ends, and non-blocking; whoever gives it closes it.
    @param dispatcher: answers the documents.
    @param replies: takes the replies to the clients.
    @param max_request: bytes of a document above which it is given up.
    @param timeout: seconds from the first byte of a document after which it is given up if it is not whole.
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
        self.origin = dispatcher.origin(FIFO)
        self.timeout = timeout
        self.framer = Framer(max_request)
        self._clock: IReactorTime = reactor
        self._deadline: Any = None
        self._awaited = 0

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return FIFO

    def doRead(self) -> None:
        try:
            data = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return
        self.data_received(data)

    def data_received(self, data: bytes) -> None:
        """Answer the documents that the data completes."""
        self._answer_all(self.framer.feed(data))
        self._watch()

    def finish(self) -> None:
        """Read no more, but for what has come before; an unfinished document is dropped."""
        self.stopReading()
        self.doRead()
        self._watch_no_more()

    def _watch(self) -> None:
        """See to it that an unfinished document is given up in time. What comes later does not put that off."""
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

    def _give_up(self) -> None:
        self._deadline = None
        self._awaited = 0
        self._answer_all(self.framer.give_up())
        self._watch()

    def _answer_all(self, documents: list[bytes]) -> None:
        for document in documents:
            request = self._dispatcher.decode(document)
            name = reply_name(request, document)
            if name is None:
                _log.warn("fifo: not run, it has no reply_name: {document}", document=document)
                continue
            reply = self._dispatcher.dispatch(document, self.origin, request)
            if type(reply) is not Reply:
                self._replies.send_when_there(name, reply)
            elif reply.body:
                self._replies.send(name, reply.body)


class ReplyFifos:
    """Writes replies to the FIFOs that clients made in one directory, without ever waiting for one.

    @param directory: a descriptor of the directory; whoever gives it closes it.
    @param path: the directory's path as the setting has it, for messages and the limit of a path's length.
    @param timeout: seconds to wait for a reader that does not take the whole reply at once.
    @param dropped: counts replies that could not be delivered.
    @ivar timeout: may be set at any time.
    """

    def __init__(self, directory: int, path: str, timeout: float, reactor: Any, dropped: Counter | None = None) -> None:
        self._directory = directory
        self._path = os.path.join(path, "")
        self._room = MAX_REPLY_PATH - len(os.fsencode(self._path))
        self._check = lru_cache(MAX_NAMES)(self._find_problem)
        self.timeout = timeout
        self._reactor = reactor
        self._links_protected = _links_are_protected()
        self._dropped = Counter("fifo", "dropped") if dropped is None else dropped
        self._retries: set[Any] = set()
        self._finished: Deferred[None] | None = None
        self._writers: set[_ReplyWriter] = set()
        self._delayed = 0

    def send_when_there(self, name: str, later: Deferred[Reply]) -> None:
        """Write the reply to a batch that has given way, when it is there."""

        def send(reply: Reply) -> None:
            self._delayed -= 1
            if reply.body:
                self.send(name, reply.body)
            self._check_finished()

        self._delayed += 1
        later.addCallback(send)

    def send(self, name: str, body: bytes, count: int = 1) -> None:
        """Write a reply to the FIFO of that name; what hinders it is logged.

        A FIFO that nobody has opened for reading is tried again, L{OPEN_TRIES} times in all.

        @param count: which time it is.
        """
        problem = self._check(name) if len(name) <= self._room else _TOO_LONG  # longer ones are not to be remembered
        if problem is not None:
            self._warn(name, problem)
            return
        try:
            fd = os.open(name.encode(), _REPLY_FLAGS, dir_fd=self._directory)
        except OSError as error:
            if error.errno in _TRY_AGAIN and count < OPEN_TRIES:
                self._send_later(name, body, count + 1)
            else:
                self._warn(name, str(error.strerror))
            return
        if not self._is_only_name(fd, name):
            os.close(fd)
            self._warn(name, "allowed: a FIFO with one link")
            return
        size = len(body)
        if size > READ_SIZE:
            with contextlib.suppress(OSError):
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, min(size, MAX_PIPE_SIZE))
        try:
            written = os.write(fd, body)
        except BlockingIOError:
            written = 0
        except OSError as error:
            os.close(fd)
            self._warn(name, str(error.strerror))
            return
        if written == size:
            os.close(fd)
        else:
            self._write_rest(name, fd, body[written:])

    def finish(self) -> Deferred[None]:
        """@return: a Deferred that fires with None when all replies are written, or given up."""
        self._finished = Deferred()
        self._check_finished()
        return self._finished

    def _check_finished(self) -> None:
        waits = self._retries or self._writers or self._delayed
        if self._finished is not None and not waits and not self._finished.called:
            self._finished.callback(None)

    def _find_problem(self, name: str) -> str | None:
        """What is wrong with the name of a FIFO."""
        if not name:
            return "an empty name"
        forbidden = _FORBIDDEN.search(name)
        if forbidden is not None:
            return f"forbidden character {forbidden[0]!r}; allowed: a name without '.', '/', '\\' and NUL"
        if len(name.encode()) > self._room:
            return _TOO_LONG
        return None

    def _is_only_name(self, fd: int, name: str) -> bool:
        """Whether what was opened is a FIFO that has no other name, or none at all any more.

        The count of links alone is not enough: when a hard link to somebody else's FIFO is opened and replaced at
        once, there is one link again. But making a link and removing one each set the time of change, and nothing else
        sets that of the last write with it; so where both are the same, as in a new FIFO, there were no other links.
        A link made in the same tick of the clock is not seen so: that is trusted only where others cannot link at all.
        """
        opened = os.fstat(fd)
        if not stat.S_ISFIFO(opened.st_mode):
            return False
        if opened.st_nlink == 1:
            unchanged = self._links_protected and opened.st_ctime_ns == opened.st_mtime_ns
            return unchanged or self._still_has_name(fd, name, opened)
        return not opened.st_nlink

    def _still_has_name(self, fd: int, name: str, opened: os.stat_result) -> bool:
        """Whether the only link of what was opened is the name, or it has lost that one as well."""
        with contextlib.suppress(OSError):
            # Changes nothing, but waits for whoever replaces the name right now: the link is gone before the name is.
            os.rename(name, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        with contextlib.suppress(FileNotFoundError):
            named = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
            if named.st_ino == opened.st_ino and named.st_dev == opened.st_dev:
                return os.fstat(fd).st_ctime_ns == opened.st_ctime_ns  # no link was made or removed since
        return not os.fstat(fd).st_nlink

    def _send_later(self, name: str, body: bytes, count: int) -> None:
        def again() -> None:
            self._retries.discard(retry)
            self.send(name, body, count)
            self._check_finished()

        retry = self._reactor.callLater(OPEN_DELAY, again)
        self._retries.add(retry)

    def _write_rest(self, name: str, fd: int, rest: bytes) -> None:
        def done(problem: str | None) -> None:
            self._writers.discard(writer)
            if problem is not None:
                self._warn(name, problem)
            self._check_finished()

        writer = _ReplyWriter(fd, rest, self.timeout, done, self._reactor)
        self._writers.add(writer)

    def _warn(self, name: str, problem: str) -> None:
        self._dropped.value += 1
        _log.warn("fifo: no reply to {path}{name}: {problem}", path=self._path, name=name, problem=problem)


class _ReplyWriter(abstract.FileDescriptor):
    """Writes the rest of a reply as its reader takes it, up to a deadline.

    @param done: called once at the end, with what went wrong, or None.
    """

    def __init__(self, fd: int, rest: bytes, timeout: float, done: Any, reactor: Any) -> None:
        super().__init__(reactor)
        self._fd = fd
        self._rest = memoryview(rest)
        self._done = done
        self._deadline = reactor.callLater(timeout, self._give_up, timeout)
        self.startWriting()

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "fifo reply"

    def doWrite(self) -> None:
        try:
            self._rest = self._rest[os.write(self._fd, self._rest) :]
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error.strerror)
            return
        if not self._rest:
            self._end(None)

    def connectionLost(self, reason: Failure) -> None:
        self._end(reason.getErrorMessage())

    def _give_up(self, timeout: float) -> None:
        self._end(f"its reader took {timeout:g} s and more")

    def _end(self, problem: str | None) -> None:
        if self._fd < 0:
            return
        if self._deadline.active():
            self._deadline.cancel()
        self.stopWriting()
        os.close(self._fd)
        self._fd = -1
        self._done(problem)


def _links_are_protected() -> bool:
    """Whether users of this machine cannot make hard links to FIFOs of others (proc(5), protected_hardlinks)."""
    try:
        with open("/proc/sys/fs/protected_hardlinks", "rb") as file:
            return file.read().strip() != b"0"
    except OSError:
        return False


class FifoService(Service):
    """Makes the FIFO, again if it is removed, answers what comes over it, and removes it.

    @ivar listener: the FIFO; None while there is none.
    """

    listener: Listener | None = None

    def __init__(self, settings: Settings, dispatcher: Dispatcher, reactor: Any) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._reactor = reactor
        self._file: OwnFile | None = None
        self._keeper = FileKeeper(self, reactor)
        self._fds: list[int] = []
        self._reader: FifoReader | None = None
        self._replies: ReplyFifos | None = None

    def settings_changed(self, settings: Settings) -> None:
        """Take on what a change of settings means for a running server: C{fifo_timeout} and C{fifo_max_request}."""
        self._settings = settings
        if self._reader is not None and self._replies is not None:
            self._reader.timeout = self._replies.timeout = settings.fifo_timeout / 1000
            self._reader.framer.limit = settings.fifo_max_request

    def privilegedStartService(self) -> None:
        """Make the FIFO, while the process may still do so.

        @raise StartError: it cannot be made, or there is no directory for the replies.
        """
        if self._file is not None:
            return
        settings = self._settings
        path, reply_dir = settings.path(settings.fifo_name), settings.path(settings.fifo_reply_dir)
        try:
            directory = os.open(reply_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StartError("fifo_reply_dir", reply_dir, error.strerror, "a directory") from None
        self._fds.append(directory)
        access = Access("fifo", settings.fifo_mode, settings.fifo_user, settings.fifo_group)
        try:
            self._file = make_fifo("fifo_name", path, access)
            self._fds.append(self._file.open(os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        except StartError:
            self._close()
            raise
        except FileNotFoundError:
            self._close()
            raise replaced("fifo_name", path) from None
        except OSError as error:
            self._close()
            allowed = "a mode with which the server may read and write it"
            raise StartError("fifo_mode", path, error.strerror, allowed) from None
        timeout = settings.fifo_timeout / 1000
        dropped = self._dispatcher.traffic(FIFO).dropped
        self._replies = ReplyFifos(directory, reply_dir, timeout, self._reactor, dropped)
        self._reader = FifoReader(
            self._fds[1], self._dispatcher, self._replies, settings.fifo_max_request, timeout, self._reactor
        )
        self.listener = Listener("fifo", os.path.abspath(path))
        _log.info("listening on {listener}", listener=self.listener)

    def startService(self) -> None:
        self.privilegedStartService()
        super().startService()
        assert self._reader is not None
        self._reader.startReading()
        assert self._file is not None
        self._keeper.keep(self._file)

    def stopService(self) -> Deferred[None]:
        """@return: a Deferred that fires with None when all that came before is answered, and the FIFO is gone."""
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
        if self._file is not None:
            self._file.remove()
            self._file = None
