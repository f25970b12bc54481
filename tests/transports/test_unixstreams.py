"""Unix sockets of HTTP: their mode and owner, what dead servers left, and the files of others."""

import base64
import os
import socket
import stat
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
from twisted.internet import reactor
from twisted.internet.endpoints import _SystemdParser
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import TestCase

from jsonrpcs_tx import Settings, makeService
from jsonrpcs_tx.access.passwords import make_hash
from jsonrpcs_tx.errors import StartError
from tests.support import ECHO, ECHO_REPLY, http_call
from tests.support.files import STRANGER, make_directory


class UnixStreamTests(TestCase):
    """A server over HTTP on a Unix socket."""

    def setUp(self) -> None:
        self.directory: Path = make_directory(self)
        self.path = self.directory / "http"

    def serve(self, endpoint: str = "unix:http", **options: Any) -> Any:
        settings = Settings(
            transport=1, run_dir=str(self.directory), load=("jsonrpc", "core"), http_listen=endpoint, **options
        )
        service = makeService(settings, reactor)
        self.addCleanup(service.stopService)
        service.startService()
        return service

    def mode(self) -> int:
        return stat.S_IMODE(self.path.stat().st_mode)

    async def assert_answers(self) -> None:
        reply = await deferToThread(http_call, "http", str(self.path), ECHO)
        assert reply.body == ECHO_REPLY

    async def test_mode(self) -> None:
        """The socket has the mode of the setting, 0660 unless it is set, or that of the endpoint."""
        for endpoint, options, mode in (
            ("unix:http", {}, 0o660),
            ("unix:http", {"http_mode": "0600"}, 0o600),
            (f"unix:address={self.path.absolute()}", {"http_mode": "0"}, 0o600),
            ("unix:http:mode=606", {}, 0o606),
            ("unix:http:mode=666:lockfile=0", {"http_mode": "0600"}, 0o666),
            ("haproxy:unix:http:mode=640", {}, 0o640),
        ):
            service = self.serve(endpoint, **options)
            assert self.mode() == mode, endpoint
            if not endpoint.startswith("haproxy"):
                await self.assert_answers()
            await service.stopService()
            assert os.listdir(self.directory) == [], endpoint

    async def test_owner(self) -> None:
        """The socket has the owner of the settings."""
        if os.geteuid():
            raise SkipTest("only root may give files away")
        self.serve(http_user=STRANGER, http_group=STRANGER)
        status = self.path.stat()
        assert (status.st_uid, status.st_gid) == (STRANGER, STRANGER)

    async def test_unknown_owner(self) -> None:
        """An owner that does not exist stops the start, and leaves nothing."""
        with pytest.raises(StartError, match=r"^http_user: 'no-such-user': does not exist"):
            self.serve(http_user="no-such-user")
        assert os.listdir(self.directory) == []

    async def test_dead_socket(self) -> None:
        """A socket that nobody listens on any more is replaced."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(self.path))
        self.serve()
        await self.assert_answers()

    async def test_live_socket(self) -> None:
        """A socket that somebody listens on is left alone, and so is any other file; the start is refused."""
        with socket.socket(socket.AF_UNIX) as live:
            live.bind(str(self.path))
            live.listen()
            with pytest.raises(StartError, match=r"^http_listen: .*/http: in use by a running server"):
                self.serve()
            assert self.path.is_socket()
            self.path.unlink()
        self.path.write_text("somebody else's")
        with pytest.raises(StartError, match=r"^http_listen: .*/http: not a socket"):
            self.serve()
        self.path.unlink()
        target = self.directory / "target"
        target.write_text("secret")
        target.chmod(0o600)
        self.path.symlink_to(target)
        with pytest.raises(StartError, match=r"^http_listen: .*/http: not a socket"):
            self.serve()
        assert stat.S_IMODE(target.stat().st_mode) == 0o600

    async def test_second_server(self) -> None:
        """A second server on the same path is refused, and the first one goes on."""
        self.serve()
        with pytest.raises(StartError, match="in use by a running server"):
            self.serve()
        await self.assert_answers()

    async def test_files_of_others_stay(self) -> None:
        """A file that somebody put in place of the socket stays at the stop; a socket may be gone by then."""
        service = self.serve()
        self.path.unlink()
        self.path.write_text("somebody else's")
        await service.stopService()
        assert self.path.read_text() == "somebody else's"
        self.path.unlink()
        service = self.serve()
        self.path.unlink()
        await service.stopService()

    async def test_long_path(self) -> None:
        """A path that a socket's address has no room for is told whole."""
        self.path = self.directory.absolute() / ("d" * 100) / "http"
        self.path.parent.mkdir()
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.path.parent)
        service = self.serve(f"unix:{self.path}")
        assert service.listeners()[0].host == str(self.path)
        os.chdir(before)
        await service.stopService()
        assert not self.path.exists()

    async def test_socket_of_systemd(self) -> None:
        """A socket that systemd has made keeps its mode, and its file at the stop; Twisted makes it 0666."""
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(self.path))
        sock.listen()
        self.path.chmod(0o600)
        self.patch(_SystemdParser, "_sddaemon", ListenFDs([sock.detach()], ["http"]))
        service = self.serve("systemd:domain=UNIX:index=0")
        await self.assert_answers()
        await service.stopService()
        assert self.mode() == 0o600

    async def test_passwords(self) -> None:
        """Over a Unix socket the user of the client's process is who guesses."""
        users = self.directory / "users"
        users.write_text(f"ann:{make_hash(b'sesame', n=2, r=1)}\n")
        users.chmod(0o600)
        self.serve(http_users="users")
        headers = {"Authorization": "Basic " + base64.b64encode(b"ann:wrong").decode()}
        with capturedLogs() as events:
            reply = await deferToThread(http_call, "http", str(self.path), ECHO, headers=headers)
        assert reply.status == 401
        whence = f"uid={os.geteuid()} gid={os.getegid()} pid={os.getpid()}"
        line = f"http: authentication failed for user 'ann' from {whence}"
        assert line in [formatEvent(event) for event in events]

    async def test_facts(self) -> None:
        """The commands that list sockets and connections tell what there is of a Unix socket."""
        service = self.serve()
        (listener,) = service.listeners()
        assert str(listener) == f"http {self.path.absolute()}"
        reply = await deferToThread(
            http_call, "http", str(self.path), b'{"jsonrpc":"2.0","method":"core.sockets_list","id":1}'
        )
        assert reply.body == b'{"jsonrpc":"2.0","result":[],"id":1}'
        reply = await deferToThread(
            http_call, "http", str(self.path), b'{"jsonrpc":"2.0","method":"core.tcp_list","id":1}'
        )
        assert b'"src_ip":""' in reply.body
