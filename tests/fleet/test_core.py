"""One node without I/O."""

import hmac
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from jsonrpcs_tx.fleet import core as core_module
from jsonrpcs_tx.fleet import replica as replica_module
from jsonrpcs_tx.fleet.core import FOUND_AGAIN, QUEUE, REFUSE, Core
from jsonrpcs_tx.fleet.entries import (
    BEGINNING,
    Change,
    Entry,
    Forged,
    Id,
    Seals,
    UnknownVersion,
    decode,
    encode,
)
from jsonrpcs_tx.fleet.replica import GO_ON, LOST, SNAPSHOT, WINDOW, ContentsTooLarge, StreamState, judge
from jsonrpcs_tx.fleet.streamtime import MARGIN, StreamTime
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.state.tables import Table, Tables

MS = 1_700_000_000_000
SEALS = Seals(b"the secret of the fleet", "fleet")
EMPTY = StreamState(None, BEGINNING, at_cursor=False, whole=True)


class Lone:
    """A node that is the whole fleet: it reads what it sends."""

    def __init__(self, offline: str = REFUSE) -> None:
        self.clock = Clock()
        self.clock.rightNow = MS / 1000
        self.time = StreamTime(self.clock)
        self.table: Table = Tables(self.clock, self.clock.seconds).define("ban=>")
        self.table.follow(self.time, self.time.lasting)  # type: ignore[arg-type] # it tells seconds
        self.core = Core("a", "run", {"htable:ban": self.table}, SEALS, self.time, offline)
        self.table.share = self
        self.number = 0

    def submit(self, operation: str, *arguments: Any) -> Any:
        return self.core.submit("htable:ban", operation, list(arguments), self.clock.seconds() + 2)

    def take(self, fields: list[bytes], ms: int = 0) -> Any:
        """Have the next entry come."""
        self.number += 1
        id = Id(ms or int(self.clock.seconds() * 1000), self.number)
        return self.core.take(id, dict(zip(fields[::2], fields[1::2], strict=True)))

    def turn(self) -> None:
        """Send, and read that."""
        for _, fields in list(self.core.to_send()):
            self.take(fields)

    def join(self) -> None:
        """Be together."""
        self.core.connected(EMPTY, None)
        self.core.at_end()
        self.turn()
        assert self.core.at_end()


def fault_of(pending: Any) -> Fault:
    """What a change has failed with."""
    found: list[Any] = []
    pending.addErrback(lambda failure: found.append(failure.value))
    (fault,) = found
    assert isinstance(fault, Fault)
    return fault


@pytest.mark.parametrize(
    ("cursor", "stream", "verdict"),
    [
        (BEGINNING, EMPTY, GO_ON),
        (BEGINNING, StreamState(Id(5, 0), Id(9, 0), at_cursor=False, whole=False), SNAPSHOT),
        (Id(5, 0), StreamState(Id(5, 0), Id(9, 0), at_cursor=True, whole=True), GO_ON),
        (Id(9, 0), StreamState(None, Id(9, 0), at_cursor=False, whole=False), GO_ON),
        (Id(9, 0), EMPTY, LOST),
        (Id(9, 1), StreamState(Id(5, 0), Id(9, 0), at_cursor=False, whole=True), LOST),
        (Id(7, 0), StreamState(Id(5, 0), Id(9, 0), at_cursor=False, whole=True), LOST),
        (Id(4, 0), StreamState(Id(5, 0), Id(9, 0), at_cursor=False, whole=True), LOST),
        (Id(4, 0), StreamState(Id(5, 0), Id(9, 0), at_cursor=False, whole=False), SNAPSHOT),
    ],
)
def test_judge(cursor: Id, stream: StreamState, verdict: str) -> None:
    """What a node that comes back has to do."""
    assert judge(cursor, stream) == verdict


def test_changes_wait_for_their_place() -> None:
    """A change is made when it comes back in the stream, not before."""
    node = Lone()
    node.join()
    done = node.table.set("k", "v")
    assert done is not None
    assert (done.called, node.table.get("k")) == (False, None)
    node.turn()
    assert (done.called, node.table.get("k")) == (True, "v")


def test_withdrawn() -> None:
    """A change that is cancelled in the same turn is never sent."""
    node = Lone()
    node.join()
    done: Any = node.table.set("k", "v")
    done.addErrback(lambda failure: None)
    done.cancel()
    assert list(node.core.to_send()) == []
    assert node.core.waiting == 0


def test_late() -> None:
    """At its deadline, a change that was sent is reported as uncertain; it still counts when it comes."""
    node = Lone()
    node.join()
    done = node.table.set("k", "v")
    ((_, fields),) = node.core.to_send()
    assert node.core.expire(node.clock.seconds()) == node.clock.seconds() + 2
    node.core.expire(node.clock.seconds() + 2)
    assert fault_of(done).code == 504
    node.take(fields)
    assert node.table.get("k") == "v"
    assert node.core.waiting == 0


def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limited number of changes may wait; further ones are refused."""
    monkeypatch.setattr(core_module, "MAX_WAITING", 3)
    node = Lone(QUEUE)
    for number in range(3):
        node.table.set(f"k{number}", "v")
    assert fault_of(node.table.set("k", "v")).code == 503
    assert (node.table.size, node.core.queued) == (3, 3)
    node.join()
    assert node.core.queued == 0
    monkeypatch.setattr(core_module, "MAX_SIZE", 1000)
    node.turn()
    large = node.table.set("large", "v" * 1000)
    node.turn()
    assert fault_of(large).code == 413


def test_expiry_is_by_the_stream() -> None:
    """An item expires by the time of Redis; it is there for all changes that came before, whatever the node's clock."""
    node = Lone()
    node.join()
    entry = Entry("b", "other", 1, MS, 1, [Change("htable:ban", "set", ["k", "v", 10])])
    node.take(encode(entry, SEALS), MS + 1000)
    node.clock.advance(10.5)
    assert node.table.get("k") == "v"
    node.clock.advance(0.6)
    assert node.table.get("k") is None
    node.table.remove_expired()
    assert node.table.size == 1  # a change that Redis has taken in time may still come
    expire = Entry("b", "other", 2, MS, 1, [Change("htable:ban", "expire", ["k", 100])])
    assert node.take(encode(expire, SEALS), MS + 10_900).results == (True,)
    assert node.table.get("k") == "v"
    node.time.read_until(int(MS + (111 + MARGIN) * 1000))
    node.table.remove_expired()
    assert node.table.size == 0


def test_entries_that_do_not_count() -> None:
    """Entries that are doubled, old, forged, or of another version do nothing, and are reported."""
    node = Lone()
    node.join()
    fields = encode(Entry("b", "other", 1, MS, 1, [Change("htable:ban", "set", ["k", "v", 0])]), SEALS)
    assert node.take(fields).counts
    assert not node.take(fields).counts
    again = encode(Entry("b", "other", 2, MS, 1, [Change("htable:ban", "flush", [])]), SEALS)
    broken = [*again[:3], again[3] + b"x", *again[4:]]
    assert node.take(broken).entry is None
    assert node.take([b"v", b"2", b"e", b"?", b"m", SEALS.seal("entry", b"2 ?")]).entry is None
    unknown = encode(Entry("b", "third", 1, MS, 1, [Change("htable:ban", "paint", ["red"])]), SEALS)
    node.take(unknown)
    assert not node.take(again, MS + WINDOW + 1).counts
    reports = node.core.replica.reports
    assert (reports.doubled, reports.stale, reports.forged, reports.unreadable) == (1, 1, 1, 2)
    assert reports.first_unreadable == f"{MS}-5"
    assert node.core.replica.snapshot() is None  # since it would lack them
    assert node.table.get("k") == "v"


def test_seals() -> None:
    """What is signed for one purpose, fleet or version counts for no other."""
    sealed = SEALS.wrap("card", b"data")
    assert SEALS.unwrap("card", sealed) == b"data"
    for seals, purpose, data in (
        (SEALS, "snapshot", sealed),
        (Seals(b"the secret of the fleet", "other"), "card", sealed),
        (SEALS, "card", sealed[:-1]),
        (SEALS, "card", b""),
    ):
        with pytest.raises(Forged):
            seals.unwrap(purpose, data)
    with pytest.raises(UnknownVersion):
        SEALS.unwrap("card", SEALS.seal("card", b"2 x") + b"2 x")
    for body in (b"", b"\x90", b"\xff" * 100):
        with pytest.raises(Forged):
            decode({b"v": b"1", b"e": body, b"m": SEALS.seal("entry", b"1 " + body)}, SEALS)


@given(st.binary(max_size=200), st.text(max_size=9), st.binary(max_size=300))
def test_seals_are_hmacs(secret: bytes, fleet: str, data: bytes) -> None:
    """The signature is an HMAC-SHA256, whose key is an HMAC with the secret."""
    key = hmac.digest(secret, b"\0".join((b"jsonrpcs_tx fleet", fleet.encode(), b"card")), "sha256")
    assert Seals(secret, fleet).seal("card", data) == hmac.digest(key, data, "sha256")


def test_ids() -> None:
    """The place of an entry is two numbers, and nothing else is taken for one."""
    assert Id.read(b"1700000000000-12") == Id(1_700_000_000_000, 12)
    assert Id.read(str(Id(2**64 - 1, 2**64 - 1)).encode()) == Id(2**64 - 1, 2**64 - 1)
    for text in (b"", b"-", b"1", b"1-", b"-1", b"1-2-3", b"+1-2", b" 1-2", b"1_0-2", b"\xb2-1", b"1-" + 50 * b"1"):
        with pytest.raises(ValueError, match="is not the id of an entry"):
            Id.read(text)


def test_too_large_to_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose contents are too large for Redis says how large they are, and tries again later."""
    monkeypatch.setattr(replica_module, "MAX_CONTENTS", 1000)
    node = Lone()
    node.table.share = None
    node.table.set("k", "x" * 1000)
    node.table.share = node
    node.core.connected(EMPTY, None)
    for _ in range(2):
        assert not node.core.at_end()
        assert not list(node.core.to_send())
        assert re.fullmatch(
            r"its contents cannot be written: what is shared has 10\d\d bytes, 10\d\d of them in htable:ban; "
            "allowed: 1000",
            node.core.reason,
        )
    node.table.share = None
    node.table.delete("k")
    node.table.share = node
    assert not node.core.at_end()
    assert not list(node.core.to_send())
    node.clock.advance(FOUND_AGAIN)
    assert not node.core.at_end()
    node.turn()
    assert node.core.at_end()


def test_too_large_for_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot that would be too large is not made, while changes go on."""
    node = Lone()
    node.join()
    node.table.set("k", "x" * 1000)
    node.turn()
    monkeypatch.setattr(replica_module, "MAX_CONTENTS", 1000)
    with pytest.raises(ContentsTooLarge, match=r"10\d\d of them in htable:ban; allowed: 1000"):
        node.core.replica.snapshot()
    node.table.delete("k")
    node.turn()
    assert node.core.replica.snapshot() is not None


def test_too_large_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that is too large is refused alone, with its size."""
    monkeypatch.setattr(core_module, "MAX_SIZE", 1000)
    node = Lone()
    node.join()
    large, other = node.table.set("k", "x" * 1000), node.table.set("other", 1)
    node.turn()
    assert re.fullmatch(r"413 Change Too Large: it has 10\d\d bytes; allowed: 1000", str(fault_of(large)))
    assert other is not None
    assert other.called
    assert node.table.size == 1


def test_odd_arguments() -> None:
    """A signed entry with arguments of wrong types changes nothing, and is reported."""
    node = Lone()
    node.join()
    odd: list[list[Any]] = [["k"], [1, "v", 0], ["k", [], 0], ["k", "v", "x"], [None, None, None], ["k", 2**64 - 1, 0]]
    for number, arguments in enumerate(odd, 1):
        node.take(encode(Entry("b", "other", number, MS, 1, [Change("htable:ban", "set", arguments)]), SEALS))
    for number, contents in enumerate(([1], "x", [["k"]], {"a": 1}), 10):
        node.take(encode(Entry("b", "other", number, MS, 1, [Change("htable:ban", "replace", [contents])]), SEALS))
    reports = node.core.replica.reports
    assert reports.unreadable + reports.failed == len(odd) + 4
    assert node.table.size == 0


@pytest.mark.parametrize("value", [2**64, "\ud800", object()])
def test_what_cannot_be_written(value: Any) -> None:
    """A change that no entry can hold fails for whoever waits for it, and holds up no other."""
    node = Lone()
    node.join()
    odd, good = node.submit("set", "k", value, 0), node.submit("set", "k", "v", 0)
    node.turn()
    assert fault_of(odd).code == 503
    assert good.called
    assert node.table.get("k") == "v"
    assert not node.core.waiting


def test_queued_while_reading() -> None:
    """Changes that are queued while the stream is read are made once: not in a founding, nor before entries."""
    node = Lone(QUEUE)
    node.core.connected(EMPTY, None)
    assert node.table.set("a", 1) is not None
    assert node.table.get("a") == 1
    assert not node.core.at_end()
    founding = [fields for _, fields in node.core.to_send()]
    assert node.table.get("a") is None
    node.core.disconnected("the connection was cut")
    node.core.connected(EMPTY, None)
    node.table.set("b", 1)
    for fields in founding:
        node.take(fields)
    assert node.table.size == 0
    assert node.core.at_end()
    node.core.disconnected("the connection was cut")
    assert (node.table.get("a"), node.table.get("b")) == (1, 1)
    node.core.connected(StreamState(None, node.core.replica.cursor, at_cursor=True, whole=True), None)
    assert node.table.size == 0
    assert node.core.at_end()
    node.turn()
    assert (node.table.get("a"), node.table.get("b")) == (1, 1)
    assert not node.core.waiting
