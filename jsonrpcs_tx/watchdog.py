"""Logs what holds up the reactor while it is held up, which might be for ever."""

import sys
import threading
from types import FrameType
from typing import Any

from twisted.application.service import Service

from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.current import command_of

_log = make_logger(__name__)


class Watchdog(Service):
    """A thread that asks the reactor for signs of life, and logs where the reactor is when none comes.

    @param limit: seconds that the reactor may take.
    @param reactor: runs in the thread that starts the service.
    """

    def __init__(self, limit: float, reactor: Any) -> None:
        self._limit = limit
        self._reactor = reactor
        self._thread: threading.Thread | None = None

    def startService(self) -> None:
        """Start to watch the calling thread."""
        super().startService()
        self._alive = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(threading.get_ident(),), name="watchdog", daemon=True)
        self._thread.start()

    def stopService(self) -> None:
        super().stopService()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopped.set()
            self._alive.set()
            thread.join()

    def _watch(self, watched: int) -> None:
        while not self._stopped.wait(self._limit):
            self._alive.clear()
            self._reactor.callFromThread(self._alive.set)
            if self._alive.wait(self._limit) or self._stopped.is_set():
                continue
            where = _describe(sys._current_frames()[watched])
            _log.warn("the reactor is held up for more than {limit:g} s by {where}", limit=self._limit, where=where)
            self._alive.wait()
            _log.warn("the reactor goes on")


def _describe(frame: FrameType | None) -> str:
    """The place of a frame in the source, and the command that it belongs to, if there is one."""
    assert frame is not None
    command = command_of(frame)
    where = f"{frame.f_code.co_qualname}, line {frame.f_lineno} of {frame.f_code.co_filename}"
    return where if command is None else f"{command:.100}: {where}"
