"""A server as a process of twistd: its log, its signals, and the error that ends it where the start fails."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from twisted.application.service import MultiService
from twisted.logger import ILogObserver

from jsonrpcs_tx.appendfile import AppendFile
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.logs.daemon import DaemonLog
from jsonrpcs_tx.logs.twistdfiles import TwistdFiles
from jsonrpcs_tx.service import JsonRpcService


class DaemonService(MultiService):
    """Has twistd log as the settings say, from its first line on, and ends with one line where the start fails. It
    takes signals from the beginning, before twistd writes its pid file, by which it gets them.

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
        _take_signals(server)

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

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except StartError as error:
            raise self._refusal(error) from None


def _take_signals(server: JsonRpcService) -> None:
    """Have the server open its files again at SIGUSR1, as logrotate asks for, and at SIGHUP also read files again. A
    signal that comes before the reactor runs is handled once it does.
    """

    def reopen(number: int, frame: FrameType | None) -> None:
        server.reactor.callFromThread(server.reopens.run)

    def reload(number: int, frame: FrameType | None) -> None:
        server.reactor.callFromThread(server.reopens.run)
        server.reactor.callFromThread(server.reloads.run)

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
