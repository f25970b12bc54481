"""Logs what holds up the reactor while it is held up, which might be for ever."""

import ctypes
import os
import select
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from twisted.application.service import Service

from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.current import command_of
from jsonrpcs_tx.state.counters import Counter
from jsonrpcs_tx.transports.twistedprivates import POLLER, available

_log = make_logger(__name__)

_CLOCK_MONOTONIC: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Watchdog(Service):
    """A thread that checks whether the reactor makes progress, and logs where the reactor is when it does not.

    The thread sleeps while the reactor waits for something to do. If it cannot know that, because the reactor is not
    Twisted's usual one, it keeps asking the reactor.

    @param limit: seconds that a turn of the reactor may take.
    @param reactor: runs in the thread that starts the service.
    @param counter: counts how many times the reactor exceeds the limit.
    """

    def __init__(self, limit: float, reactor: Any, counter: Counter) -> None:
        self._limit = limit
        self._counter = counter
        self._reactor = reactor
        self._thread: threading.Thread | None = None

    def startService(self) -> None:
        """Start to watch the calling thread."""
        super().startService()
        self._goes_on = threading.Event()
        self._stopped = threading.Event()
        turns = _turns_of(self._reactor)
        self._alarm = None if turns is None else _Alarm(self._limit, turns)
        look = self._ask if self._alarm is None else self._alarm.wait
        arguments = (threading.get_ident(), look)
        self._thread = threading.Thread(target=self._watch, args=arguments, name="watchdog", daemon=True)
        self._thread.start()

    def stopService(self) -> None:
        super().stopService()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopped.set()
            self._goes_on.set()
            if self._alarm is not None:
                self._alarm.stop()
            thread.join()
            if self._alarm is not None:
                self._alarm.close()

    def _watch(self, watched: int, look: Callable[[], bool]) -> None:
        while not self._stopped.is_set():
            if look() and not self._stopped.is_set():
                self._tell(watched)

    def _tell(self, watched: int) -> None:
        """Count the delay, and log where the reactor is, and when it goes on."""
        self._counter.value += 1
        where = _describe(sys._current_frames()[watched])
        _log.warn("the reactor is held up for more than {limit:g} s by {where}", limit=self._limit, where=where)
        self._goes_on.clear()
        self._reactor.callFromThread(self._goes_on.set)
        if not self._stopped.is_set():
            self._goes_on.wait()
        _log.warn("the reactor goes on")

    def _ask(self) -> bool:
        """Wait for the limit, then ask the reactor for a sign of life.

        @return: whether it gives none within the limit.
        """
        if self._stopped.wait(self._limit):
            return False
        self._goes_on.clear()
        self._reactor.callFromThread(self._goes_on.set)
        return not self._goes_on.wait(self._limit)


class _Turns:
    """Wraps the poller of a reactor: knows whether the reactor waits, and counts its turns.

    @ivar waiting: there is nothing to do.
    @ivar count: how many times the reactor has woken up with something to do.
    @ivar next: called once, when it does so next.
    """

    def __init__(self, poller: Any) -> None:
        self.waiting = True  # until the reactor runs
        self.count = 0
        self.next: list[Callable[[], None]] = []
        self._poll = poller.poll
        self.register, self.modify, self.unregister = poller.register, poller.modify, poller.unregister

    def poll(self, *arguments: Any) -> Any:
        """Wait for what is to be done, as C{select.epoll} does."""
        self.waiting = True
        try:
            return self._poll(*arguments)
        finally:
            self.waiting = False
            self.count += 1
            while self.next:
                self.next.pop()()


class _Alarm:
    """Tells that a turn of the reactor takes longer than a limit. A kernel timer (timerfd_create(2)) waits for that, so
    that short turns wake no thread, and cost at most one system call per limit.
    """

    def __init__(self, limit: float, turns: _Turns) -> None:
        self._limit = limit
        self._turns = turns
        self._turn = 0
        self._stopping = False
        self._lock = threading.Lock()
        self._fd = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "no timer for the watchdog")

    def wait(self) -> bool:
        """In another thread: wait until a turn has begun, and then for the limit.

        @return: whether it is still the same turn.
        """
        turns = self._turns
        turns.next.append(self._set)
        if not turns.waiting:
            self._set()
        os.read(self._fd, 8)
        return not turns.waiting and turns.count == self._turn

    def stop(self) -> None:
        """Let L{wait} return at once, now and later."""
        with self._lock:
            self._stopping = True
            self._set_timer(0.0)

    def close(self) -> None:
        """Free the timer, once nobody waits any longer."""
        if self._set in self._turns.next:
            self._turns.next.remove(self._set)
        os.close(self._fd)

    def _set(self) -> None:
        with self._lock:
            if not self._stopping:
                self._turn = self._turns.count
                self._set_timer(self._limit)

    def _set_timer(self, seconds: float) -> None:
        whole, nanoseconds = divmod(max(1, int(seconds * 1e9)), 1_000_000_000)
        _libc.timerfd_settime(self._fd, 0, (ctypes.c_long * 4)(0, 0, whole, nanoseconds), None)


def _turns_of(reactor: Any) -> _Turns | None:
    """Count the turns of a reactor from now on; None if the turns of this reactor cannot be counted."""
    poller = getattr(reactor, "_poller", None) if available(POLLER) else None
    if isinstance(poller, select.epoll):
        poller = reactor._poller = _Turns(poller)
    return poller if isinstance(poller, _Turns) else None


def _describe(frame: FrameType | None) -> str:
    """The place of a frame in the source, and the command that it belongs to, if there is one."""
    assert frame is not None
    command = command_of(frame)
    where = f"{frame.f_code.co_qualname}, line {frame.f_lineno} of {frame.f_code.co_filename}"
    return where if command is None else f"{command:.100}: {where}"
