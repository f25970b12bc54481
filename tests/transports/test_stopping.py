"""However a server ends, nothing that it has accepted is lost, and the next one starts clean; what the machine does to
it in between it gets over.
"""

import glob
import json
import os
import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import support
from tests.support import (
    DATAGRAM_TRANSPORTS,
    ECHO,
    ECHO_REPLY,
    PATIENCE,
    TRANSPORTS,
    ReplyFifo,
    Server,
    datagram_client,
    http_request,
    with_reply_name,
    write_fifo,
)
from tests.support.programs import need

pytestmark = pytest.mark.slow

REQUESTS = {transport: 10 if transport == "unix" else 150 for transport in DATAGRAM_TRANSPORTS}
"""Datagrams that lie in each socket's queue when the server is told to stop, no more than the kernel takes."""


IN_FLIGHT = b'{"jsonrpc":"2.0","method":"stats.get_statistics","params":["async_in_flight"],"id":1}'


def numbered(id: int) -> bytes:
    return b'{"jsonrpc":"2.0","method":"core.pwd","id":%d}' % id


@pytest.mark.parametrize("workers", [1, 2])
def test_terminated_under_load(tmp_path: Path, workers: int) -> None:
    """What clients have sent before SIGTERM is answered over every transport, each request once."""
    with Server(tmp_path, f"--dgram-workers={workers}") as server, ExitStack() as stack:
        clients = {}
        for transport in REQUESTS:
            client = stack.enter_context(datagram_client(server.addresses[transport]))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
            clients[transport] = client
        posts = [stack.enter_context(socket.create_connection(server.addresses["http"], PATIENCE)) for _ in range(20)]
        post = http_request(ECHO)
        for connection in posts:  # each is known to the server
            connection.sendall(post)
            assert ECHO_REPLY in connection.recv(10_000)
        replies = [stack.enter_context(ReplyFifo(server.reply_dir / f"r{number}")) for number in range(5)]

        os.kill(server.process.pid, signal.SIGSTOP)
        for transport, client in clients.items():
            for id in range(REQUESTS[transport]):
                client.send(numbered(id))
        for connection in posts:
            connection.sendall(post)
        for reply in replies:
            write_fifo(server.addresses["fifo"], with_reply_name(ECHO, reply.path.name))
        server.process.send_signal(signal.SIGTERM)
        os.kill(server.process.pid, signal.SIGCONT)

        for transport, client in clients.items():
            ids = [json.loads(client.recv(1000))["id"] for _ in range(REQUESTS[transport])]
            assert sorted(ids) == list(range(REQUESTS[transport]))
        for connection in posts:
            assert ECHO_REPLY in connection.recv(10_000)
        for reply in replies:
            assert reply.read() == ECHO_REPLY
        assert server.process.wait(PATIENCE) == -signal.SIGTERM
        assert not Path(server.addresses["unix"]).exists()
        assert not Path(server.addresses["fifo"]).exists()


def test_command_in_hand(tmp_path: Path) -> None:
    """An asynchronous command that is in progress when SIGTERM comes is answered when it is done."""
    document = b'{"jsonrpc":"2.0","method":"core.sleep","params":[1.5],"id":1}'
    request = http_request(document)
    with Server(tmp_path) as server, socket.create_connection(server.addresses["http"], PATIENCE) as client:
        client.sendall(request)
        while b"async_in_flight = 1" not in server.call("unix", IN_FLIGHT):
            pass
        server.process.send_signal(signal.SIGTERM)
        assert b'"id":1' in client.recv(10_000)
        assert client.recv(10_000) == b""
        assert server.process.wait(PATIENCE) == -signal.SIGTERM


LATE = """
from twisted.internet import reactor
from twisted.internet.task import deferLater
from jsonrpcs_tx import command

class Late:
    def __init__(self, service):
        self.tables = service.tables

    @command("test.late")
    async def late(self) -> str:
        await deferLater(reactor, 1.5)
        self.tables["a"].set("k", "late")
        return "done"
"""


SLOW = """
import time
from jsonrpcs_tx import command

@command("test.slow")
def slow() -> None:
    time.sleep(0.01)
"""


def test_long_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that takes too long is answered over every transport with what there is: no client goes without."""
    (tmp_path / "slow_commands.py").write_text(SLOW)
    monkeypatch.setattr(
        support, "environment", lambda: {**os.environ, "PYTHONPATH": f"{support.REPOSITORY}:{tmp_path}"}
    )
    count = 500
    batch = b"[%b]" % b",".join(b'{"jsonrpc":"2.0","method":"test.slow","id":%d}' % id for id in range(count))
    with Server(tmp_path, "--commands=slow_commands") as server, ExitStack() as stack:
        clients = {name: stack.enter_context(datagram_client(server.addresses[name])) for name in ("unix", "udp4")}
        for name in ("tcp", "http"):
            clients[name] = stack.enter_context(socket.create_connection(server.addresses[name], PATIENCE))
        for name, client in clients.items():
            client.sendall(http_request(batch) if name == "http" else batch)
        fifo = stack.enter_context(ReplyFifo(server.reply_dir / "a"))
        write_fifo(server.addresses["fifo"], with_reply_name(batch, "a"))
        for name in clients:  # all of them have been begun
            assert server.call(name, ECHO) == ECHO_REPLY
        server.process.send_signal(signal.SIGTERM)
        whole = {"fifo": fifo.read()}
        assert server.process.wait(PATIENCE) == -signal.SIGTERM
        for name, client in clients.items():
            whole[name] = client.recv(1_000_000)
            while name in ("tcp", "http") and (more := client.recv(1_000_000)):
                whole[name] += more
    for name, reply in whole.items():
        replies = json.loads(reply.rpartition(b"\r\n\r\n")[2])
        assert [one["id"] for one in replies] == list(range(count)), name
        assert "result" in replies[0], name
        assert replies[-1]["error"]["message"] == "Command Cancelled", name


def test_last_change_is_kept(tmp_path: Path) -> None:
    """What a command in progress at SIGTERM changes is stored as well."""
    (tmp_path / "late.py").write_text(LATE)
    options = ("--htable=a=>size=4;", "--htable-db=tables.db", "--commands=late:Late")
    document = b'{"jsonrpc":"2.0","method":"test.late","id":1}'
    request = http_request(document)
    with Server(tmp_path, *options) as server, socket.create_connection(server.addresses["http"], PATIENCE) as client:
        client.sendall(request)
        while b"async_in_flight = 1" not in server.call("unix", IN_FLIGHT):
            pass
        assert server.stop() == -signal.SIGTERM
        assert b'"done"' in client.recv(10_000)
    with Server(tmp_path, *options) as server:
        assert b'"late"' in server.call("unix", b'{"jsonrpc":"2.0","method":"htable.get","params":["a","k"],"id":1}')


def test_killed(tmp_path: Path) -> None:
    """After kill -9 the next server takes the place of the dead one's FIFO and sockets, and serves."""
    ports: tuple[str, ...] = ()
    for _ in range(2):
        with Server(tmp_path, *ports) as server:
            for transport in TRANSPORTS:
                assert server.call(transport, ECHO) == ECHO_REPLY
            ports = (f"--http-listen=tcp:{server.addresses['http'][1]}:interface=127.0.0.1",)
            assert server.stop(signal.SIGKILL) == -signal.SIGKILL
            assert Path(server.addresses["unix"]).is_socket()


def test_full_descriptors(tmp_path: Path) -> None:
    """Where no more files can be opened, the other transports answer, and connections are taken again afterwards."""
    with Server(tmp_path, "--max-connections=100000") as server, ExitStack() as stack:
        subprocess.run(["prlimit", f"--pid={server.process.pid}", "--nofile=60:60"], check=True)
        for _ in range(100):
            stack.enter_context(socket.create_connection(server.addresses["http"], PATIENCE))
        server.wait_for_log("EMFILE recovery")
        for transport in DATAGRAM_TRANSPORTS:
            assert server.call(transport, ECHO) == ECHO_REPLY
        stack.close()
        for transport in TRANSPORTS:
            assert server.call(transport, ECHO) == ECHO_REPLY


def test_clock_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting the clock forward by days, and back, changes nothing: all is answered in time."""
    need("faketime", "faketime")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    monkeypatch.setenv("LD_PRELOAD", glob.glob("/usr/lib/*/faketime/libfaketime.so.1")[0])
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(clock))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    with Server(tmp_path, "--htable=a=>size=4;") as server:
        monkeypatch.undo()
        for jump, day in (("+0", 0), ("+3d", 3), ("-3d", -3), ("+1d", 1)):
            clock.write_text(jump)
            up = json.loads(server.call("unix", b'{"jsonrpc":"2.0","method":"core.uptime","id":1}'))["result"]["uptime"]
            assert up // 86400 == max(day, 0)
            for transport in TRANSPORTS:
                assert server.call(transport, ECHO) == ECHO_REPLY
            sleep = b'{"jsonrpc":"2.0","method":"core.sleep","params":[0.01],"id":1}'
            for transport in ("http", "https"):
                assert b'"result"' in server.call(transport, sleep)
            store = b'{"jsonrpc":"2.0","method":"htable.sets","params":["a","k","v"],"id":1}'
            assert b'"result"' in server.call("unix", store)
        assert server.stop() == -signal.SIGTERM
