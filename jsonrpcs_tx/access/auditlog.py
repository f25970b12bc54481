"""The audit log: who has changed what, and who was refused. Chooses where it goes, and counts lost lines."""

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from msgspec import UNSET
from twisted.application.service import Service

from jsonrpcs_tx.access.auditentries import Entry, Note, fields, now
from jsonrpcs_tx.access.auditfile import AuditFile
from jsonrpcs_tx.config.problems import Problems
from jsonrpcs_tx.errors import NotAllowed, StartError
from jsonrpcs_tx.files.safefiles import check_to_append, weak_place
from jsonrpcs_tx.log import Throttle, make_logger
from jsonrpcs_tx.logs.journal import SOCKET, Journal
from jsonrpcs_tx.state.counters import Counters

_log = make_logger(__name__)

JOURNALD: Final = "journald"
"""The target that stands for systemd's journal."""

BURST: Final = 1000
"""Refused calls that get lines in a burst, so that nobody who may not call fills the disk."""

RATE: Final = 10.0
"""Refused calls that get lines in each second, in the long run."""

MAX_EARLY: Final = 1000
"""Lines that wait for the log to be opened, of calls by a program whose server does not run."""


class _Sink(Protocol):
    """Where entries go."""

    def write(self, entry: Entry | Note) -> None:
        """@raise OSError: the entry is lost."""

    def append(self, entry: Entry | Note, surely: bool = False) -> None:
        """Write an entry at once.

        @param surely: it must be written when this returns.
        @raise OSError: the entry is lost, or not written.
        """

    def flush(self) -> None:
        """Write the entries that wait, and report those that are lost."""

    def reopen(self) -> str:
        """@return: the outcome, for the log."""

    def close(self) -> None: ...


class AuditLog(Service):
    """Writes entries, from the start of the server to its stop. A failure stops nothing: it is logged, and lost lines
    are counted; the audit log tells of them as soon as it can be written again.

    @param target: the path of a file, or L{JOURNALD}.
    @param everything: enter calls that only read as well.
    @param journal: the path of the journal's socket.
    @param required: calls that change something need an entry before they are run.
    @ivar everything: see above.
    @ivar required: see above.
    @ivar followers: called with each entry, whether it can be written or not.
    @ivar problem: why lines are lost at the moment; None if they can be written, as far as that is known.
    """

    def __init__(
        self,
        target: str,
        everything: bool,
        counters: Counters,
        reactor: Any,
        journal: str = SOCKET,
        required: bool = False,
    ) -> None:
        self.everything = everything
        self.required = required
        self._target = target
        self._reactor = reactor
        self._journal = journal
        self._sink: _Sink | None = None
        self._early: list[Entry | Note] = []
        self.followers: list[Callable[[Entry | Note], object]] = []
        self._throttle = Throttle(reactor.seconds, BURST, RATE)
        self.problem: str | None = None
        self._untold = self._held_back = 0
        self._lines = counters.counter("audit", "lines", "calls that were written to the audit log")
        self._lost = counters.counter("audit", "lost", "lines of the audit log that could not be written")
        self._refused = counters.counter("audit", "held_back", "refused calls without a line, as there were too many")

    def startService(self) -> None:
        """Open the log.

        @raise StartError: it cannot be opened.
        """
        if self._sink is None:
            self._sink = self._open()
        super().startService()
        early, self._early = self._early, []
        for entry in early:
            self._write(entry)

    def stopService(self) -> None:
        super().stopService()
        if self._sink is not None:
            self._tell(self._held_back)
            sink, self._sink = self._sink, None
            sink.close()

    def reopen(self) -> str:
        """Open the file again, after logrotate has renamed it.

        @return: the outcome, for the log.
        @raise OSError, NotAllowed: it cannot be opened; lines go to the former file.
        """
        return "it is not open" if self._sink is None else self._sink.reopen()

    def room_for_refused(self, source: Hashable) -> int | None:
        """Ask whether there is room for the entries of a refused document.

        @param source: who has sent it: the first document from a source has room even in a flood from others.
        @return: how many were held back since the last one; None if this one is held back.
        """
        held_back = self._throttle.take(None, source)
        if held_back is None:
            self._held_back += 1
            self._refused.value += 1
        else:
            self._held_back = 0
        return held_back

    def write(self, entry: Entry | Note) -> None:
        """Write an entry."""
        for follower in self.followers:
            follower(entry)
        self._write(entry)

    def write_all(self, entries: Sequence[Entry]) -> None:
        """Write the entries of calls that are answered together, before this returns: a file takes all of them at once,
        or loses all.
        """
        for follower in self.followers:
            for entry in entries:
                follower(entry)
        if not isinstance(self._sink, AuditFile):
            for entry in entries:
                self._write(entry)
            return
        if self._untold and not self._tell():
            self._failed(len(entries), None)
            return
        try:
            self._sink.write_all(entries)
        except OSError as error:
            self._failed(len(entries), error)
        else:
            self._lines.value += len(entries)

    def _write(self, entry: Entry | Note) -> None:
        if self._sink is None:
            self._keep(entry)
            return
        if self._untold and not self._tell():
            self._failed(1, None)
            return
        try:
            self._sink.write(entry)
        except OSError as error:
            self._failed(1, error)
        else:
            self._lines.value += 1

    def write_now(self, entry: Entry) -> None:
        """Write an entry without which the call must not be run.

        @raise OSError: it is not written. It does not count as lost, since the call is refused.
        """
        if self._sink is None:
            raise OSError("the audit log is not open")
        self._sink.flush()
        if self._untold and not self._tell():
            raise OSError(self.problem)
        for follower in self.followers:
            follower(entry)
        try:
            self._sink.append(entry, surely=True)
        except OSError as error:
            self._failed(0, error)
            raise
        self._lines.value += 1
        self._recovered()

    def _keep(self, entry: Entry | Note) -> None:
        if len(self._early) < MAX_EARLY:
            self._early.append(entry)
        else:
            self._untold += 1
            self._lost.value += 1

    def _tell(self, held_back: int = 0) -> bool:
        """Write how many lines are missing.

        @param held_back: refused calls that no further entry tells of.
        @return: whether that could be written.
        """
        assert self._sink is not None
        if not (self._untold or held_back):
            return True
        self._sink.flush()
        note = Note(now(), "lines are missing here", self._untold or UNSET, held_back or UNSET)
        try:
            self._sink.append(note)
        except OSError as error:
            self._failed(0, error)
            return False
        self._recovered()
        return True

    def _recovered(self) -> None:
        """Note that lines can be written, and that the log says how many are missing."""
        if self.problem is not None:
            self.problem, lost = None, self._untold
            _log.warn("audit: {target} is written again; {lost:,} lines are lost", target=self._target, lost=lost)
        self._untold = 0

    def _failed(self, lines: int, error: OSError | None) -> None:
        """Note that lines are lost; the problem is logged once, when it begins."""
        self._untold += lines
        self._lost.value += lines
        if self.problem is None:
            self.problem = str(error)
            _log.error("audit: {target} cannot be written, lines are lost: {error}", target=self._target, error=error)

    def check(self, problems: Problems) -> None:
        """Check that the log can be opened, as far as that shows without opening it.

        @param problems: takes what is wrong.
        """
        with problems.noted(), self._start_errors():
            if self._path:
                check_to_append(self._path)
            else:
                os.stat(self._journal)

    def _open(self) -> _Sink:
        with self._start_errors():
            if not self._path:
                os.stat(self._journal)
                return _JournalSink(self._journal)
            weakness = weak_place(self._path)
            file = AuditFile(self._path, self._reactor, self._failed)
        if weakness is not None:
            _log.warn("audit: others could replace {path}: {weakness}", path=self._path, weakness=weakness)
        return file

    @property
    def _path(self) -> str:
        """The path of the file, relative to the working directory when it is opened; empty: there is none."""
        return "" if self._target == JOURNALD else os.path.abspath(self._target)

    @contextmanager
    def _start_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._path:
                raise StartError("audit", self._path, error.strerror, "a file that can be written") from None
            reason = f"{self._journal}: {error.strerror}"
            raise StartError("audit", JOURNALD, reason, "journald where systemd's runs") from None
        except NotAllowed as error:
            raise StartError("audit", self._path, error.reason, error.allowed) from None


class _JournalSink:
    """Sends entries to the journal, one by one."""

    def __init__(self, path: str) -> None:
        self._journal = Journal(path)
        self.close = self._journal.close

    def write(self, entry: Entry | Note) -> None:
        self._journal.send(fields(entry))

    def append(self, entry: Entry | Note, surely: bool = False) -> None:
        self.write(entry)

    def flush(self) -> None:
        """Do nothing: no entry waits."""

    def reopen(self) -> str:
        return "the journal needs no reopening"
