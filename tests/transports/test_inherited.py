"""Sockets that systemd has opened: found by name, and of the right kind, or an error that says what is allowed."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jsonrpcs_tx import Settings
from jsonrpcs_tx.config.kinds import passed_name
from jsonrpcs_tx.errors import SettingError, StartError
from jsonrpcs_tx.transports.inherited import Passed, path_of


class Opened:
    """What systemd may open, by name."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.fifo_path = directory / "fifo"
        os.mkfifo(self.fifo_path)
        both = os.open(self.fifo_path, os.O_RDWR | os.O_NONBLOCK)
        half = os.open(self.fifo_path, os.O_RDONLY | os.O_NONBLOCK)
        file = os.open(directory / "file", os.O_RDWR | os.O_CREAT)
        self.udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.udp.bind(("127.0.0.1", 0))
        self.tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        connected = stack.enter_context(socket.create_connection(self.tcp.getsockname()))
        self.fds = {
            "fifo": both,
            "half": half,
            "file": file,
            "udp": self.udp.fileno(),
            "tcp": self.tcp.fileno(),
            "connected": connected.fileno(),
        }
        for fd in (both, half, file):
            stack.callback(os.close, fd)
        self.passed = Passed(":".join(self.fds), list(self.fds.values()))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Things that systemd has opened."""
    with ExitStack() as stack:
        yield Opened(tmp_path, stack)


def test_found(opened: Opened) -> None:
    """Each name gives a descriptor of its own, any number of times: what was passed stays open."""
    for _ in range(2):
        with opened.passed.socket("dgram_socket", "udp", socket.SOCK_DGRAM) as udp:
            assert udp.getsockname() == opened.udp.getsockname()
        with opened.passed.socket("http_listen", "tcp", socket.SOCK_STREAM) as tcp:
            assert tcp.getsockname() == opened.tcp.getsockname()
        fd = opened.passed.fifo("fifo_name", "fifo")
        assert path_of(fd) == str(opened.fifo_path)
        assert not os.get_inheritable(fd)
        os.close(fd)
    assert opened.passed.unused == {"half", "file", "connected"}


def test_not_inherited_further(opened: Opened) -> None:
    """Processes that the server starts do not get what was passed."""
    assert not any(map(os.get_inheritable, opened.fds.values()))


@pytest.mark.parametrize("name", ["fifo", "file", "tcp", "connected"])
def test_no_datagram_socket(opened: Opened, name: str) -> None:
    """Anything else is refused."""
    with pytest.raises(
        StartError, match=rf"dgram_socket: '?systemd:{name}'?: .* a datagram socket \(ListenDatagram=\)"
    ):
        opened.passed.socket("dgram_socket", name, socket.SOCK_DGRAM)


@pytest.mark.parametrize("name", ["fifo", "file", "udp", "connected"])
def test_no_listening_socket(opened: Opened, name: str) -> None:
    """Anything else is refused, a connection as well."""
    with pytest.raises(StartError, match=r"a listening stream socket \(ListenStream=\)"):
        opened.passed.socket("http_listen", name, socket.SOCK_STREAM)


@pytest.mark.parametrize("name", ["half", "file", "udp"])
def test_no_fifo(opened: Opened, name: str) -> None:
    """Anything else is refused, also a FIFO that would end once its writers have gone."""
    with pytest.raises(StartError, match="a FIFO that is open for reading and writing"):
        opened.passed.fifo("fifo_name", name)


def test_unknown_name(opened: Opened) -> None:
    """The error lists the names that there are."""
    names = re.escape(", ".join(f"systemd:{name}" for name in opened.fds))
    with pytest.raises(StartError, match=f"systemd:web: systemd has not passed it; allowed: {names}"):
        opened.passed.check("http_listen", "web")


def test_closed(opened: Opened) -> None:
    """What is not open was not passed, whatever the environment says; the rest is found."""
    closed = os.open(os.devnull, os.O_RDONLY)
    os.close(closed)
    passed = Passed("a:b", [closed, opened.fds["udp"]])
    passed.check("dgram_socket", "b")
    with pytest.raises(StartError, match=r"systemd:a: systemd has not passed it; allowed: systemd:b"):
        passed.check("http_listen", "a")


def test_name_of_several(opened: Opened) -> None:
    """A name that several have does not say which."""
    fds = list(opened.fds.values())
    with pytest.raises(StartError, match="systemd has passed several with this name"):
        Passed("a:a", fds[:2]).check("http_listen", "a")


def test_nothing_passed() -> None:
    """Where systemd has not started the process, a check finds nothing wrong, and a start fails."""
    for names in ("", "http:udp"):  # names may be left over from the environment of a parent
        passed = Passed(names, [])
        passed.check("http_listen", "http")
        with pytest.raises(StartError, match="allowed: a start by systemd, with a socket unit"):
            passed.socket("http_listen", "http", socket.SOCK_STREAM)
        assert not passed.unused


def test_names() -> None:
    """What follows C{systemd:} is a name, or, with C{=}, one of Twisted's own endpoints."""
    assert passed_name("systemd:http") == "http"
    for other in ("systemd:", "systemd:domain=INET:index=0", "systemd:a b", "tcp:8080", "systemd:" + "x" * 256):
        assert passed_name(other) is None


@pytest.mark.parametrize("setting", ["fifo_name", "dgram_socket", "tcp_socket"])
def test_settings(setting: str) -> None:
    """The settings take a name, and refuse anything else."""
    given: dict[str, Any] = {setting: "systemd:name"}
    settings = Settings(transport=0, **given)
    assert getattr(settings, setting) in ("systemd:name", ("systemd:name",))
    with pytest.raises(SettingError, match="systemd:NAME"):
        Settings(transport=0, **{**given, setting: "systemd:a:b"})
