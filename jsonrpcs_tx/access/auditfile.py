"""The file of an audit log. A line is in it before its call is answered, or where many come at once, by the end of the
same turn of the reactor; those of datagrams always before. A slow disk is left to a thread.
"""

import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

from jsonrpcs_tx.access.auditentries import Entry, Note, as_lines
from jsonrpcs_tx.errors import NotAllowed
from jsonrpcs_tx.files.appendfile import AppendFile
from jsonrpcs_tx.files.safefiles import open_to_append
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

PAUSE: Final = 0.00005
"""Seconds after a line in which further lines wait for the end of the reactor's turn, to be written together."""

SLOW: Final = 0.05
"""Seconds that the reactor waits for the disk; then a thread does, until the disk keeps up again."""

MAX_WAITING: Final = 8 * 1024 * 1024
"""Bytes of lines that may wait for the disk; further lines are lost."""

STOP_TIME: Final = 2.0
"""Seconds that lines have to be written when the server stops."""


class AuditFile:
    """A file that lines are appended to, made with the mode 0600.

    @param path: of the file.
    @param reactor: ends its turns, and is told of lines that a thread could not write.
    @param failed: called with the number of lines that are lost, and why.
    @raise OSError: it cannot be opened.
    @raise NotAllowed: it is not a regular file of this process's user or root, or it is a link.
    """

    def __init__(self, path: str, reactor: Any, failed: Callable[[int, OSError], object]) -> None:
        self._file = AppendFile(path, 0o600, open_to_append)
        self._reactor = reactor
        self._failed = failed
        self._behind: _Behind | None = None
        self._waiting: list[Entry | Note] = []
        self._free = 0.0

    def write(self, entry: Entry | Note) -> None:
        """Append an entry, as a line of JSON.

        @raise OSError: it is lost.
        """
        if self._waiting:
            self._waiting.append(entry)
        elif monotonic() < self._free:
            self._waiting.append(entry)
            self._reactor.callLater(0, self.flush)
        else:
            self._append([entry])

    def append(self, entry: Entry | Note, surely: bool = False) -> None:
        """Append an entry at once, after those that wait.

        @param surely: it must be in the file when this returns.
        @raise OSError: it is lost; or, with C{surely}, a thread writes at the moment, and nobody knows yet whether it
            can be written.
        """
        self.flush()
        if surely and self._behind is not None and not self._behind.keeps_up:
            raise OSError("the disk is too slow")
        self._append([entry])

    def write_all(self, entries: Sequence[Entry | Note]) -> None:
        """Append entries at once, after those that wait.

        @raise OSError: they are lost.
        """
        if self._waiting:
            self.flush()
        self._append(entries)

    def flush(self) -> None:
        """Append the lines that wait."""
        entries, self._waiting = self._waiting, []
        if entries:
            try:
                self._append(entries)
            except OSError as error:
                self._failed(len(entries), error)

    def _append(self, entries: Sequence[Entry | Note]) -> None:
        """@raise OSError: they are lost."""
        data = as_lines(entries)
        behind = self._behind
        if behind is not None:
            if behind.add(data, len(entries)):
                return
            self._behind = None
        begun = monotonic()
        try:
            self._file.write(data)
        finally:
            ended = monotonic()
            self._free = ended + PAUSE
            if ended - begun > SLOW:
                taken = ended - begun
                _log.warn("audit: {path} takes {taken:.3g} s for a line; a thread writes", path=self.path, taken=taken)
                self._behind = _Behind(self._file, self._lost)

    @property
    def path(self) -> str:
        """The absolute path."""
        return self._file.path

    def reopen(self) -> str:
        """Open the path again; see L{AppendFile.reopen}.

        @return: the outcome, for the log.
        @raise OSError, NotAllowed: it cannot be opened; lines go to the former file.
        """
        self.flush()
        if self._behind is not None and self._behind.reopen():
            return f"{self.path}, once the disk has taken the lines before"
        self._file.reopen()
        return self.path

    def close(self) -> None:
        """Write the waiting lines, and close the file. A slow disk has L{STOP_TIME} at most."""
        self.flush()
        behind, self._behind = self._behind, None
        if behind is None or behind.end(STOP_TIME):
            self._file.close()
        else:
            self._failed(behind.waiting, OSError("the disk is too slow"))

    def _lost(self, lines: int, error: OSError) -> None:
        self._reactor.callFromThread(self._failed, lines, error)


class _Behind:
    """Writes, in a thread, what the reactor has no time to wait for, until the disk keeps up again.

    @param failed: called in the thread, with the number of lines that are lost, and why.
    """

    def __init__(self, file: AppendFile, failed: Callable[[int, OSError], object]) -> None:
        self._file = file
        self._failed = failed
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._data: list[bytes] = []
        self._size = self._lines = self._in_hand = 0
        self._reopens, self._is_slow = False, True

    def add(self, data: bytes, lines: int) -> bool:
        """Have lines written.

        @return: False if the disk keeps up again, and nothing waits: then the caller must write them itself.
        @raise OSError: too many wait.
        """
        with self._lock:
            if self._thread is None and not self._is_slow:
                return False
            if self._size + len(data) > MAX_WAITING:
                raise OSError(f"the disk is too slow: {MAX_WAITING:,} bytes wait for it")
            self._data.append(data)
            self._size += len(data)
            self._lines += lines
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="audit", daemon=True)
                self._thread.start()
            return True

    @property
    def keeps_up(self) -> bool:
        """Whether the disk keeps up again, and nothing waits."""
        with self._lock:
            return self._thread is None and not self._is_slow

    def reopen(self) -> bool:
        """Have the file opened again, after the lines so far.

        @return: False if no line waits: then the caller must do it itself.
        """
        with self._lock:
            self._reopens = self._thread is not None
            return self._reopens

    def end(self, seconds: float) -> bool:
        """Wait for the thread.

        @return: whether all lines are written.
        """
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return thread is None or not thread.is_alive()

    @property
    def waiting(self) -> int:
        """The lines that are not written yet."""
        with self._lock:
            return self._in_hand + self._lines

    def _write(self) -> None:
        while True:
            with self._lock:
                data, self._data, self._size = b"".join(self._data), [], 0
                lines = self._in_hand = self._lines
                reopens, self._lines, self._reopens = self._reopens, 0, False
                if not lines and not reopens:
                    self._thread = None
                    return
            begun = monotonic()
            try:
                if lines:
                    self._file.write(data)
            except OSError as error:
                self._failed(lines, error)
            self._is_slow = monotonic() - begun > SLOW
            if reopens:
                self._reopen()

    def _reopen(self) -> None:
        try:
            self._file.reopen()
        except (OSError, NotAllowed) as error:
            _log.error("audit log not reopened, the former one stays: {error}", error=error)
