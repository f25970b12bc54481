"""A FIFO or a socket that somebody removes under a running server is made again."""

import os
import socket
import threading
from pathlib import Path

import pytest

from tests.support import ECHO, ECHO_REPLY, PATIENCE, Server, http_request

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", [1, 2])
def test_removed(tmp_path: Path, workers: int) -> None:
    """The file is there again after a while, and what comes over it is answered."""
    with Server(tmp_path, f"--dgram-workers={workers}", sockets=("rpc.sock",)) as server:
        for transport in ("fifo", "unix"):
            path = server.addresses[transport]
            before = len(server.log)
            os.unlink(path)
            server.wait_for_log(f"{os.path.basename(path)} was removed; it is made again")
            server.wait_for_log(f"listening on {transport} {path}", before)
            assert server.call(transport, ECHO) == ECHO_REPLY
        assert server.call("http", ECHO) == ECHO_REPLY


@pytest.mark.parametrize("endpoint", ["unix:web.sock", "haproxy:unix:web.sock"])
def test_http(tmp_path: Path, endpoint: str) -> None:
    """So is a Unix socket of HTTP; a request that was in progress is answered."""
    with Server(tmp_path, f"--http-listen={endpoint}") as server:
        path = server.addresses["http"]
        header = b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" if endpoint.startswith("haproxy") else b""
        asleep = http_request(b'{"jsonrpc":"2.0","method":"core.sleep","params":[2],"id":1}')
        before = len(server.log)
        with socket.socket(socket.AF_UNIX) as early, socket.socket(socket.AF_UNIX) as late:
            early.settimeout(PATIENCE)
            early.connect(path)
            early.sendall(header + asleep)
            os.unlink(path)
            server.wait_for_log("web.sock was removed; it is made again")
            assert b'"result"' in early.recv(1000)
            server.wait_for_log(f"listening on http {path}", before)
            late.connect(path)
            late.sendall(header + http_request(ECHO))
            assert late.recv(1000).endswith(ECHO_REPLY)


def test_in_the_place_of_another(tmp_path: Path) -> None:
    """A file that somebody has put in its place stays, also at the stop."""
    with Server(tmp_path) as server:
        path = Path(server.addresses["fifo"])
        path.unlink()
        path.write_text("mine")
        done = threading.Event()
        assert not done.wait(2.5)  # longer than the server waits until it looks again
        assert server.call("unix", ECHO) == ECHO_REPLY
    assert path.read_text() == "mine"
