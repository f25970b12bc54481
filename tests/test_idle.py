"""A server with nothing to do sleeps."""

import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support import ECHO, ECHO_REPLY, TRANSPORTS, Server
from tests.support.programs import need

pytestmark = [pytest.mark.slow, pytest.mark.long]

SECONDS = 12
"""Longer than the intervals of what is on, but for those of hours."""
MOST_CALLS = 2 * SECONDS
EVERYTHING = (
    *("--http-listen=unix:http.sock", "--dgram-workers=2", "--watchdog=1000"),
    *("--htable=a=>size=4;autoexpire=3600", "--htable-db=tables.db", "--list-file=list", "--ds-ping-interval=10"),
)
_CALL = re.compile(r"^\d+ +(\w+)\(")


def system_calls(server: Server, seconds: float) -> Counter[str]:
    """The system calls that all threads of all processes of a server begin in some time."""
    trace = server.directory / "trace"
    processes = [server.process.pid, *server.children()]
    attach = [option for pid in processes for option in ("-p", str(pid))]
    with subprocess.Popen(["strace", "-f", "-o", str(trace), *attach], stderr=subprocess.PIPE, text=True) as strace:
        time.sleep(seconds)
        strace.send_signal(signal.SIGINT)
        strace.communicate()
    lines = trace.read_text().splitlines()
    return Counter(match[1] for match in map(_CALL.match, lines) if match and match[1] != "restart_syscall")


def test_idle(tmp_path: Path) -> None:
    """With everything on, that is at most two system calls a second, for all processes together."""
    need("strace", "strace")
    (tmp_path / "list").write_text("1 sip:127.0.0.1:9 0\n")  # not probed: it has no flag that says so
    with Server(tmp_path, *EVERYTHING) as server:
        for socket in ("unix", "udp"):
            for number in range(2):
                server.wait_for_log(f"worker {number} reads {socket}")
        for transport in TRANSPORTS:
            if transport in server.addresses:
                assert server.call(transport, ECHO) == ECHO_REPLY
        time.sleep(3)  # connections are closed, memory is given back
        calls = system_calls(server, SECONDS)
        assert calls.total() <= MOST_CALLS, calls
        assert server.call("unix", ECHO) == ECHO_REPLY
