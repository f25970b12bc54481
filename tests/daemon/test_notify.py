"""What systemd is told where its socket is full, gone or none at all, and where its environment is nonsense."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from jsonrpcs_tx.daemon.notify import MIN_WATCHDOG, RETRY, STATUS_INTERVAL, NotifyService, NotifySocket


class Reactor(Clock):
    def callWhenRunning(self, function: object) -> None:
        assert callable(function)
        function()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as end:
        end.bind(str(tmp_path / "notify"))
        yield end


def fill(path: str) -> None:
    """Send messages until the socket takes no more."""
    other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    with other, suppress(BlockingIOError):
        while True:
            other.sendto(b"x", path)


def heard(manager: socket.socket) -> list[bytes]:
    """The messages that have come, but those that fill the socket."""
    found = []
    while True:
        try:
            found.append(manager.recv(1000))
        except BlockingIOError:
            return [one for one in found if one != b"x"]


def test_full_socket(manager: socket.socket) -> None:
    """A server whose first message found the socket full says later that it is ready, and so its status."""
    path = manager.getsockname()
    reactor = Reactor()
    to = NotifySocket({"NOTIFY_SOCKET": path})
    service = NotifyService(to, lambda: "fine", 1, reactor)
    fill(path)
    service.startService()
    reactor.advance(RETRY)
    assert heard(manager) == []
    reactor.advance(RETRY)
    assert heard(manager) == [b"READY=1"]
    reactor.advance(STATUS_INTERVAL)
    assert heard(manager) == [b"STATUS=fine"]
    fill(path)
    service.reload(lambda: None)
    assert heard(manager) == []
    reactor.advance(RETRY)
    assert heard(manager) == [b"READY=1"]
    fill(path)
    service.reload(lambda: None)
    service.stopService()
    assert reactor.getDelayedCalls() == []
    to.close()


@pytest.mark.parametrize("path", ["/gone/notify", "/" + "x" * 300, "@", "@nobody", "notify", "vsock:2:1", "/\udcff"])
def test_no_socket(path: str) -> None:
    """Where nobody listens, a server starts, runs and stops as elsewhere, and asks no further."""
    reactor = Reactor()
    to = NotifySocket({"NOTIFY_SOCKET": path})
    service = NotifyService(to, lambda: "\udcff\n", 1, reactor)
    service.startService()
    reactor.advance(STATUS_INTERVAL)
    assert len(reactor.getDelayedCalls()) == 1
    service.reload(lambda: None)
    service.stopService()
    assert reactor.getDelayedCalls() == []
    to.close()


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        *(("3000000", "", 3.0), ("3000000", "own", 3.0), ("3000000", "1", 0.0), ("0", "", 0.0)),
        *((nonsense, "", 0.0) for nonsense in ("\u00b2", "\u0663", "9" * 5000, "-1", " 1", "1.5", "x")),
    ],
)
def test_watchdog(usec: str, pid: str, seconds: float) -> None:
    """Only a number, and one for this process, has it say that it is alive."""
    environ = {
        "NOTIFY_SOCKET": "/gone",
        "WATCHDOG_USEC": usec,
        "WATCHDOG_PID": str(os.getpid()) if pid == "own" else pid,
    }
    to = NotifySocket(environ)
    assert to.watchdog == seconds
    assert environ == {}
    to.close()


@pytest.mark.parametrize("usec", ["1", "2999", "1000000"])
def test_short_watchdog(tmp_path: Path, usec: str) -> None:
    """However short the watchdog's span is, the server has time for something else."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as heard:
        heard.bind(path)
        clock = Reactor()
        to = NotifySocket({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": usec})
        service = NotifyService(to, lambda: "", 1, clock)
        service.startService()
        for _ in range(100):
            clock.advance(0.01)
        service.stopService()
        to.close()
        told = []
        with suppress(BlockingIOError):
            while True:
                told.append(heard.recv(100))
    assert 2 <= told.count(b"WATCHDOG=1") <= 3 / MIN_WATCHDOG + 2
