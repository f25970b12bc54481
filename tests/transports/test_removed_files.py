"""A FIFO or a socket that somebody removes under a running server is made again."""

import os
import threading
from pathlib import Path

import pytest

from tests.support import ECHO, ECHO_REPLY, Server

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", [1, 2])
def test_removed(tmp_path: Path, workers: int) -> None:
    """The file is there again after a while, and what comes over it is answered."""
    with Server(tmp_path, f"--dgram-workers={workers}") as server:
        for transport in ("fifo", "unix"):
            path = server.addresses[transport]
            before = len(server.log)
            os.unlink(path)
            server.wait_for_log(f"{os.path.basename(path)} was removed; it is made again")
            server.wait_for_log(f"listening on {transport} {path}", before)
            assert server.call(transport, ECHO) == ECHO_REPLY
        assert server.call("http", ECHO) == ECHO_REPLY


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
