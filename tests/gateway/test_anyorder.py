"""Whatever the order of calls, cancellations, deadlines, answers, refusals and failures, the promises are kept."""

from collections import Counter
from collections.abc import Hashable
from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred

from jsonrpcs_tx.client.errors import BadReply, ClientError, NotReachable, TimedOut
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.kinds import kind_of
from tests.support.examples import examples
from tests.support.turning import Node, Outcome, Sent

READS = ("dispatcher.list", "core.uptime")
CHANGES = ("dispatcher.add", "dispatcher.set_state", "my.change")
RELOADS = ("dispatcher.reload", "permissions.addressReload", "permissions.trustedReload")
REFUSALS = ("Ongoing reload", "ongoing reload", "Command Executed Too Fast")
ERRORS = (NotReachable, BadReply, TimedOut)
MOST = 30
OLD = 2.0


class TimedNode(Node):
    """A node whose calls time out."""

    def send(self, method: str, params: bytes, seconds: float, client: Hashable = None) -> Deferred[Answer]:
        waiting = super().send(method, params, seconds, client)
        sent = self.sent[-1]
        self.clock.callLater(max(0.0, seconds), self._time_out, sent)
        return waiting

    def _time_out(self, sent: Sent) -> None:
        if sent.open:
            sent.waiting.errback(TimedOut("node", sent.method, "no reply"))


@attrs.define(eq=False)
class Asked:
    """A call.

    @ivar before: how many had been sent when it came.
    @ivar changed: how many changes had been answered then.
    """

    method: str
    params: bytes
    deadline: float
    before: int
    changed: float
    outcome: Outcome
    at: float
    client: Hashable


class Machine(RuleBasedStateMachine):
    """Calls to a node, in any order with what the node does."""

    def __init__(self) -> None:
        super().__init__()
        self.node = TimedNode(cache=OLD, patience=20, most_calls=MOST, cache_bytes=10_000)
        self.asked: list[Asked] = []
        self.answers: dict[int, int] = {}
        self.kept: list[Any] = []  # so that no identity comes again
        self.refused: set[int] = set()
        self.changed = 0.0  # the number of what had been sent when the last change was answered
        self.number = 0
        self.sent_then: dict[bytes, int] = {}  # how often what has ended had been sent when that was seen

    @rule(
        methods=st.lists(st.sampled_from(READS + CHANGES + RELOADS), min_size=1, max_size=4),
        seconds=st.sampled_from([0, 0.5, 3, 10, 40, 40]),
        client=st.sampled_from([None, None, "a", "b", "c"]),
    )
    def call(self, methods: list[str], seconds: float, client: Hashable) -> None:
        for method in methods:
            self.number += 1
            params = b"[%d]" % self.number if method in CHANGES else b""
            before, now = len(self.node.sent), self.node.clock.seconds()
            outcome = self.node.call(method, params, seconds, client)
            self.asked.append(Asked(method, params, now + seconds, before, self.changed, outcome, now, client))

    @rule()
    def work(self) -> None:
        """The node answers what has come, and what it is sent then."""
        for _ in range(10):
            for sent in self.node.open:
                sent.is_sent = True
                self.reply(sent)

    @rule(has_room=st.booleans())
    def fill(self, has_room: bool) -> None:
        """The node has no room for what is sent, or has room for what waits."""
        self.node.has_room = has_room
        for sent in self.node.open if has_room else ():
            sent.is_sent = True

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        waiting = [asked for asked in self.asked if not asked.outcome.found]
        if waiting:
            data.draw(st.sampled_from(waiting)).outcome.waiting.cancel()

    @rule(data=st.data(), how=st.sampled_from(["result", "result", "refusal", "fault", "error"]))
    def end(self, data: st.DataObject, how: str) -> None:
        """The node answers, or does not."""
        there = [sent for sent in self.node.open if sent.is_sent]
        if not there:
            return
        sent = data.draw(st.sampled_from(there))
        text = data.draw(st.sampled_from(REFUSALS)) if how == "refusal" else "State Update Failed"
        kind = kind_of(sent.method)
        by_core = text == "Command Executed Too Fast"
        if how == "refusal" and not kind.reads and (kind.delta if by_core else kind.interval):
            self.refused.add(self.node.sent.index(sent))
        elif not kind.reads:
            self.changed = len(self.node.sent)
        if how == "error":
            sent.waiting.errback(data.draw(st.sampled_from(ERRORS))("node", sent.method, "whatever"))
            return
        if how == "result":
            self.reply(sent)
        else:
            sent.refuse(500, text)

    @rule(restarted=st.booleans())
    def go(self, restarted: bool) -> None:
        """The node does not answer, or is another process."""
        self.node.turns.refuse("it is down")
        if restarted:
            self.changed = len(self.node.sent)
            self.node.turns.lose(ClientError("node", "x", "it was restarted"))

    def reply(self, sent: Sent) -> None:
        """The node answers with a result."""
        if not kind_of(sent.method).reads:
            self.changed = len(self.node.sent)
        answer = Answer(b"1")
        self.answers[id(answer)] = self.node.sent.index(sent)
        self.kept.append(answer)
        sent.waiting.callback(answer)

    def run_of(self, asked: Asked) -> int | None:
        """The number of what was sent whose result a call has been told; None: it has been told none."""
        return self.answers.get(id(asked.outcome.found[0])) if asked.outcome.found else None

    @rule(seconds=st.sampled_from([0.1, 0.5, 1, 5, 30]))
    def wait(self, seconds: float) -> None:
        self.node.clock.pump([0.1] * round(seconds * 10))

    @invariant()
    def one_change_of_a_module_at_a_time(self) -> None:
        modules = [kind_of(sent.method).module for sent in self.node.open if not kind_of(sent.method).reads]
        assert len(modules) == len(set(modules))

    @invariant()
    def one_outcome_in_time(self) -> None:
        now = self.node.clock.seconds()
        for asked in self.asked:
            assert len(asked.outcome.found) <= 1
            assert asked.outcome.found or asked.deadline > now - 0.001, asked

    @invariant()
    def nothing_is_run_twice(self) -> None:
        ran = [sent.params for index, sent in enumerate(self.node.sent) if sent.params and index not in self.refused]
        assert len(ran) == len(set(ran))

    @invariant()
    def nothing_is_sent_for_those_who_have_left(self) -> None:
        sent = Counter(sent.params for sent in self.node.sent)
        for asked in self.asked:
            if asked.params and asked.outcome.found:
                assert self.sent_then.setdefault(asked.params, sent[asked.params]) == sent[asked.params]

    @invariant()
    def order_is_kept(self) -> None:
        """Of two calls of a client that change the same module the first was run first, unless both load something
        again.
        """
        last: dict[tuple[str, Hashable], int] = {}
        last_change: dict[tuple[str, Hashable], int] = {}
        for asked in self.asked:
            run = self.run_of(asked)
            kind = kind_of(asked.method)
            if run is None or kind.reads:
                continue
            lane = kind.module, asked.client
            assert run > last_change.get(lane, -1)
            if not kind.shared:
                assert run > last.get(lane, -1)
                last_change[lane] = run
            last[lane] = max(run, last.get(lane, -1))

    @invariant()
    def nothing_waits_to_be_sent_for_nobody(self) -> None:
        waiting = Counter(asked.method for asked in self.asked if not asked.outcome.found)
        for sent in self.node.open:
            assert sent.is_sent or waiting[sent.method], sent

    @invariant()
    def what_is_told_is_not_older_than_the_question(self) -> None:
        for asked in self.asked:
            index = self.run_of(asked)
            if index is None:
                continue
            sent = self.node.sent[index]
            assert sent.method == asked.method
            if asked.method in READS:
                assert index >= asked.changed, "it was sent before a change that had been answered"
                assert sent.at > asked.at - max(OLD, 40)
            else:
                assert index >= asked.before, "it had begun before"
                assert sent.params == asked.params

    @invariant()
    def bounded(self) -> None:
        turns = self.node.turns
        changes = turns._changes
        assert turns.waiting <= MOST
        assert len(changes._lanes) <= len(self.node.open) + turns.waiting
        assert len(turns._reads.flights) <= len(self.node.open)
        assert turns._reads.cache is not None
        assert turns._reads.cache.size <= 10_000

    def teardown(self) -> None:
        """In the end everything is told and forgotten."""
        for _ in range(200):
            while self.node.open:
                index = len(self.node.sent)
                self.node.open[0].answer()
                assert len(self.node.sent) <= index + 10
            self.node.clock.advance(1)
        assert all(len(asked.outcome.found) == 1 for asked in self.asked)
        turns = self.node.turns
        assert turns.waiting == turns._room.size == 0
        assert turns._room._calls == turns._room._sizes == {}
        assert not turns._changes._lanes
        assert not turns._changes._timers
        assert not turns._reads.flights
        assert [call for call in self.node.clock.getDelayedCalls() if "_time_out" not in str(call)] == []


TestAnyOrder = Machine.TestCase
TestAnyOrder.settings = settings(examples(100), stateful_step_count=40)
