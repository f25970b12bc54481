"""A server as a process of twistd: its log, its signals, what systemd is told, and the error of a start that fails."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from twisted.application.service import MultiService
from twisted.logger import ILogObserver

from jsonrpcs_tx.appendfile import AppendFile
from jsonrpcs_tx.config.kinds import PASSED
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.logs.daemon import DaemonLog
from jsonrpcs_tx.logs.twistdfiles import TwistdFiles
from jsonrpcs_tx.notify import NotifyService, NotifySocket
from jsonrpcs_tx.service import JsonRpcService
from jsonrpcs_tx.transports.connections import CLOSE_TIME
from jsonrpcs_tx.transports.inherited import HERE

_log = make_logger(__name__)


class DaemonService(MultiService):
    """Has twistd log as the settings say, from its first line on, and ends with one line where the start fails. It
    takes signals from the beginning, before twistd writes its pid file, by which it gets them. A systemd that has
    started the process is told when the server is ready, reads its files again, and stops.

    @param files: what twistd makes. The log is opened.
    @param refusal: makes what ends twistd of an error.
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
    signal that comes before the reactor runs is handled once it does.
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
