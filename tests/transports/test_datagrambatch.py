"""Datagrams that are received and answered many at once get the replies that they get one after the other."""

import json
import socket
from contextlib import ExitStack
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from jsonrpcs_tx.rpc.envelope import DIALECTS
from jsonrpcs_tx.transports.datagrambatch import AVAILABLE, HOLD, MAX_BODY, SLOTS, BatchReader
from jsonrpcs_tx.transports.datagramreader import DatagramReader
from jsonrpcs_tx.transports.waiting import RETRY_DELAY
from tests.support import DATAGRAM_TRANSPORTS, ECHO, ECHO_REPLY
from tests.support.datagrams import received, side
from tests.support.documents import request
from tests.support.examples import examples
from tests.support.logs import warnings

ENOUGH = 8
"""Datagrams that every queue has room for, even that of a Unix socket."""


def test_available() -> None:
    """What these tests are about is used here."""
    assert AVAILABLE


documents = st.one_of(
    st.sampled_from(
        [
            ECHO,
            request("test.fault"),
            request("no.such"),
            b'{"jsonrpc":"2.0","method":"jsonrpc.echo","params":[1]}',
            b"[%b,%b]" % (ECHO, ECHO),
            b"",
            b"{",
        ]
    ),
    st.integers(0, 3 * MAX_BODY).map(lambda size: request("test.large", size)),
    st.integers(MAX_BODY - 60, MAX_BODY).map(lambda size: request("test.large", size)),
    st.binary(max_size=100),
)


@pytest.mark.slow
@given(
    st.sampled_from(DATAGRAM_TRANSPORTS),
    st.sampled_from(list(DIALECTS)),
    st.lists(st.tuples(st.integers(0, 2), documents), max_size=ENOUGH),
)
@examples(200)
def test_same_replies(family: str, dialect: str, sent: list[tuple[int, bytes]]) -> None:
    """Whatever comes, both readers give every client the same replies in the same order, and count the same."""
    outcomes = []
    for kind in (DatagramReader, BatchReader):
        with side(kind, family, dialect) as one:
            for number, document in sent:
                one.send(number, document)
            one.reader.doRead()
            outcomes.append((one.replies(), one.counts()))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("family", [name for name in DATAGRAM_TRANSPORTS if name != "unix"])
def test_many(family: str) -> None:
    """More than fit at once are answered in their order, and no more than the reader may in one turn."""
    with side(BatchReader, family) as one:
        for number in range(2 * SLOTS + 5):
            one.clients[0].sendto(request("jsonrpc.echo", number), one.server.getsockname())
        answered: list[int] = []
        for count in (SLOTS, 2 * SLOTS, 2 * SLOTS + 5, 2 * SLOTS + 5):
            one.reader.doRead()
            answered += [json.loads(reply)["result"][0] for reply in received(one.clients[0])]
            assert answered == list(range(count))


@pytest.mark.parametrize("family", DATAGRAM_TRANSPORTS)
def test_peers(family: str) -> None:
    """The address of a client is what the module socket makes of it."""
    with side(BatchReader, family) as one, ExitStack() as stack:
        clients = one.clients
        if family == "unix":
            abstract = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            abstract.bind(b"\0jsonrpcs_tx\0\xff%d" % id(one))
            odd = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            odd.bind(f"{one.server.getsockname()}ä\udcff")
            clients = [*clients[:2], abstract, odd]
        slots = one.reader._slots
        for _ in range(2):  # the second time, nothing of the first one is left
            for client in clients:
                client.sendto(b"x", one.server.getsockname())
            expected = [one.server.recvfrom(10)[1] for _ in clients]
            for client in clients:
                client.sendto(b"x", one.server.getsockname())
            assert slots.receive(one.server.fileno(), 10) == len(clients)
            assert [slots.peer(place) for place in range(len(clients))] == expected
            clients = clients[::-1]


def test_client_that_is_gone() -> None:
    """Replies to one that has gone are dropped and counted, and those around it get theirs."""
    with side(BatchReader, "unix") as one:
        for number in (0, 1, 0, 1, 0):
            one.send(number, ECHO)
        one.clients[1].close()
        one.reader.doRead()
        assert [*received(one.clients[0])] == [ECHO_REPLY] * 3
        assert one.counts()["unix:dropped"] == 2


def hold() -> None:
    """Take more time than replies that are ready may wait."""
    end = monotonic() + 2 * HOLD
    while monotonic() < end:
        pass


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("kind", [DatagramReader, BatchReader])
def test_turn(kind: type[DatagramReader], stops: bool) -> None:
    """When its time is over, a reader leaves the rest for its next turn, which comes; none is lost at a stop."""
    with side(kind, "udp4") as one:
        one.reader.turn = 0
        one.commands.then = hold
        for id in range(3):
            one.clients[0].sendto(request("test.then", id=id), one.server.getsockname())
        one.reader.doRead()
        answered = [json.loads(reply)["id"] for reply in received(one.clients[0])]
        assert answered == [0]
        for _ in range(2):
            if stops:
                one.reader.finish()
            elif kind is BatchReader:
                one.clock.advance(0)  # all has been received: the reactor sees nothing
            else:
                one.reader.doRead()
            answered += [json.loads(reply)["id"] for reply in received(one.clients[0])]
            assert len(answered) >= 2
        assert answered == [0, 1, 2]
    assert one.clock.getDelayedCalls() == []


def test_slow_command() -> None:
    """Replies do not wait for the commands of others that take their time."""
    early: list[bytes] = []

    with side(BatchReader, "udp4") as one:

        def look() -> None:
            early.extend(received(one.clients[0]))

        steps = iter([hold, look])
        one.commands.then = lambda: next(steps)()
        for method in ("jsonrpc.echo", "test.then", "test.then"):
            one.clients[0].sendto(request(method), one.server.getsockname())
        one.reader.doRead()
        assert [json.loads(reply)["result"] for reply in early] == [[], "done"]
        assert [json.loads(reply)["result"] for reply in received(one.clients[0])] == ["done"]


@pytest.mark.parametrize("kind", [DatagramReader, BatchReader])
def test_stopped_by_a_command(kind: type[DatagramReader]) -> None:
    """A command that has the reader finish is answered, as is what came with it and behind it."""
    with side(kind, "udp4") as one:
        finished: list[Deferred[None]] = []

        def finish() -> None:
            finished.append(one.reader.finish())

        one.commands.then = finish
        wanted: list[Any] = [[0], "done", [1], [2]]
        for document in (
            request("jsonrpc.echo", 0),
            request("test.then"),
            request("jsonrpc.echo", 1),
            request("jsonrpc.echo", 2),
        ):
            one.clients[0].sendto(document, one.server.getsockname())
        one.reader.doRead()
        results = [json.loads(reply)["result"] for reply in received(one.clients[0])]
        assert sorted(results, key=str) == sorted(wanted, key=str)
        assert finished[0].called


def test_closed_by_a_command() -> None:
    """Replies that cannot go out any more since the socket is closed are dropped, and counted."""
    with side(BatchReader, "udp4") as one:
        one.commands.then = one.server.close
        one.clients[0].sendto(request("jsonrpc.echo"), one.server.getsockname())
        one.clients[0].sendto(request("test.then"), one.server.getsockname())
        one.reader.doRead()
        assert one.counts()["udp:dropped"] == 2
        assert not [*received(one.clients[0])]


def test_order() -> None:
    """A reply does not overtake those that wait for its client, even if there is room for it again."""
    with side(BatchReader, "unix") as one:
        client, count = one.clients[0], 0
        while not one.reader.receiver.replies.waiting:
            client.sendto(request("jsonrpc.echo", count), one.server.getsockname())
            one.reader.doRead()
            count += 1
        first = client.recv(1000)
        client.sendto(request("jsonrpc.echo", count), one.server.getsockname())
        one.reader.doRead()
        rest = [*received(client)]
        one.clock.advance(RETRY_DELAY)
        rest += received(client)
        assert [json.loads(reply)["result"] for reply in (first, *rest)] == [[number] for number in range(count + 1)]


@pytest.mark.parametrize("kind", [DatagramReader, BatchReader])
def test_unreadable(kind: type[DatagramReader]) -> None:
    """What keeps datagrams from being read is logged."""
    with side(kind, "udp4") as one, capturedLogs() as events:
        one.reader.doRead()
        assert not warnings(events)
        one.server.close()
        one.reader.doRead()
        assert warnings(events) == ["udp: cannot read: Bad file descriptor"]
