"""Least intervals that a node demands are waited for."""

import pytest

from jsonrpcs_tx.gateway.kinds import kind_of
from tests.support.turning import Node, fault

REFUSALS = [
    ("dispatcher.reload", "Ongoing reload"),
    ("dispatcher.add", "Ongoing reload"),
    ("permissions.addressReload", "ongoing reload"),
    ("permissions.addressReload", "Command Executed Too Fast"),
    ("tls.reload", "Command Executed Too Fast"),
    ("dialplan.reload", "ongoing reload"),
    ("rtpengine.reload", "Too short reload interval - try later"),
]
"""What Kamailio refuses commands with before it does anything."""


class Kamailio(Node):
    """A node that answers at once, and demands an interval, as Kamailio does: in whole seconds.

    @ivar runs: when something has been run that it demands the interval for.
    @ivar refusals: how often something has been refused.
    """

    def __init__(self, interval: int, text: str = "Ongoing reload") -> None:
        super().__init__()
        self.interval = interval
        self.text = text
        self.runs: list[float] = []
        self.refusals = 0

    def work(self) -> None:
        """Answer what has come."""
        for sent in self.open:
            kind = kind_of(sent.method)
            if not (kind.interval or kind.delta):
                sent.answer()
            elif self.runs and int(self.runs[-1]) > int(sent.at) - self.interval:
                self.refusals += 1
                sent.refuse(500, self.text)
            else:
                self.runs.append(sent.at)
                sent.answer()

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 20)):
            self.work()
            self.clock.advance(0.05)
            self.work()


@pytest.mark.parametrize(("method", "text"), REFUSALS)
def test_refused_is_tried_again(method: str, text: str) -> None:
    """A call that has come too soon is sent again, after every whole second, until it is run."""
    node = Kamailio(3, text)
    first, second = node.call(method, b"[1]"), node.call(method, b"[2]")
    node.pass_time(5)
    assert first.text == second.text == '"ok"'
    assert len(node.runs) == 2
    assert 1 <= node.refusals <= 3
    assert 2 <= node.runs[1] - node.runs[0] <= 3.1


@pytest.mark.parametrize("interval", [1, 2, 5])
@pytest.mark.parametrize("offset", [0.0, 0.05, 0.5, 0.95])
def test_learned(interval: int, offset: float) -> None:
    """From then on the interval is known, and nothing is refused any more; nor is more time lost than a second."""
    node = Kamailio(interval)
    node.clock.advance(offset)
    outcomes = [node.call("dispatcher.add", b"[%d]" % number, 100) for number in range(10)]
    node.pass_time(2 * interval + 2)
    refusals = node.refusals
    node.pass_time(9 * interval + 2)
    assert [outcome.text for outcome in outcomes] == ['"ok"'] * 10
    assert node.refusals == refusals <= interval + 1
    assert node.runs[-1] - node.runs[0] <= 9 * interval + 1.2


def test_no_interval_no_wait() -> None:
    """Where a node demands nothing, nothing is waited for."""
    node = Kamailio(0)
    outcomes = [node.call("dispatcher.add", b"[%d]" % number) for number in range(10)]
    for _ in range(10):
        node.work()
    assert [outcome.text for outcome in outcomes] == ['"ok"'] * 10


@pytest.mark.parametrize(
    ("method", "code", "text"),
    [
        ("dispatcher.reload", 500, "Reload Failed"),
        ("dispatcher.reload", 400, "Ongoing reload"),
        ("dispatcher.reload", 500, "Command Executed Too Fast"),  # it has no such limit
        ("dispatcher.set_state", 500, "Ongoing reload"),
        ("htable.reload", 500, "ongoing reload"),
        ("htable.sets", 500, "Command Executed Too Fast"),
        ("my.reload", 500, "ongoing reload"),  # nobody knows what it had done before
        ("core.echo_delta", 500, "Command Executed Too Fast"),  # it reads: the caller may ask again
        ("uac.reg_reload", 500, "Failed to reload records - check log messages"),
    ],
)
def test_other_faults_are_final(method: str, code: int, text: str) -> None:
    """A fault that does not prove that nothing was run goes to the caller: nothing is run twice."""
    node = Node()
    outcome = node.call(method)
    node.sent[0].refuse(code, text)
    node.clock.pump([1.0] * 10)
    assert text in outcome.text
    assert len(node.sent) == 1


def test_deadline_while_refused() -> None:
    """Who cannot wait for long enough gets the node's own fault."""
    node = Kamailio(10)
    node.call("dispatcher.reload")
    node.work()
    outcome = node.call("dispatcher.add", seconds=3)
    node.pass_time(4)
    assert outcome.text == fault(500, "Ongoing reload").error.decode()  # type: ignore[union-attr]
    assert len(node.runs) == 1
    node.pass_time(10)
    assert len(node.runs) == 1
    assert node.turns.waiting == 0
    assert node.clock.getDelayedCalls() == []


def test_cancelled_while_refused() -> None:
    """A call that is cancelled while it waits for the interval is not sent again."""
    node = Kamailio(10)
    node.call("dispatcher.reload")
    node.work()
    outcome = node.call("dispatcher.add")
    node.work()
    outcome.waiting.cancel()
    state = node.call("dispatcher.set_state")
    node.pass_time(1)
    assert node.methods == ["dispatcher.reload", "dispatcher.add", "dispatcher.set_state"]
    assert len(state.found) == 1


def test_refused_reload_is_shared_again() -> None:
    """A reload that has been refused has not begun: who asks while it waits shares it."""
    node = Kamailio(3)
    outcomes = [node.call("dispatcher.reload")]
    node.work()
    outcomes += [node.call("dispatcher.reload") for _ in range(2)]
    outcomes += [node.call("dispatcher.reload") for _ in range(50)]
    node.work()
    outcomes += [node.call("dispatcher.reload") for _ in range(50)]
    node.pass_time(4)
    assert {outcome.text for outcome in outcomes} == {'"ok"'}
    assert len(node.runs) == 2


def test_those_who_came_while_it_was_refused_share() -> None:
    """A refused reload and the one that waits behind it become one, unless a change stands between them."""
    for between, runs in ("", 2), ("dispatcher.set_state", 3):
        node = Kamailio(3)
        node.call("dispatcher.reload", b"[]")
        node.work()
        refused = node.call("dispatcher.reload", b"[]")
        if between:
            node.call(between)
        behind = node.call("dispatcher.reload", b"[]")
        node.pass_time(20)
        assert refused.text == behind.text == '"ok"'
        assert len(node.runs) == runs


def test_those_who_share_again_may_leave() -> None:
    """Those whose reload has become one with a refused one wait no longer than they want to, and are told why."""
    node = Kamailio(10)
    node.call("dispatcher.reload")
    node.work()
    node.call("dispatcher.reload", seconds=50)
    gone, late, patient = (node.call("dispatcher.reload", seconds=seconds) for seconds in (50, 3, 50))
    node.work()
    gone.waiting.cancel()
    node.pass_time(3.5)
    assert late.text == fault(500, "Ongoing reload").error.decode()  # type: ignore[union-attr]
    node.pass_time(10)
    assert patient.text == '"ok"'
    assert node.turns.waiting == node.turns._room.size == 0


def test_nothing_is_left_of_what_was_called_off() -> None:
    """If all who wait for an interval have left, no timer waits for it either."""
    node = Kamailio(10)
    node.call("dispatcher.reload")
    node.work()
    outcomes = [node.call("dispatcher.reload"), node.call("dispatcher.add")]
    node.work()
    for outcome in outcomes:
        outcome.waiting.cancel()
    assert node.clock.getDelayedCalls() == []
    assert node.turns._room.size == 0


def test_order_is_kept_while_waiting() -> None:
    """What waits behind a call that waits for the interval keeps its place."""
    node = Kamailio(3)
    node.call("dispatcher.reload")
    node.work()
    for method in ("dispatcher.add", "dispatcher.set_state", "dispatcher.remove"):
        node.call(method)
    node.work()
    assert len(node.runs) == 1
    assert node.methods == ["dispatcher.reload", "dispatcher.add"]
    other = node.call("htable.sets")
    node.work()
    assert len(node.open) == 0
    assert other.found  # another module does not wait
    node.pass_time(10)
    ran = list(dict.fromkeys(node.methods))
    assert ran == ["dispatcher.reload", "dispatcher.add", "htable.sets", "dispatcher.set_state", "dispatcher.remove"]


def test_run_of_somebody_else() -> None:
    """What is refused because somebody else has reloaded is tried again too, and nothing wrong is learned from it."""
    node = Kamailio(3)
    node.call("dispatcher.reload")
    node.work()
    node.clock.advance(100)
    node.runs.append(node.clock.seconds())  # over kamcmd
    outcome = node.call("dispatcher.reload")
    node.pass_time(4)
    assert outcome.text == '"ok"'
    node.clock.advance(3)
    sent = len(node.sent)
    node.call("dispatcher.reload")
    assert len(node.sent) == sent + 1


def test_interval_becomes_longer_and_shorter() -> None:
    """After a restart of a node with another interval, the interval is learned again."""
    node = Kamailio(2)

    def run(count: int) -> None:
        for number in range(count):
            node.call("dispatcher.add", b"[%d]" % number, 1000)
        node.pass_time(count * (node.interval + 2))

    run(5)
    node.interval = 5
    run(5)
    refusals = node.refusals
    run(5)
    assert node.refusals == refusals
    assert len(node.runs) == 15


def test_failed_runs_count() -> None:
    """A reload that fails has been run: the interval begins again."""
    node = Node()
    node.call("dispatcher.reload")
    node.sent[0].refuse(500, "Reload Failed")
    outcome = node.call("dispatcher.reload")
    node.sent[1].refuse(500, "Ongoing reload")
    node.clock.advance(1)
    assert len(node.sent) == 3
    node.sent[2].answer()
    assert outcome.text == '"ok"'
    node.call("dispatcher.reload")
    assert len(node.sent) == 3
    node.clock.advance(1)
    assert len(node.sent) == 4
