"""Which calls to a node are sent, and when."""

import json
import re
import sys

import pytest
from twisted.internet.defer import CancelledError, fail, succeed

from jsonrpcs_tx.client.errors import ClientError, NotReachable, TimedOut
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.turns import Turns
from jsonrpcs_tx.rpc.faults import Fault
from tests.support.logs import logged
from tests.support.turning import Node


def test_reads_pass() -> None:
    """What only reads is sent at once, whatever is under way, with the time that its caller has."""
    node = Node()
    node.call("htable.sets", b'["a","k","v"]')
    first, second = node.call("htable.get", b'["a","k"]', 3), node.call("core.uptime", seconds=2.5)
    assert [(sent.method, sent.seconds) for sent in node.sent[1:]] == [("htable.get", 3), ("core.uptime", 2.5)]
    node.sent[2].answer({"uptime": 1})
    assert (first.text, second.text) == ("", '{"uptime": 1}')


def test_answer_is_passed_as_it_is() -> None:
    """The caller gets the very answer of the node: a result, or a fault."""
    node = Node()
    for method in ("core.echo", "htable.sets", "dispatcher.reload"):
        outcome = node.call(method)
        answer = node.sent[-1].answer()
        assert outcome.found == [answer]
        outcome = node.call(method)
        answer = node.sent[-1].refuse(404, "no such thing")
        assert outcome.found == [answer]


def test_changes_of_a_module_queue() -> None:
    """A change is sent when the one of the same module before it has been answered; the order is kept."""
    node = Node()
    outcomes = [node.call("htable.sets", b'["a",%d]' % number) for number in range(5)]
    for number in range(5):
        assert [sent.params for sent in node.open] == [b'["a",%d]' % number]
        node.sent[-1].answer(number)
        assert [outcome.text for outcome in outcomes] == [str(n) for n in range(number + 1)] + [""] * (4 - number)


def test_other_modules_do_not_wait() -> None:
    """Changes of another module are sent at once. That is the catalogue's, or what stands before the dot."""
    node = Node()
    for method in ("htable.sets", "cfg.seti", "my.change", "your.change"):
        node.call(method)
    assert len(node.open) == 4
    node.call("dns.add_a")  # of the core, as is
    node.call("dst_blocklist.add")
    node.call("my.other")
    assert node.methods[4:] == ["dns.add_a"]


def test_unknown_is_change() -> None:
    """A method that is not in the catalogue may change something."""
    node = Node()
    node.call("my.thing")
    node.call("my.thing")
    assert len(node.sent) == 1


def test_names() -> None:
    """Any name is taken, however long."""
    node = Node()
    for method in ("", ".", "x", "é" * 1000, "my." + "x" * 100_000, "\0\t\n"):
        outcome = node.call(method)
        node.sent[-1].answer()
        assert outcome.text == '"ok"'


@pytest.mark.parametrize(
    "method", ["dispatcher.reload", "permissions.addressReload", "uac.reg_reload", "my.reload_all"]
)
def test_one_reload_for_all(method: str) -> None:
    """Those who ask for a reload while one is running get the next one, and never the one that is running."""
    node = Node()
    first = node.call(method)
    others = [node.call(method) for _ in range(100)]
    assert len(node.sent) == 1
    node.sent[0].answer("first")
    assert first.text == '"first"'
    assert [other.text for other in others] == [""] * 100
    late = [node.call(method) for _ in range(100)]
    assert len(node.sent) == 2
    node.sent[1].answer("second")
    assert {other.text for other in others} == {'"second"'}
    node.sent[2].answer("third")
    assert {outcome.text for outcome in late} == {'"third"'}
    assert len(node.sent) == 3


def test_reloads_of_others_are_not_shared() -> None:
    """Only the same reload is shared: the same method with the same parameters."""
    node = Node()
    node.call("htable.reload", b'["a"]')
    for _ in range(10):
        for table in (b'["a"]', b'["b"]'):
            node.call("htable.reload", table)
    while node.open:
        node.open[0].answer()
    assert [sent.params for sent in node.sent] == [b'["a"]', b'["a"]', b'["b"]']


def test_reload_does_not_pass_change() -> None:
    """Who asks for a reload after a change gets one that is run after it."""
    node = Node()
    methods = ["htable.flush", "htable.reload", "htable.reload", "htable.sets", "htable.reload", "htable.reload"]
    for method in methods:
        node.call(method, b'["a"]')
    while node.open:
        node.open[0].answer()
    assert node.methods == ["htable.flush", "htable.reload", "htable.sets", "htable.reload"]


def test_changes_are_not_shared() -> None:
    """Equal changes are all run: a second one may do more."""
    node = Node()
    for _ in range(3):
        node.call("dispatcher.add", b'[1,"sip:a"]')
    while node.open:
        node.open[0].answer()
    assert len(node.sent) == 3


def test_equal_reads_at_a_time() -> None:
    """Equal reads are asked once while the answer is awaited; after that, again."""
    node = Node()
    outcomes = [node.call("dispatcher.list") for _ in range(10)]
    node.call("dispatcher.list", b'["full"]')
    assert len(node.sent) == 2
    answer = node.sent[0].answer()
    assert [outcome.found for outcome in outcomes] == [[answer]] * 10
    node.call("dispatcher.list")
    assert len(node.sent) == 3


def test_shared_read_fails() -> None:
    """If a read that is shared fails, it fails for all."""
    node = Node()
    outcomes = [node.call("dispatcher.list") for _ in range(3)]
    error = NotReachable("node", "dispatcher.list", "nobody there")
    node.sent[0].waiting.errback(error)
    assert [outcome.found for outcome in outcomes] == [[error]] * 3
    assert node.turns.waiting == 0


def test_read_after_change_sees_it() -> None:
    """A read is not answered by one that was sent before a change that has been answered since."""
    node = Node(cache=60)
    before = node.call("htable.get", b'["a","k"]')
    change = node.call("htable.sets", b'["a","k","new"]')
    node.sent[1].answer()
    assert change.text == '"ok"'
    after = node.call("htable.get", b'["a","k"]')
    assert len(node.sent) == 3
    node.sent[0].answer("old")
    again = node.call("htable.get", b'["a","k"]')
    node.sent[2].answer("new")
    assert (before.text, after.text, again.text) == ('"old"', '"new"', '"new"')
    assert node.call("htable.get", b'["a","k"]').text == '"new"'
    assert len(node.sent) == 3


def test_first_caller_of_shared_read_leaves() -> None:
    """If the caller who was first leaves, the others are asked for again, once."""
    node = Node()
    first, *others = [node.call("dispatcher.list") for _ in range(5)]
    first.waiting.cancel()
    assert node.sent[0].dropped
    assert isinstance(first.found[0], CancelledError)
    assert len(node.sent) == 2
    node.call("dispatcher.list").waiting.cancel()
    node.sent[1].answer()
    assert [other.text for other in others] == ['"ok"'] * 4
    assert node.turns.waiting == 0
    assert node.clock.getDelayedCalls() == []


def test_all_leave_shared_read() -> None:
    """If all who have joined a read leave after the first, it is let go of."""
    node = Node()
    outcomes = [node.call("dispatcher.list") for _ in range(5)]
    for outcome in outcomes:
        outcome.waiting.cancel()
    assert [sent.dropped for sent in node.sent] == [True, True]
    assert node.turns.waiting == 0
    assert node.clock.getDelayedCalls() == []


def test_deadlines_of_shared_read() -> None:
    """Each of those who share a read waits until its own deadline."""
    node = Node()
    first, sooner, later = (node.call("dispatcher.list", seconds=seconds) for seconds in (5, 2, 9))
    node.clock.advance(2)
    assert sooner.text == "504 Node n Timed Out: no reply within 2 s"
    assert (first.text, later.text) == ("", "")
    node.clock.advance(3)
    node.sent[0].waiting.errback(TimedOut("node", "dispatcher.list", "no reply"))
    assert isinstance(first.found[0], TimedOut)
    assert [(sent.at, sent.seconds) for sent in node.sent] == [(1000, 5), (1005, 4)]
    node.clock.advance(4)
    node.sent[1].waiting.errback(TimedOut("node", "dispatcher.list", "no reply"))
    assert later.text == "504 Node n Timed Out: no reply within 9 s"
    assert node.turns.waiting == 0
    assert node.clock.getDelayedCalls() == []


def test_hanging_read_is_asked_again_rarely() -> None:
    """A read that hangs while many ask for it is sent once for each time limit, not once for each caller."""
    node = Node()
    outcomes = []
    for _ in range(2000):
        outcomes.append(node.call("dispatcher.list", seconds=5))
        node.clock.advance(0.01)
        for sent in node.open:
            if node.clock.seconds() >= sent.at + sent.seconds:
                sent.waiting.errback(TimedOut("node", "dispatcher.list", "no reply"))
    assert len(node.sent) <= 20 / 5 * 2
    assert all(outcome.text for outcome in outcomes[:1400])


def test_deadline_before_turn() -> None:
    """A change whose deadline comes before its turn is never sent, and its caller is told so."""
    node = Node()
    node.call("htable.sets", b"[1]", 60)
    late = node.call("htable.sets", b"[2]", 3)
    last = node.call("htable.sets", b"[3]", 60)
    node.clock.advance(3)
    assert late.text == "504 Node n Was Not Asked: the call waited 3 s for its turn"
    node.sent[0].answer()
    assert [sent.params for sent in node.sent] == [b"[1]", b"[3]"]
    node.sent[1].answer()
    assert last.text == '"ok"'


def test_deadline_before_answer() -> None:
    """A change that is not answered in time ends for its caller, but keeps its turn until it is answered."""
    node = Node(patience=30)
    slow = node.call("htable.sets", b"[1]", 3)
    waits = node.call("htable.sets", b"[2]", 60)
    node.clock.advance(3)
    assert slow.text == "504 Node n Timed Out: no reply within 3 s"
    node.clock.advance(20)
    assert len(node.sent) == 1
    node.sent[0].answer()
    assert len(node.sent) == 2
    node.sent[1].waiting.errback(TimedOut("node", "htable.sets", "no reply"))
    assert isinstance(waits.found[0], TimedOut)


@pytest.mark.parametrize("method", ["htable.sets", "htable.get"])
@pytest.mark.parametrize("seconds", [0, -1])
def test_deadline_is_over(method: str, seconds: float) -> None:
    """What comes after its deadline is not sent."""
    node = Node()
    assert node.call(method, seconds=seconds).text == "504 Node n Was Not Asked: the deadline had already passed"
    node.call(method, seconds=1)
    assert node.call(method, seconds=seconds).text == "504 Node n Was Not Asked: the deadline had already passed"
    assert len(node.sent) == 1


def test_cancelled_before_turn() -> None:
    """A change that is cancelled before its turn is never sent."""
    node = Node()
    node.call("htable.sets", b"[1]")
    gone = node.call("htable.sets", b"[2]")
    gone.waiting.cancel()
    assert isinstance(gone.found[0], CancelledError)
    node.sent[0].answer()
    assert len(node.sent) == 1
    assert node.turns.waiting == 0


def test_cancelled_while_running() -> None:
    """A change that is cancelled after it was sent keeps its turn: it may be running."""
    node = Node()
    node.call("htable.sets", b"[1]").waiting.cancel()
    node.call("htable.sets", b"[2]")
    assert len(node.sent) == 1
    assert not node.sent[0].dropped
    node.sent[0].answer()
    assert len(node.sent) == 2


def test_cancelled_share() -> None:
    """A reload is called off when the last of those who share it has left, no sooner."""
    node = Node()
    node.call("dispatcher.reload")
    one, two = node.call("dispatcher.reload"), node.call("dispatcher.reload")
    one.waiting.cancel()
    node.sent[0].answer()
    assert len(node.sent) == 2
    three = node.call("dispatcher.reload")
    three.waiting.cancel()
    node.sent[1].answer()
    assert two.text == '"ok"'
    assert len(node.sent) == 2


@pytest.mark.slow
def test_failures_go_on() -> None:
    """After a change that fails, the next one is sent; also if sending raises, or fails at once, many times."""

    def send(method: str, params: bytes, seconds: float, client: object) -> object:
        calls.append(params)
        if params == b"[0]":
            return waiting
        if params == b"[1]":
            raise ZeroDivisionError
        if params == b"[2]":
            return succeed(Answer(b"2"))
        return fail(NotReachable("node", method, "nobody there"))

    many = sys.getrecursionlimit() + 500
    calls: list[bytes] = []
    node = Node()
    waiting = node.send("x", b"", 1)
    node.turns = Turns(node.clock, send, node.carry)  # type: ignore[arg-type]
    outcomes = [node.call("htable.sets", b"[%d]" % number) for number in range(many)]
    waiting.callback(Answer(b"0"))
    assert len(calls) == many
    assert outcomes[2].text == "2"
    assert isinstance(outcomes[1].found[0], ZeroDivisionError)
    assert {type(outcome.found[0]) for outcome in outcomes[3:]} == {NotReachable}
    assert node.turns.waiting == 0


def test_callers_call_again() -> None:
    """A caller may call again, or cancel others, from within its callback."""
    node = Node()
    order: list[str] = []
    first = node.call("dispatcher.reload")
    others = [node.call("dispatcher.reload") for _ in range(3)]

    def again(_: object) -> None:
        order.append("told")
        node.call("dispatcher.set_state")
        others[1].waiting.cancel()

    others[0].then = again
    node.sent[0].answer()
    node.sent[1].answer()
    assert order == ["told"]
    assert first.text == others[2].text == '"ok"'
    assert isinstance(others[1].found[0], CancelledError)
    assert node.methods[2:] == ["dispatcher.set_state"]
    node.sent[2].answer()
    assert node.turns.waiting == 0


def test_bounded_calls() -> None:
    """Only so many calls wait; others are refused at once, and there is room again later."""
    node = Node(most_calls=5)
    outcomes = [node.call("htable.sets", b"[%d]" % number) for number in range(7)]
    assert [outcome.text for outcome in outcomes[:5]] == [""] * 5
    assert outcomes[5].text == "503 Node n Was Not Asked: 5 calls with 5070 bytes are already waiting for it"
    assert node.call("htable.get").text == ""  # not beside another: it does not wait here
    assert node.call("htable.get").text.startswith("503 ")
    assert node.call("dispatcher.reload").text.startswith("503 ")
    node.sent[0].answer()
    assert node.call("dispatcher.reload").text == ""


def test_bounded_bytes() -> None:
    """The parameters of all that wait have so many bytes; a single one may have more."""
    node = Node(most_bytes=100_000)
    large = b'["' + b"x" * 60_000 + b'"]'
    assert node.call("htable.sets", large).text == ""
    assert node.call("htable.sets", large).text.startswith("503 ")
    node.sent[0].answer()
    assert node.call("htable.sets", large * 3).text == ""
    node.sent[1].answer()
    assert node.turns.waiting == 0


def test_abandoned_changes_are_bounded() -> None:
    """Changes that have been sent take their room until they are answered, also if their callers have left."""
    node = Node(most_bytes=100_000)
    for number in range(1000):
        node.call(f"module{number}.change").waiting.cancel()
    assert 50 < len(node.sent) < 100


def test_cache() -> None:
    """Results of what reads are told again for so many seconds, from when they were asked for."""
    node = Node(cache=2)
    node.call("dispatcher.list")
    node.clock.advance(0.5)
    node.sent[0].answer(1)
    node.clock.advance(1.4)
    assert node.call("dispatcher.list").text == "1"
    node.call("dispatcher.list", b'["full"]')
    assert len(node.sent) == 2
    node.clock.advance(0.1)
    assert node.call("dispatcher.list").text == ""
    assert len(node.sent) == 3


def test_cache_does_not_keep_faults_or_old() -> None:
    """Faults are not kept, nor what came later than it may be kept."""
    node = Node(cache=2)
    node.call("dispatcher.list")
    node.sent[0].refuse(500, "No Destination Sets")
    node.call("dispatcher.list")
    node.clock.advance(2)
    node.sent[1].answer()
    node.call("dispatcher.list")
    assert len(node.sent) == 3


def test_cache_is_dropped_by_changes() -> None:
    """A change that has been answered, or may have been run, drops what is kept."""
    node = Node(cache=60)
    node.call("htable.get")
    node.sent[-1].answer()
    for end in (lambda sent: sent.answer(), lambda sent: sent.waiting.errback(TimedOut("node", "x", "no reply"))):
        assert node.call("htable.get").text == '"ok"'
        node.call("my.change")
        assert node.call("htable.get").text == '"ok"'  # it may not have been run yet
        end(node.sent[-1])
        assert node.call("htable.get").text == ""
        node.sent[-1].answer()


def test_cache_is_bounded() -> None:
    """What is kept has so many bytes at the most, and nothing is kept for longer than it is told."""
    node = Node(cache=10, cache_bytes=100_000)
    for number in range(100):
        node.call("htable.get", b"[%d]" % number)
        node.sent[-1].answer("x" * 10_000)
    kept = sum(node.call("htable.get", b"[%d]" % number).text != "" for number in range(100))
    assert kept == 9
    node.call("htable.dump")
    node.sent[-1].answer("x" * 30_000)
    assert node.call("htable.dump").text == ""
    node.clock.pump([5.0] * 5)
    assert node.turns._reads.cache is not None
    assert node.turns._reads.cache.size == 0
    assert node.clock.getDelayedCalls() == []


def test_close() -> None:
    """When a node is closed, what waits is refused, what was sent is still answered, and nothing more is sent."""
    node = Node(cache=10)
    node.call("core.uptime")
    node.sent[0].answer()
    running, waits, reads = node.call("htable.sets"), node.call("htable.sets"), node.call("htable.get")
    node.turns.close()
    refusal = "503 Node n Was Not Asked: it has been removed, or this server is stopping"
    assert waits.text == refusal
    for method in ("htable.get", "core.uptime", "htable.sets", "cfg.seti"):
        assert node.call(method).text == refusal
    node.sent[1].answer()
    node.sent[2].answer()
    assert running.text == reads.text == '"ok"'
    assert len(node.sent) == 3
    assert node.turns.waiting == 0
    assert node.clock.getDelayedCalls() == []


def test_node_is_down() -> None:
    """What waits for a node that does not answer is refused; what was sent keeps its turn."""
    node = Node()
    running, waits = node.call("htable.sets", b"[1]"), node.call("htable.sets", b"[2]")
    node.turns.refuse("it is down")
    assert (running.text, waits.text) == ("", "503 Node n Was Not Asked: it is down")
    node.call("htable.sets", b"[3]")
    assert len(node.sent) == 1
    node.sent[0].answer()
    assert [sent.params for sent in node.sent] == [b"[1]", b"[3]"]
    assert running.text == '"ok"'


def test_node_is_restarted() -> None:
    """A change that was sent to a process that is gone holds up nobody any more."""
    node = Node()
    error = ClientError("n", "htable.sets", "it was restarted")
    running, waits, other = (node.call(method) for method in ("htable.sets", "htable.sets", "my.change"))
    node.turns.lose(error)
    assert running.found == other.found == [error]
    assert [sent.dropped for sent in node.sent] == [True, True, False]
    node.sent[2].answer()
    assert waits.text == '"ok"'
    node.turns.lose(error)
    assert node.turns.waiting == 0


def test_fault_type() -> None:
    """What Turns refuses is a fault, as commands raise it."""
    node = Node()
    (found,) = node.call("htable.sets", seconds=0).found
    assert isinstance(found, Fault)
    assert found.code == 504


@pytest.mark.slow
def test_what_waits_for_room_is_called_off() -> None:
    """A change whose turn has come, but for which the node has no room, is never sent once its callers have left."""
    node = Node()
    node.has_room = False
    gone = [node.call(f"invented{number}.change", client="x") for number in range(1000)]
    assert len(node.open) == 1000
    for outcome in gone:
        outcome.waiting.cancel()
    assert node.open == []
    assert (node.turns.waiting, node.turns._room.size, node.turns._changes._lanes) == (0, 0, {})


def test_what_waits_for_room_is_called_off_in_time() -> None:
    """Likewise if the deadlines of its callers come; they are told that it has not been sent."""
    node = Node()
    node.has_room = False
    first, second = node.call("my.reload", seconds=1), node.call("my.change", seconds=5)
    node.clock.advance(1)
    assert first.text == "504 Node n Was Not Asked: the call waited 1 s for its turn"
    assert second.text == ""
    node.sent[1].is_sent = True
    node.clock.advance(4)
    assert second.text == "504 Node n Timed Out: no reply within 5 s"
    assert len(node.open) == 1


def test_what_waits_for_room_is_refused() -> None:
    """If the node goes down, so is what waits for room there."""
    node = Node()
    node.has_room = False
    outcome = node.call("my.change")
    node.turns.refuse("it is down")
    assert outcome.text == "503 Node n Was Not Asked: it is down"
    assert node.open == []


def test_shared_run_goes_on() -> None:
    """A reload that waits for room is called off when the last of those who wait for it leaves."""
    node = Node()
    node.call("dispatcher.add")
    callers = [node.call("dispatcher.reload", client=number) for number in range(3)]
    node.has_room = False
    node.sent[0].answer()
    for caller in callers:
        assert [sent.method for sent in node.open] == ["dispatcher.reload"]
        caller.waiting.cancel()
    assert node.open == []


def test_clients_take_turns() -> None:
    """A client that asks for many changes of a module does not hold up those of others; the order of each is kept."""
    node = Node()
    for number in range(50):
        node.call("htable.sets", b'["a",%d]' % number, client="a")
    for number in range(3):
        node.call("htable.sets", b'["b",%d]' % number, client="b")
    for _ in range(53):
        node.open[0].answer()
    sent = [json.loads(sent.params) for sent in node.sent]
    assert [sent.index(["b", number]) for number in range(3)] == [2, 4, 6]
    assert [number for client, number in sent if client == "a"] == list(range(50))


def test_reload_is_not_held_up_by_what_another_waits_for() -> None:
    """A reload that waits behind changes of its client is not shared by others, who would have to wait for those."""
    node = Node()
    for number in range(50):
        node.call("dispatcher.add", b"[%d]" % number, client="a")
    node.call("dispatcher.reload", client="a")
    others = [node.call("dispatcher.reload", client=client) for client in "bcd"]
    for _ in range(3):
        node.open[0].answer()
    assert [other.text for other in others] == ['"ok"'] * 3
    assert node.methods.count("dispatcher.reload") == 1


def test_own_order_with_shared_reload() -> None:
    """A client's change after a reload that it shares comes after that reload, also if a run before it is put back."""
    node = Node()
    node.call("dispatcher.reload", client="a")
    node.call("dispatcher.reload", client="a")
    node.call("dispatcher.reload", client="b")
    node.call("dispatcher.add", client="b")
    node.open[0].refuse(500, "Ongoing reload")
    for _ in range(10):
        node.clock.advance(1)
        for sent in node.open:
            sent.answer()
    ran = node.methods[1:]
    assert ran.index("dispatcher.add") > 0
    assert ran.count("dispatcher.add") == 1


def test_share_of_the_room() -> None:
    """A client has as much of what may wait as is left, so that others get in."""
    node = Node(most_calls=40)
    outcomes = [node.call("htable.sets", b"[%d]" % number, client="a") for number in range(30)]
    refused = [outcome.text for outcome in outcomes if outcome.text]
    assert len(refused) == 10
    assert re.fullmatch(
        r"503 Node n Was Not Asked: 20 calls of this client with \d+ bytes are already waiting for it", refused[0]
    )
    assert node.call("htable.sets", client="b").text == ""
    assert node.call("htable.sets").text == ""


def test_overdue_change_keeps_its_module() -> None:
    """A change whose answer is overdue keeps others of its module waiting until the node answers late."""
    node = Node(patience=5, hold=100)
    with logged() as log:
        node.call("dispatcher.reload", seconds=2)
        waits = node.call("dispatcher.add", seconds=60)
        node.clock.advance(4)
        assert log == []
        node.clock.advance(6)
        assert log == [
            "node n has not answered dispatcher.reload within 5 s; further changes of dispatcher wait for it, "
            "for up to 100 s"
        ]
        assert len(node.sent) == 1
        node.sent[0].answer()
        assert log[1:] == ["node n has answered dispatcher.reload, after 10 s"]
    assert node.methods == ["dispatcher.reload", "dispatcher.add"]
    assert waits.text == ""


def test_overdue_change_is_held_for_a_while() -> None:
    """The wait for an overdue change ends: with the seconds that are set, with the process, and with proof."""
    node = Node(patience=5, hold=100)
    for how in ("settled", "lost", "time"):
        with logged() as log:
            node.sent.clear()
            node.call("my.change", seconds=2)
            node.clock.advance(4)
            node.turns.settle(node.clock.seconds(), ClientError("node", "x", "later calls"))
            assert len(node.open) == 1, "it is not overdue yet"
            node.clock.advance(2)
            node.call("my.other", seconds=200)
            assert len(node.sent) == 1
            node.turns.settle(node.clock.seconds() - 1, ClientError("node", "x", "was asked before that"))
            assert len(node.sent) == 1
            if how == "settled":
                node.turns.settle(node.clock.seconds(), ClientError("node", "x", "later calls"))
            elif how == "lost":
                node.turns.lose(ClientError("node", "x", "it was restarted"))
            else:
                assert node.sent[0].seconds == 105
                node.sent[0].waiting.errback(TimedOut("node", "my.change", "no reply"))
            assert "is no longer waited for to answer my.change" in log[-1]
        assert node.methods == ["my.change", "my.other"]
        node.sent[1].answer()
