"""Datagrams that are received and answered many at once get the replies that they get one after the other."""

import json
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from jsonrpcs_tx import command
from jsonrpcs_tx.datagrams.datagrambatch import AVAILABLE, HOLD, MAX_BODY, SLOTS, BatchReader
from jsonrpcs_tx.datagrams.datagramreader import DatagramReader
from jsonrpcs_tx.rpc.envelope import DIALECTS
from jsonrpcs_tx.transports.waiting import RETRY_DELAY
from tests.support import DATAGRAM_TRANSPORTS, ECHO, ECHO_REPLY
from tests.support.datagrams import OTHER, received, side
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
            request("test.who"),
            b"[%b,%b]" % (request("test.who"), request("test.fault")),
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


rules = st.lists(
    st.sampled_from(
        [
            "any deny test.who",
            "udp allow jsonrpc.echo test.*",
            "udp 127.0.0.2 allow *",
            "udp 127.0.0.1 deny *",
            "udp ::1 allow test.who",
            "udp 192.0.2.0/24 allow *",
            f"unix uid={os.geteuid()} allow jsonrpc.echo test.who",
            f"unix uid={OTHER} allow *",
            f"unix gid={os.getegid()} deny test.*",
        ]
    ),
    max_size=3,
)


def refusals(events: Iterable[dict[str, Any]]) -> list[str]:
    """What is logged of refused clients."""
    return [f"{event['transport']}: {event['why']} from {event['client']}" for event in events if "why" in event]


@pytest.mark.slow
@given(
    st.sampled_from(DATAGRAM_TRANSPORTS),
    st.sampled_from(list(DIALECTS)),
    rules,
    st.lists(st.tuples(st.integers(0, 2), documents, st.booleans()), max_size=ENOUGH),
)
@examples(300)
def test_same_replies(family: str, dialect: str, rules: list[str], sent: list[tuple[int, bytes, bool]]) -> None:
    """Whatever comes, whoever may call what, both readers give every client the same replies in the same order, count
    the same and log the same refusals.
    """
    outcomes = []
    for kind in (DatagramReader, BatchReader):
        with side(kind, family, dialect, rules) as one, capturedLogs() as events:
            for number, document, as_other in sent:
                if as_other and family == "unix" and os.geteuid() == 0:
                    one.send_as(OTHER, number, document)
                else:
                    one.send(number, document)
            one.reader.doRead()
            outcomes.append((one.replies(), one.counts(), refusals(events)))
    assert outcomes[0] == outcomes[1]


READERS = pytest.mark.parametrize("kind", [DatagramReader, BatchReader])
FORBIDDEN = b'"code":403'


@READERS
@pytest.mark.parametrize("family", DATAGRAM_TRANSPORTS)
def test_rules(kind: type[DatagramReader], family: str) -> None:
    """Rules decide who may call what; once they change, what was decided before is forgotten."""
    network = {"udp4": "udp 127.0.0.1", "udp6": "udp ::1", "unix": f"unix uid={os.geteuid()}"}[family]
    with side(kind, family) as one:

        def ask() -> list[bytes]:
            for document in (ECHO, request("test.fault")):
                one.send(0, document)
            one.reader.doRead()
            return [*received(one.clients[0])]

        open_replies = ask()
        assert [FORBIDDEN in reply for reply in open_replies] == [False, False]
        one.set_rules(f"{network} allow jsonrpc.*")
        for _ in range(2):  # the second time, it is remembered
            assert [FORBIDDEN in reply for reply in ask()] == [False, True]
        one.set_rules(f"{network} allow test.*")
        assert [FORBIDDEN in reply for reply in ask()] == [True, False]
        one.set_rules(f"{network} deny *")
        for _ in range(2):
            assert ask() == []
        one.set_rules("any deny test.other")
        assert ask() == open_replies
        one.set_rules()
        assert ask() == open_replies


def test_held() -> None:
    """What is written about calls that are answered together is written before any of their replies is sent."""
    with side(BatchReader, "udp4") as one:
        steps: list[str] = []
        slots, outgoing = one.reader._slots, one.reader.receiver.replies.outgoing
        send, send_alone = slots.send, outgoing.send

        def note(step: str, then: Callable[..., Any]) -> Callable[..., Any]:
            def noted(*arguments: Any) -> Any:
                steps.append(step)
                return then(*arguments)

            return noted

        for method in ("hold", "release"):
            setattr(one.dispatcher, method, note(method, lambda: None))
        one.commands.then = note("call", hold)
        slots.send, outgoing.send = note("send", send), note("send", send_alone)
        for document in (request("test.then"), request("test.then"), request("test.large", 2 * MAX_BODY), ECHO):
            one.send(0, document)
        one.reader.doRead()
        assert len([*received(one.clients[0])]) == 4
        assert steps.count("call") == 2
        assert steps.count("send") == 4
        assert steps[-1] == "release"
        for place, step in enumerate(steps):
            if step == "send":
                assert "release" in steps[:place]
                assert {"hold", "call"}.isdisjoint(steps[place - steps[:place][::-1].index("release") : place])


@READERS
def test_audited(kind: type[DatagramReader], tmp_path: Path) -> None:
    """The audit log has each call once, in order, with what was refused between, and the parameters and the time as
    they were when it ended.
    """
    path = tmp_path / "audit.log"
    rules = ["udp 127.0.0.1 allow *", "any deny test.fault"]
    with side(kind, "udp4", rules=rules, audit=str(path)) as one:
        kept: list[Any] = []

        def keep() -> str:
            kept[0].append("changed later")
            end = monotonic() + 0.05
            while monotonic() < end:
                pass
            return "done"

        @command("test.keep")
        def add(values: object) -> str:
            """Keeps what it gets."""
            kept.append(values)
            return "kept"

        one.dispatcher.registry.add(add)
        one.commands.then = keep
        one.send(0, request("test.keep", ["kept"], id=1))
        one.send(1, request("test.keep", id=2))
        one.send(0, request("test.fault", id=3))
        one.send(0, request("test.then", id=4))
        one.send(0, request("test.keep", id=5))
        one.reader.doRead()
        one.clock.advance(0)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = [(line["id"], line["outcome"], line.get("params")) for line in lines]
    assert found == [
        (1, "result", [["kept"]]),
        (2, "refused", []),
        (3, "refused", []),
        (4, "result", []),
        (5, "fault", []),
    ]
    first, then = (datetime.fromisoformat(lines[number]["time"]) for number in (0, 3))
    assert (then - first).total_seconds() >= 0.05 - 0.001


def entered(path: Path) -> list[dict[str, Any]]:
    """The lines of an audit log, without what is another each time."""
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in ("time", "ms", "port", "pid")} for line in lines
    ]


values = st.recursive(
    st.sampled_from(["x", "db_password", "API_KEY", "\n\u202e", "\ud800", 1, 2**70, 1.5, None, True, "y" * 3000]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["token", "a"]), inner, max_size=2),
    max_leaves=4,
)
calls = st.builds(
    lambda method, params, id: json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": id}).encode(),
    st.sampled_from(["jsonrpc.echo", "test.fault", "test.who", "no.such"]),
    st.lists(values, max_size=3),
    st.sampled_from([1, 2**65, "id"]),
)


@pytest.mark.slow
@given(st.sampled_from(DATAGRAM_TRANSPORTS), rules, st.lists(st.tuples(st.integers(0, 2), calls), max_size=ENOUGH))
@examples(100)
def test_same_entries(family: str, rules: list[str], sent: list[tuple[int, bytes]]) -> None:
    """Whatever comes, whoever may call what, both readers enter the same calls in the same words."""
    outcomes: list[Any] = []
    for kind in (DatagramReader, BatchReader):
        with TemporaryDirectory() as name:
            path = Path(name) / "audit.log"
            with side(kind, family, rules=rules, audit=str(path)) as one:
                for number, document in sent:
                    one.send(number, document)
                one.reader.doRead()
                outcomes.append((one.replies(), one.counts()))
            outcomes.append(entered(path))
    assert outcomes[:2] == outcomes[2:]


def test_audit_log_that_is_reopened(tmp_path: Path) -> None:
    """After a rotation, the entries of all that is answered go to the new file, also of calls before the command that
    has opened it in the same batch.
    """
    path, former = tmp_path / "audit.log", tmp_path / "audit.log.1"
    with side(BatchReader, "udp4", audit=str(path)) as one:

        def rotate() -> None:
            path.rename(former)
            one.dispatcher._audit.reopen()  # type: ignore[attr-defined] # it has an audit log

        one.commands.then = rotate
        one.send(0, request("jsonrpc.echo", id=1))
        one.reader.doRead()
        for id, method in enumerate(["jsonrpc.echo", "test.then", "jsonrpc.echo"], 2):
            one.send(0, request(method, id=id))
        one.reader.doRead()
        assert [line["id"] for line in entered(former)] == [1]
        assert [line["id"] for line in entered(path)] == [2, 3, 4]


@READERS
def test_networks(kind: type[DatagramReader]) -> None:
    """Each datagram is judged by where it comes from, whatever came before it."""
    with side(kind, "udp4", rules=["udp 127.0.0.2 allow *"]) as one:
        for number in (0, 1, 0, 1, 1):
            one.send(number, ECHO)
        one.reader.doRead()
        assert one.replies()[:2] == [[], [ECHO_REPLY] * 3]
        assert one.counts()["udp:dropped"] == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may send as others")
@READERS
def test_users(kind: type[DatagramReader]) -> None:
    """Each datagram is judged by the user who has sent it, also where one socket serves several."""
    with side(kind, "unix", rules=[f"unix uid={OTHER} allow *"]) as one:
        for user in (OTHER, 0, OTHER, OTHER + 1, OTHER):
            one.send_as(user, 1, request("test.who"))
        one.reader.doRead()
        replies = [json.loads(reply)["result"] for reply in received(one.clients[1])]
        assert replies == [["unix", None, OTHER, OTHER]] * 3
        assert one.counts()["unix:dropped"] == 2


@READERS
@pytest.mark.parametrize("slow", [False, True])
def test_rules_set_by_a_command(kind: type[DatagramReader], slow: bool) -> None:
    """Rules that come while datagrams are answered hold for those that were received with them, now or in the next
    turn.
    """
    with side(kind, "udp4") as one:

        def close() -> None:
            one.set_rules("udp 192.0.2.1 allow *")
            if slow:
                hold()

        if slow:
            one.reader.turn = 0
        one.commands.then = close
        for document in (request("test.then"), ECHO, ECHO):
            one.send(0, document)
        for _ in range(3):
            one.reader.doRead()
            one.clock.advance(0)
        assert [json.loads(reply)["result"] for reply in received(one.clients[0])] == ["done"]
        assert one.counts()["udp:dropped"] == 2


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
@READERS
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


@READERS
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


@READERS
def test_unreadable(kind: type[DatagramReader]) -> None:
    """What keeps datagrams from being read is logged."""
    with side(kind, "udp4") as one, capturedLogs() as events:
        one.reader.doRead()
        assert not warnings(events)
        one.server.close()
        one.reader.doRead()
        assert warnings(events) == ["udp: cannot read: Bad file descriptor"]
