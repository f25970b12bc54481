"""Short parts of the long runs that C{bench/soak.py} makes."""

import itertools
import json
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.chaos import USER, WORKERS, chaos, chaos_server
from bench.hostile import HOSTILE, request
from bench.soak import soak
from tests.support import ECHO, ECHO_REPLY, PATIENCE, TRANSPORTS, Server, http_request
from tests.support.kamailio import Kamailio
from tests.support.misbehaving import METHODS

pytestmark = pytest.mark.slow

CHAOS_SECONDS = 4

MOST_LATENCY = 0.5
"""Seconds that 99 of 100 good requests may take here, on a machine that others use; the long run allows less."""


def test_soak(tmp_path: Path) -> None:
    """Requests over all transports mixed, some hostile: each is answered; memory and descriptors stay."""
    with Server(tmp_path, *Kamailio.OPTIONS) as server:
        counts, samples = soak(server, 8000, lambda sample: None)
    assert set(counts) == set(TRANSPORTS)
    assert samples[-1].memory < samples[5].memory * 1.05
    assert samples[-1].descriptors <= samples[5].descriptors + 3


@pytest.mark.long
@pytest.mark.parametrize(("options", "user"), [((), ""), (WORKERS, USER)], ids=["one-process", "workers"])
def test_chaos(tmp_path: Path, options: tuple[str, ...], user: str) -> None:
    """Beside all hostile clients every good request is answered right and soon; what the server takes is bounded."""
    with chaos_server(tmp_path, *options) as server:
        outcome = chaos(server, CHAOS_SECONDS, user)
    print(outcome.report())  # noqa: T201 # shown if it fails, or with -s
    assert set(outcome.steps) == set(HOSTILE)
    assert not outcome.problems(MOST_LATENCY)


@pytest.mark.parametrize(("workers", "transports"), [(1, ("unix", "udp4", "fifo", "tcp")), (2, ("unix", "udp4"))])
def test_misbehaving_commands(tmp_path: Path, workers: int, transports: tuple[str, ...]) -> None:
    """Whatever a command does, its request has exactly one reply, and the next request is answered."""
    with Server(tmp_path, "--commands=tests.support.misbehaving", f"--dgram-workers={workers}") as server:
        for transport, method in itertools.product(transports, METHODS):
            check_reply(method, server.call(transport, request(method)))
            assert server.call(transport, ECHO) == ECHO_REPLY


def test_misbehaving_commands_over_http(tmp_path: Path) -> None:
    """Commands that may be asynchronous are answered at their time limit at the latest."""
    with ExitStack() as stack:
        server = stack.enter_context(Server(tmp_path, "--commands=tests.support.misbehaving", "--async-timeout=1"))
        asked = {}
        for method in METHODS:
            asked[method] = stack.enter_context(socket.create_connection(server.addresses["http"], PATIENCE))
            asked[method].sendall(http_request(request(method), "Connection: close"))
        for method, connection in asked.items():
            reply = b"".join(iter(lambda: connection.recv(65_536), b""))  # noqa: B023 # it is called at once
            check_reply(method, reply.partition(b"\r\n\r\n")[2])
        assert server.call("http", ECHO) == ECHO_REPLY


def check_reply(method: str, body: bytes) -> None:
    """A reply is one of JSON-RPC 2.0, to the request with the id 1."""
    reply = json.loads(body)
    assert reply["jsonrpc"] == "2.0", (method, body)
    assert reply["id"] == 1, (method, body)
    assert ("result" in reply) != ("error" in reply), (method, body)
    assert method.startswith(("returns.", "holds.", "fires.twice")) or "error" in reply, (method, body)
