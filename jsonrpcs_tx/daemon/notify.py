"""Tells systemd what a service is doing (sd_notify(3)): ready, reloading, stopping, its status, that it is alive."""

import os
import re
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

STATUS_INTERVAL: Final = 10.0
"""Seconds between two checks of whether the status has changed."""

RETRY: Final = 0.5
"""Seconds after which a message is sent again if the socket was full."""

MAX_STATUS: Final = 256
"""Characters of the status that are sent."""

MIN_WATCHDOG: Final = 0.1
"""Seconds below which no watchdog is served more often: a server that does nothing else is not alive."""

_MICROSECONDS: Final = re.compile(r"[0-9]{1,20}")


class NotifySocket:
    """The socket on which systemd waits for messages. Without one nothing is sent.

    @param environ: the environment of the process. What concerns the socket is removed from it, so that no other
        process speaks for this one.
    @ivar watchdog: seconds after which systemd ends a service that has not said that it is alive; 0: it does not.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        path = environ.pop("NOTIFY_SOCKET", "")
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        for_us = bool(path) and pid in ("", str(os.getpid()))
        self.watchdog: float = int(usec) / 1e6 if for_us and _MICROSECONDS.fullmatch(usec) else 0.0
        self._socket = None
        if path:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def __bool__(self) -> bool:
        return self._socket is not None

    def send(self, **values: object) -> bool:
        """Send a message: variables and their values, as sd_notify(3) has them. A failure is logged.

        @return: False if the socket is full, as it may be while many services start: the message is to be sent again.
        """
        if self._socket is None:
            return True
        message = "\n".join(f"{name}={value}" for name, value in values.items())
        try:
            self._socket.sendto(message.encode(errors="backslashreplace"), self._address)
        except BlockingIOError:
            _log.warn("systemd is not told {message}: its socket is full", message=message)
            return False
        except OSError as error:
            _log.warn("systemd is not told {message}: {reason}", message=message, reason=error.strerror or str(error))
        return True

    def close(self) -> None:
        """Close the socket, after which nothing is sent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class NotifyService(Service):
    """Says when the service is ready, which it is once the reactor runs, and what it does from then on. That it is
    alive is said from the reactor, so that systemd ends a process whose reactor no longer turns.

    @param status: what the service does, on one line.
    @param stop_time: seconds that the stop may take.
    """

    def __init__(self, to: NotifySocket, status: Callable[[], str], stop_time: float, reactor: Any) -> None:
        self._to = to
        self._status = status
        self._stop_time = stop_time
        self._reactor = reactor
        self._said = ""
        self._retry: Any = None
        self._calls = [(LoopingCall(self._say_status), STATUS_INTERVAL)]
        if to.watchdog:
            self._calls.append((LoopingCall(to.send, WATCHDOG=1), max(to.watchdog, MIN_WATCHDOG) / 3))
        for call, _ in self._calls:
            call.clock = reactor

    def startService(self) -> None:
        super().startService()
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        if self.running:
            self._say_ready()
            for call, interval in self._calls:
                call.start(interval)

    def _say_ready(self) -> None:
        """Say that the service is ready, until systemd hears it: it ends one that does not say so."""
        self._retry = None if self._to.send(READY=1) else self._reactor.callLater(RETRY, self._say_ready)

    def stopService(self) -> None:
        """Say that the service stops, and how long systemd and its watchdog must wait for that."""
        super().stopService()
        self._wait_no_longer()
        for call, _ in self._calls:
            if call.running:
                call.stop()
        seconds = max(self._stop_time, self._to.watchdog)
        self._to.send(STOPPING=1, STATUS="stopping", EXTEND_TIMEOUT_USEC=int(seconds * 1e6), WATCHDOG=1)

    def reload(self, run: Callable[[], object]) -> None:
        """Say that the service reads its files again while a function does that."""
        self._wait_no_longer()
        self._to.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
        try:
            run()
        finally:
            self._say_ready()

    def _wait_no_longer(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _say_status(self) -> None:
        status = " ".join(self._status().split())[:MAX_STATUS]
        if status != self._said and self._to.send(STATUS=status):
            self._said = status
