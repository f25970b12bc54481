"""Long batches: they give way to others, have limits, and are answered over every transport."""

import json
import socket
import struct
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jsonrpcs_tx import makeService
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.rpc import batches
from jsonrpcs_tx.rpc.batches import MAX_WAITING, MAX_WAITING_OF_CLIENT, SLICE
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.pretty import Layout
from jsonrpcs_tx.rpc.registry import Registry, command
from tests.support import (
    ECHO,
    ECHO_REPLY,
    PATIENCE,
    ReplyFifo,
    Server,
    datagram_client,
    http_request,
    with_reply_name,
    write_fifo,
)

UDP = Origin("udp")


class Slow:
    """A dispatcher whose command C{slow} takes half a slice, on a clock of its own; C{big} has a large result.

    @ivar ran: the ids of the requests that were run.
    """

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.ran: list[int] = []

        @command("slow")
        def slow(number: int) -> int:
            self.ran.append(number)
            self.clock.rightNow += SLICE / 2
            return number

        @command("big")
        def big(size: int) -> str:
            self.ran.append(size)
            return "x" * size

        @command("later")
        async def later() -> None:
            await Deferred()

        self.dispatcher = Dispatcher(Registry(slow, big, later), self.clock, **options)

    def send(self, *calls: tuple[str, Any], origin: Origin = UDP) -> tuple[Any, list[Reply]]:
        """Send a batch, whose ids are 0 and up.

        @return: what the dispatcher returned, and the replies that have come of it.
        """
        members = [{"jsonrpc": "2.0", "method": name, "params": [p], "id": i} for i, (name, p) in enumerate(calls)]
        replies: list[Reply] = []
        reply = self.dispatcher.dispatch(json.dumps(members).encode(), origin)
        if isinstance(reply, Deferred):
            reply.addCallback(replies.append)
        else:
            replies.append(reply)
        return reply, replies

    def turn(self) -> None:
        """Run what is due in one turn of the reactor; an advance of the clock would run what that makes due as well."""
        (call,) = self.clock.calls
        self.clock.calls.clear()
        call.called = 1
        call.func(*call.args, **call.kw)


def numbers(begin: int, end: int) -> list[tuple[str, int]]:
    return [("slow", number) for number in range(begin, end)]


def results(reply: Reply) -> list[Any]:
    return [member.get("result", member.get("error")) for member in json.loads(reply.body)]


def test_gives_way() -> None:
    """A batch works for some milliseconds in each turn of the reactor, and its reply is as that of any other."""
    slow = Slow()
    _, replies = slow.send(*numbers(0, 5))
    assert (slow.ran, replies) == ([0, 1], [])
    slow.turn()
    assert (slow.ran, replies) == ([0, 1, 2, 3], [])
    slow.turn()
    assert results(replies[0]) == [0, 1, 2, 3, 4]
    assert [member["id"] for member in json.loads(replies[0].body)] == [0, 1, 2, 3, 4]
    assert slow.dispatcher.traffic("udp").replies.value == 1
    assert slow.clock.getDelayedCalls() == []


def test_short_one_is_answered_at_once() -> None:
    """A batch that is done in that time is answered at once, as a single request always is."""
    slow = Slow()
    assert isinstance(slow.send(*numbers(0, 2))[0], Reply)
    assert isinstance(slow.dispatcher.dispatch(ECHO, UDP), Reply)


def test_taking_turns() -> None:
    """Several batches take turns, so that in each turn of the reactor no more is worked than for one."""
    slow = Slow()
    sent = [slow.send(*numbers(10 * batch, 10 * batch + 4))[1] for batch in range(3)]
    assert slow.ran == [0, 1]
    for turn in range(1, 6):
        slow.turn()
        assert len(slow.ran) == 2 + 2 * turn
    assert slow.ran == [0, 1, 2, 3, 10, 11, 20, 21, 12, 13, 22, 23]
    assert [results(replies[0])[-1] for replies in sent] == [3, 13, 23]


def test_many_short_ones() -> None:
    """Batches that are each done in time take turns as well, when they come at the same time."""
    slow = Slow()
    sent = [slow.send(*numbers(0, 1))[1] for _ in range(4)]
    assert len(slow.ran) == 1
    for count in range(2, 5):
        slow.turn()
        assert len(slow.ran) == count
    assert [len(replies) for replies in sent] == [1] * 4


def test_too_many() -> None:
    """So many may wait in all and of one client; a further one gets an error, and none of it is run."""
    slow = Slow()
    for client, count in ((f"c{number}", MAX_WAITING_OF_CLIENT) for number in range(4)):
        origin = Origin("http", True, client=client)
        for _ in range(count):
            assert slow.send(*numbers(0, 3), origin=origin)[1] == []
        assert slow.send(*numbers(0, 3), origin=origin)[1][0].code == 503
    _, replies = slow.send(*numbers(0, 3))
    assert json.loads(replies[0].body) == {
        "jsonrpc": "2.0",
        "error": {"code": 503, "message": "Too Many Batches: 64 in all and 16 of a client may wait"},
        "id": None,
    }
    assert slow.ran == [0, 1]
    for _ in range(2 * MAX_WAITING):
        slow.clock.advance(0)
    assert len(slow.ran) == 3 * MAX_WAITING
    assert slow.send(*numbers(0, 1))[1][0].code == 200


def test_cancelled() -> None:
    """Of a batch whose client leaves nothing more is run, and what is in progress is cancelled."""
    slow = Slow()
    calls = [("later", 0), *numbers(1, 6)]
    later, replies = slow.send(*calls, origin=Origin("http", True))
    assert slow.dispatcher.delayed.slots.taken == 1
    later.cancel()
    assert [found["message"] for found in results(replies[0]) if isinstance(found, dict)] == ["Command Cancelled"] * 4
    assert slow.dispatcher.delayed.slots.taken == 0
    slow.clock.advance(1)
    assert slow.ran == [1, 2]


def test_size_of_the_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """The replies to a batch have a limit: the one beyond it is replaced, and what follows is not run."""
    monkeypatch.setattr(batches, "MAX_REPLY", 1000)
    slow = Slow()
    _, replies = slow.send(("big", 500), ("big", 600), ("big", 1))
    first, second, third = results(replies[0])
    assert first == "x" * 500
    assert second["message"].startswith("Batch Reply Too Large: at most ")
    assert third["message"].startswith("Not Run: ")
    assert slow.ran == [500, 600]


def test_layout_for_people() -> None:
    """The replies to a batch are laid out one by one, which gives what the layout of the whole gives."""
    calls = [*numbers(0, 3), ("no", 1)]
    slow, plain = Slow(pretty_format=True), Slow()
    _, replies = slow.send(*calls)
    slow.turn()
    _, compact = plain.send(*calls)
    plain.turn()
    assert replies[0].body == Layout(elements_on_lines=True).document(compact[0].body)


def test_jsonrpc_exec() -> None:
    """A program that runs a batch gets the reply at once, however long it takes."""
    slow = Slow()
    reply, _ = slow.send(*numbers(0, 9), origin=Origin("exec", at_once=True))
    assert results(reply) == list(range(9))
    service = makeService(Settings(transport=1, load="all"), Clock())
    assert service._exec_origin.at_once


BUSY = """
import time
from jsonrpcs_tx import command

@command("test.busy", stateless=True)
def busy(number: int) -> int:
    "Works for a millisecond."
    end = time.perf_counter() + 0.001
    while time.perf_counter() < end:
        pass
    return number
"""
PATIENT = f"""
from jsonrpcs_tx import service
from jsonrpcs_tx.transports import connections

service.BATCH_TIME = connections.CLOSE_TIME = {PATIENCE}
"""
"""On a busy machine, a millisecond's work may take far longer, and at the stop there is only so much time for all."""


def busy(count: int) -> bytes:
    requests = (b'{"jsonrpc":"2.0","method":"test.busy","params":[%d],"id":%d}' % (i, i) for i in range(count))
    return b"[" + b",".join(requests) + b"]"


EXPECTED = [{"jsonrpc": "2.0", "result": number, "id": number} for number in range(100)]


def check_datagrams(address: Any) -> None:
    """See that a long batch and a single request behind it are answered over a datagram socket, the latter first."""
    with datagram_client(address) as client:
        client.send(busy(100))
        client.send(ECHO)
        assert client.recv(100_000) == ECHO_REPLY
        assert json.loads(client.recv(100_000)) == EXPECTED


@pytest.mark.slow
@pytest.mark.parametrize("fast", ["yes", "no"])
def test_served(tmp_path: Path, fast: str) -> None:
    """Over every transport a long batch is answered, and a single request that comes behind it is answered before."""
    (tmp_path / "busy.py").write_text(BUSY)
    with Server(tmp_path, "--commands=busy", f"--fast-paths={fast}") as server:
        for transport in ("unix", "udp4"):
            check_datagrams(server.addresses[transport])
        with ReplyFifo(server.reply_dir / "batch") as reply:
            write_fifo(server.addresses["fifo"], with_reply_name(busy(100), "batch"))
            assert server.call("unix", ECHO) == ECHO_REPLY
            assert json.loads(reply.read()) == EXPECTED
        for transport in ("tcp", "http", "https"):
            assert json.loads(server.call(transport, busy(100))) == EXPECTED


@pytest.mark.slow
def test_served_by_a_worker(tmp_path: Path) -> None:
    """A worker process lets its batches give way, and answers them before it stops."""
    (tmp_path / "busy.py").write_text(BUSY)
    command = ("-n", "jsonrpcs", "--transport=4", "--dgram-socket=udp:127.0.0.1:0", "--dgram-workers=2")
    with Server(tmp_path, command=(*command, "--commands=busy")) as server:
        for number in range(2):
            server.wait_for_log(f"worker {number} reads")
        check_datagrams(server.addresses["udp4"])
        with datagram_client(server.addresses["udp4"]) as client:
            client.send(busy(100))
            assert server.call("udp4", ECHO) == ECHO_REPLY
            server.process.terminate()
            assert json.loads(client.recv(100_000)) == EXPECTED


@pytest.mark.slow
def test_stopped(tmp_path: Path) -> None:
    """A server that is told to stop answers the batches in progress first."""
    (tmp_path / "busy.py").write_text(BUSY + PATIENT)
    with Server(tmp_path, "--commands=busy") as server, datagram_client(server.addresses["unix"]) as unix:
        with (
            socket.create_connection(server.addresses["http"], PATIENCE) as http,
            socket.create_connection(server.addresses["tcp"], PATIENCE) as tcp,
            ReplyFifo(server.reply_dir / "batch") as reply,
        ):
            unix.send(busy(100))
            write_fifo(server.addresses["fifo"], with_reply_name(busy(100), "batch"))
            http.sendall(http_request(busy(100)))
            tcp.sendall(busy(100))
            assert server.call("udp4", ECHO) == ECHO_REPLY
            server.process.terminate()
            last = b'"result":99,"id":99}]'
            assert unix.recv(100_000).endswith(last)
            assert reply.read().endswith(last)
            for client in (http, tcp):
                assert b"".join(iter(partial(client.recv, 100_000), b"")).endswith(last)
        assert server.process.wait(PATIENCE) == -15
        assert not [line for line in server.log if "Traceback" in line]


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "http"])
def test_client_leaves(tmp_path: Path, transport: str) -> None:
    """The rest of a batch is not run when its client has cut the connection."""
    (tmp_path / "busy.py").write_text(BUSY)
    document = busy(500)
    with Server(tmp_path, "--commands=busy", "--http-timeout=600") as server:
        for _ in range(3):
            with socket.create_connection(server.addresses[transport], PATIENCE) as client:
                client.sendall(http_request(document) if transport == "http" else document)
                assert server.call("udp4", ECHO) == ECHO_REPLY
                # Else it may be one that has only ended its side, and reads.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        read = b'{"jsonrpc":"2.0","method":"cnt.get","params":["%s","replies"],"id":1}' % transport.encode()
        assert server.call("unix", busy(100)).endswith(b'"id":99}]')  # there are no others to take turns with
        assert server.call("unix", read) == b'{"jsonrpc":"2.0","result":3,"id":1}'
