"""A server as a process of twistd: its log, its signals, what systemd is told, and the error of a start that fails."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.logger import ILogObserver
from twisted.scripts._twistd_unix import UnixApplicationRunner

from jsonrpcs_tx.config.kinds import PASSED
from jsonrpcs_tx.daemon.notify import NotifyService, NotifySocket
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.files.appendfile import AppendFile
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.logs.daemon import DaemonLog
from jsonrpcs_tx.logs.twistdfiles import TwistdFiles
from jsonrpcs_tx.service import JsonRpcService
from jsonrpcs_tx.transports.connections import CLOSE_TIME
from jsonrpcs_tx.transports.inherited import HERE

_log = make_logger(__name__)

MAX_REFUSAL: Final = 4000
"""Bytes of an error that the process which started the daemon is told: a pipe takes as many at once."""

_PRIVATE: Final = ("_formatChildException", "_waitForStart")
"""Methods of twistd that write and read what a daemon tells the process that started it."""

_REFUSED: Final = b"1 refused: "


class DaemonService(MultiService):
    """Has twistd log as the settings say, from its first line on, and ends with one line where the start fails. It
    takes signals from the beginning, before twistd writes its pid file, by which it gets them. A systemd that has
    started the process is told when the server is ready, reads its files again, and stops.

    @param files: what twistd makes. The log is opened.
    @param refusal: makes the exception that ends twistd from an error.
    @raise StartError: the log cannot be opened.
    """

    def __init__(
        self, server: JsonRpcService, files: TwistdFiles, refusal: Callable[[Exception], BaseException]
    ) -> None:
        super().__init__()
        self._server = server
        self._files = files
        self._refusal = refusal
        self._observer = None if files.log is None else _open_log(files.log, server)
        server.setServiceParent(self)
        systemd = NotifySocket(os.environ)
        self._notify = NotifyService(systemd, partial(_status, server), _stop_time(server), server.reactor)
        if systemd:
            self._notify.setServiceParent(self)  # after the server, whose listeners are then there
        _take_signals(server, self._notify)

    def setServiceParent(self, parent: Any) -> None:
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        with self._one_line():
            if self._server.user is not None:
                self._files.hand_over(self._server.user)
            super().privilegedStartService()

    def startService(self) -> None:
        with self._one_line():
            super().startService()
        for name in sorted(HERE.unused):
            _log.warn("systemd has passed {name}, but no setting names it: {setting}", name=name, setting=PASSED + name)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except StartError as error:
            raise self._refusal(error) from None


def tell_whole_refusals() -> None:
    """Have the process that started a daemon print the error that ended it as its one line. Twistd's own way cuts it
    off after 100 bytes, and shows it as Python writes bytes. To be called before twistd forks.
    """
    runner: Any = UnixApplicationRunner
    form, wait = (getattr(runner, name, None) for name in _PRIVATE)
    if form is None or wait is None or wait is _wait_for_start:
        return  # another Twisted: it tells of it in its own way

    def written(self: object, exception: Exception) -> bytes:
        if isinstance(exception, SystemExit):  # a refusal
            return b"%b%b" % (_REFUSED, str(exception).encode(errors="backslashreplace")[:MAX_REFUSAL])
        return bytes(form(self, exception))

    for name, function in zip(_PRIVATE, (written, _wait_for_start), strict=True):
        setattr(runner, name, function)


def _wait_for_start(runner: object, pipe: int) -> int:
    """Wait until the daemon has started, or has told why not.

    @param pipe: it writes C{0} to it, or C{1} and what went wrong.
    @return: the exit code.
    """
    said = os.read(pipe, len(_REFUSED) + MAX_REFUSAL)
    if said == b"0":
        return 0
    text = said.removeprefix(_REFUSED) if said.startswith(_REFUSED) else b"An error has occurred: %b" % said[2:]
    terminal = sys.__stderr__  # twistd has the other one write to the log
    if terminal is not None:
        terminal.write(text.decode(errors="replace") + "\n")
        terminal.flush()
    return 1


def _stop_time(server: JsonRpcService) -> float:
    """How many seconds the stop takes at most."""
    return server.settings.health_drain + CLOSE_TIME + 1


def _status(server: JsonRpcService) -> str:
    """What the server does, in words."""
    counts = {one.name: one.read() for one in server.counters.group("core")}
    requests, errors = counts["rcv_requests"], counts["err_requests"]
    return f"listeners: {len(server.listeners())}, requests: {requests}, errors: {errors}"


def _take_signals(server: JsonRpcService, notify: NotifyService) -> None:
    """Have the server open its files again at SIGUSR1, as logrotate asks for, and at SIGHUP also read files again. A
    signal that comes before the reactor runs is handled once it does; so is SIGTERM, which the reactor takes from then
    on, and which would otherwise end the process with its sockets and its pid file left.
    """

    def reopen(number: int, frame: FrameType | None) -> None:
        server.reactor.callFromThread(server.reopens.run)

    def reload(number: int, frame: FrameType | None) -> None:
        server.reactor.callFromThread(notify.reload, read_again)

    def read_again() -> None:
        server.reopens.run()
        server.reloads.run()

    signal.signal(signal.SIGUSR1, reopen)
    signal.signal(signal.SIGHUP, reload)
    signal.signal(signal.SIGTERM, server.reactor.sigTerm)


def _open_log(log: DaemonLog, server: JsonRpcService) -> ILogObserver:
    """Open the log, and have the server open its file again with its other files.

    @raise StartError: see L{DaemonLog.observer}.
    """
    observer = log.observer()
    if log.file is not None:
        server.reopens.add("logs", partial(_reopen, log.file))
    return observer


def _reopen(file: AppendFile) -> str:
    file.reopen()
    return file.path
