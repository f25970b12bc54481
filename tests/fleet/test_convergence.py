"""However nodes come and go, whatever Redis loses and delivers again: all nodes end up with the same contents."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.task import Clock

from jsonrpcs_tx.fleet.core import QUEUE, REFUSE, Core
from jsonrpcs_tx.fleet.entries import BEGINNING, Id, Seals
from jsonrpcs_tx.fleet.replica import StreamState, is_lost
from jsonrpcs_tx.fleet.streamtime import StreamTime
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.state.destinations import Destination, DestinationSets
from jsonrpcs_tx.state.sharing import Shareable
from jsonrpcs_tx.state.tables import Tables
from jsonrpcs_tx.state.variables import Variable, Variables

pytestmark = pytest.mark.slow

SECRET = b"a secret of thirty-two characters"


class Stream:
    """What Redis has: a stream and a snapshot."""

    def __init__(self) -> None:
        self.entries: list[tuple[Id, dict[bytes, bytes]]] = []
        self.last = BEGINNING
        self.added = 0
        self.snapshot: bytes | None = None
        self.ms = 1_700_000_000_000

    def add(self, fields: list[bytes]) -> Id:
        self.last = Id(self.ms, self.last.number + 1) if self.last.ms == self.ms else Id(self.ms, 0)
        self.entries.append((self.last, dict(zip(fields[::2], fields[1::2], strict=True))))
        self.added += 1
        return self.last

    def state(self, cursor: Id, anchor: Id | None = None) -> StreamState:
        ids = [id for id, _ in self.entries]
        at_anchor = anchor is None or anchor in ids
        return StreamState(ids[0] if ids else None, self.last, cursor in ids, self.added == len(ids), at_anchor)

    def lose(self, number: int) -> None:
        """Lose the newest entries, as a Redis that is killed before it has written them."""
        for _ in range(min(number, len(self.entries))):
            self.entries.pop()
            self.added -= 1
        self.last = self.entries[-1][0] if self.entries else BEGINNING

    def lose_all(self) -> None:
        self.entries, self.last, self.added, self.snapshot = [], BEGINNING, 0, None


class Node:
    """A node with its own clock, and the connection between it and the stream."""

    def __init__(self, name: str, run: int, stream: Stream, offline: str, skew: float) -> None:
        self.name = name
        self.clock = Clock()
        self.clock.rightNow = stream.ms / 1000 + skew
        self.time = StreamTime(self.clock)
        tables, variables = Tables(self.clock, self.clock.seconds), Variables()
        self.table = tables.define("ban=>autoexpire=100;updateexpire=0;")
        self.table.follow(self.time, self.time.lasting)  # type: ignore[arg-type] # it tells seconds
        self.sets = DestinationSets()
        self.group = variables.add("shop", [Variable("limit", 10, most=100), Variable("name", "")])
        self.variables = variables
        self.things: dict[str, Shareable] = {"htable:ban": self.table, "dispatcher": self.sets, "cfg:shop": self.group}
        self.stream = stream
        self.core = Core(name, f"{name}{run}", self.things, Seals(SECRET, "test"), self.time, offline)
        for thing_name, thing in self.things.items():
            thing.share = _Share(self, thing_name)
        self.connected = False
        self.anchor: Id | None = None
        self.outcomes: list[Any] = []

    def connect(self) -> None:
        self.time.told(self.stream.ms)
        self.core.connected(self.stream.state(self.core.replica.cursor), self.stream.snapshot)
        self.connected = True

    def cut(self) -> None:
        self.connected, self.anchor = False, None
        self.core.disconnected("the connection was cut")

    def beat(self) -> None:
        """Look after the stream, as a node does every few seconds."""
        core = self.core
        if not self.connected or not core.together:
            return
        found = self.stream.state(core.replica.cursor, self.anchor)
        lost = self.anchor is not None and is_lost(self.anchor, found)
        if lost or not core.may_go_on(found):
            self.cut()
            if lost:
                core.lose(found)
            self.connect()
        self.anchor = core.replica.cursor if core.together else None

    def send(self, lost: bool = False) -> None:
        for _, fields in self.core.to_send():
            if not lost:
                self.stream.add(fields)

    def read(self, most: int, doubled: bool = False) -> bool:
        """Read some entries; whether it has come to the end."""
        following = [entry for entry in self.stream.entries if entry[0] > self.core.replica.cursor]
        for id, fields in following[:most]:
            self.core.take(id, fields)
            if doubled:
                self.core.take(id, fields)
        if len(following) <= most:
            self.time.read_until(self.stream.ms)
            if not self.core.together and self.core.at_end():
                self.anchor = self.core.replica.cursor
            return True
        return False

    def settled(self) -> bool:
        """Go on until there is nothing more that this node can do alone."""
        for _ in range(10):
            self.beat()
            if self.core.is_founding and self.core.replica.cursor == self.stream.last:
                self.cut()  # what it waits for does not come
                self.connect()
            if not self.core.may_go_on(self.stream.state(self.core.replica.cursor)):
                self.cut()
                self.connect()
            self.read(10**6)
            self.core.expire(self.clock.seconds() + 2)
            self.send()
            if self.core.wants_snapshot:
                return False
            if self.is_settled():
                return True
        return False

    def is_settled(self) -> bool:
        core = self.core
        return core.together and core.replica.cursor == self.stream.last and not core.waiting

    def contents(self) -> dict[str, Any]:
        return {name: thing.contents() for name, thing in self.things.items()}


class _Share:
    def __init__(self, node: Node, name: str) -> None:
        self._node, self._name = node, name

    def submit(self, operation: str, *arguments: Any) -> Any:
        return self._node.core.submit(self._name, operation, list(arguments), self._node.clock.seconds() + 2)


KEYS = st.sampled_from("abc")


class Fleet(RuleBasedStateMachine):
    """Anything may happen in any order."""

    @initialize(offline=st.sampled_from((REFUSE, QUEUE)))
    def begin(self, offline: str) -> None:
        self.stream = Stream()
        self.offline = offline
        self.runs = 0
        self.nodes: list[Node] = []
        self.intact = True
        self.acknowledged: dict[str, list[str]] = {}
        self.serial = 0
        for _ in range(2):
            self.join(0.0)

    @rule(skew=st.sampled_from((0.0, 30.0, -30.0)))
    def join(self, skew: float) -> None:
        if len(self.nodes) < 4:
            self.runs += 1
            self.nodes.append(Node(f"n{self.runs}", self.runs, self.stream, self.offline, skew))
            self.nodes[-1].connect()

    @precondition(lambda self: len(self.nodes) > 1)
    @rule(which=st.integers(0, 9))
    def kill(self, which: int) -> None:
        node = self.nodes.pop(which % len(self.nodes))
        node.cut()

    @rule(which=st.integers(0, 9), lost=st.booleans())
    def cut(self, which: int, lost: bool) -> None:
        node = self.nodes[which % len(self.nodes)]
        if node.connected:
            node.send(lost)  # with the reply lost, or with what was sent
            node.cut()

    @rule(which=st.integers(0, 9))
    def connect(self, which: int) -> None:
        node = self.nodes[which % len(self.nodes)]
        if not node.connected:
            node.connect()

    @rule(which=st.integers(0, 9), most=st.integers(1, 5), doubled=st.booleans())
    def read(self, which: int, most: int, doubled: bool) -> None:
        node = self.nodes[which % len(self.nodes)]
        if node.connected:
            node.read(most, doubled)

    @rule(which=st.integers(0, 9))
    def send(self, which: int) -> None:
        node = self.nodes[which % len(self.nodes)]
        if node.connected:
            node.send()

    @rule(seconds=st.sampled_from((0.001, 1.0, 70.0, 1000.0)))
    def wait(self, seconds: float) -> None:
        self.stream.ms += int(seconds * 1000)
        for node in self.nodes:
            node.clock.advance(seconds)
            node.table.remove_expired()

    @rule(which=st.integers(0, 9), key=KEYS, expires=st.sampled_from((0, 50)))
    def set_item(self, which: int, key: str, expires: int) -> None:
        self.serial += 1
        value = self.serial
        node = self.nodes[which % len(self.nodes)]
        self._do(node.table.set, key, value, expires)

    @rule(which=st.integers(0, 9), key=KEYS, how=st.sampled_from(("delete", "expire", "flush")))
    def change_table(self, which: int, key: str, how: str) -> None:
        table = self.nodes[which % len(self.nodes)].table
        arguments: tuple[Any, ...] = {"delete": (key,), "expire": (key, 80), "flush": ()}[how]
        self._do(getattr(table, how), *arguments)

    @rule(which=st.integers(0, 9), key=KEYS, how=st.sampled_from(("add", "remove", "set_state")))
    def change_destinations(self, which: int, key: str, how: str) -> None:
        sets = self.nodes[which % len(self.nodes)].sets
        if how == "add":
            self._do(sets.add, 1, Destination(f"sip:{key}"))
        elif how == "remove":
            self._do(sets.remove, 1, f"sip:{key}")
        else:
            self._do(sets.set_state, "ip", 1, lambda one: one.uri == f"sip:{key}")

    @rule(which=st.integers(0, 9), value=st.integers(0, 100), id=st.sampled_from((None, 1, 2)))
    def change_variables(self, which: int, value: int, id: int | None) -> None:
        node = self.nodes[which % len(self.nodes)]
        if id is None or id in node.group.instances:
            self._do(node.variables.find("shop", id).set, "limit", value)
        else:
            self._do(node.variables.add_instance, "shop", id)

    @rule(which=st.integers(0, 9))
    def make_snapshot(self, which: int) -> None:
        node = self.nodes[which % len(self.nodes)]
        if node.connected and node.core.together:
            self.stream.snapshot = node.core.replica.snapshot() or self.stream.snapshot

    @rule(number=st.integers(1, 5))
    def trim(self, number: int) -> None:
        del self.stream.entries[:number]

    @rule(number=st.integers(1, 4))
    def lose(self, number: int) -> None:
        self._restart_redis()
        self.stream.lose(number)

    @rule()
    def lose_all(self) -> None:
        self._restart_redis()
        self.stream.lose_all()

    @rule()
    def remove_stream(self) -> None:
        """While nodes are connected, and may go on before they notice."""
        self.intact = False
        snapshot = self.stream.snapshot
        self.stream.lose_all()
        self.stream.snapshot = snapshot
        self.stream.ms += 1

    @rule(which=st.integers(0, 9))
    def beat(self, which: int) -> None:
        self.nodes[which % len(self.nodes)].beat()

    def _restart_redis(self) -> None:
        self.intact = False
        for node in self.nodes:
            if node.connected:
                node.cut()

    def _do(self, change: Any, *arguments: Any) -> None:
        outcome = change(*arguments)
        if outcome is not None and hasattr(outcome, "addErrback"):
            outcome.addErrback(lambda failure: failure.trap(Fault, ValueError, KeyError))

    @invariant()
    def bounded(self) -> None:
        for node in self.nodes:
            assert node.core.waiting < 1000

    def teardown(self) -> None:
        if not hasattr(self, "nodes"):
            return
        self._converge()
        before = [node.contents() for node in self.nodes]
        self.nodes.append(Node("late", 0, self.stream, REFUSE, 0.0))
        self._converge()
        assert [node.contents() for node in self.nodes[:-1]] == before  # nobody who comes later changes anything

    def _converge(self) -> None:
        for node in self.nodes:
            if not node.connected:
                node.connect()
        for attempt in range(20):
            for node in self.nodes:
                node.settled()
            if all(node.is_settled() for node in self.nodes):
                break
            for node in self.nodes:
                if node.core.wants_snapshot:
                    self._give_snapshot(node, attempt)
        else:
            raise AssertionError([node.core.reason for node in self.nodes])
        contents = [node.contents() for node in self.nodes]
        for node, found in zip(self.nodes, contents, strict=True):
            assert found == contents[0], (node.name, found, contents[0])
            assert node.core.replica.epoch == self.nodes[0].core.replica.epoch

    def _give_snapshot(self, node: Node, attempt: int) -> None:
        """What the others do for a node that waits for one."""
        for other in self.nodes:
            if other.core.together:
                self.stream.snapshot = other.core.replica.snapshot()
                node.cut()
                node.connect()
                return
        node.core.start_over()


Fleet.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestFleet = Fleet.TestCase
