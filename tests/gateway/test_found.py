"""Nodes that were found automatically are checked less often the more there are."""

from collections import Counter

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from jsonrpcs_tx.client.errors import NotReachable
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.gateway import MAX_CHECKS, Gateway
from jsonrpcs_tx.gateway.node import Node
from jsonrpcs_tx.gateway.watch import DOWN, JITTER, UNKNOWN, UP
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.rpc.registry import Registry

INTERVAL = 5.0
MANY = 1000
LONGEST = MANY / MAX_CHECKS
"""Seconds between two checks of one of many."""


class Fleet:
    """A gateway with a node of its settings and others that it has found, and how often each was checked.

    @ivar gone: the nodes that nobody can reach.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, found: int) -> None:
        self.clock = Clock()
        self.checks: Counter[str] = Counter()
        self.gone: set[str] = set()

        def ask(node: Node, method: str, seconds: float) -> Deferred[Answer]:
            self.checks[node.name] += method == "core.uptime"
            if node.name in self.gone:
                return fail(NotReachable("unix:/x", method, "Connection refused"))
            return succeed(Answer(b'{"uptime":%d}' % self.clock.seconds()))

        monkeypatch.setattr(Node, "_ask", ask)
        settings = Settings(node=["written=unix:/written"], node_interval=INTERVAL)
        self.gateway = Gateway(settings, Dispatcher(Registry(), self.clock), self.clock)
        self.gateway.startService()
        self.find(found)

    def find(self, number: int) -> None:
        self.gateway.find([f"n{one}=unix:/{one}" for one in range(number)])

    def state(self, name: str) -> str:
        return self.gateway.nodes[name].watch.state

    def checked(self, seconds: int) -> Counter[str]:
        """@return: how often each was checked while time passed."""
        self.checks.clear()
        self.clock.pump([1] * seconds)
        return self.checks


def test_few_are_checked_as_written_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to as many as allowed checks in an interval are checked at once, and then as often as the setting says."""
    few = int(MAX_CHECKS * INTERVAL)
    fleet = Fleet(monkeypatch, few)
    assert {fleet.state(f"n{one}") for one in range(few)} == {UP}
    checks = fleet.checked(60)
    least, most = 60 / (INTERVAL + 1) / (1 + JITTER), 60 / INTERVAL / (1 - JITTER)
    assert all(least - 1 <= checks[name] <= most + 1 for name in fleet.gateway.nodes), checks


@pytest.mark.slow
def test_many_share_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many that are found are checked at a steady rate, from the first second on; those of the settings as ever."""
    fleet = Fleet(monkeypatch, MANY)
    assert fleet.state("written") == UP
    for _ in range(4):
        checks = fleet.checked(60)
        written = checks.pop("written")
        assert written >= 60 / (INTERVAL + 1) / (1 + JITTER) - 1
        assert 60 * MAX_CHECKS * 0.7 < checks.total() < 60 * MAX_CHECKS * 1.3
    assert {fleet.state(f"n{one}") for one in range(MANY)} == {UP}


@pytest.mark.slow
def test_grows_and_shrinks_with_the_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are there already are checked less often when others come, and again as before when they have gone."""
    fleet = Fleet(monkeypatch, 1)
    fleet.checked(60)
    fleet.find(MANY)
    fleet.checked(int(INTERVAL) + 1)
    assert fleet.checked(int(LONGEST * (1 + JITTER)) + 1)["n0"] <= 2
    fleet.find(1)
    fleet.checked(int(LONGEST * (1 + JITTER)) + 1)
    assert fleet.checked(60)["n0"] >= 60 / (INTERVAL + 1) / (1 + JITTER) - 1


@pytest.mark.slow
def test_one_of_many_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that finds nobody makes one of many down. It is then checked soon, and less often the longer it stays so;
    one that is back is soon up.
    """
    fleet = Fleet(monkeypatch, MANY)
    watch, error = fleet.gateway.nodes["n7"].watch, NotReachable("unix:/x", "core.echo", "Connection refused")
    watch.failed(None)
    watch.failed(error)
    assert watch.state == DOWN
    fleet.checked(int(INTERVAL * (1 + JITTER)) + 1)
    assert fleet.state("n7") == UP
    fleet.gone.add("n7")
    watch.failed(error)
    assert fleet.checked(300)["n7"] <= 5 + 300 / LONGEST / (1 - JITTER)
    fleet.gone.clear()
    fleet.checked(int(LONGEST * (1 + JITTER)) + 1)
    assert fleet.state("n7") == UP


def test_call_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of many that was not checked yet may be called; it is checked at once when a call is not answered."""
    fleet = Fleet(monkeypatch, MANY)
    unknown = next(name for name in fleet.gateway.nodes if fleet.state(name) == UNKNOWN)
    fleet.gateway.nodes[unknown].watch.failed(None)
    assert fleet.state(unknown) == UP
    fleet.gone.add(unknown)
    fleet.gateway.nodes[unknown].watch.failed(None)
    assert fleet.state(unknown) == DOWN
    fleet.gone.clear()
    fleet.checked(int(INTERVAL * (1 + JITTER)) + 1)
    assert fleet.state(unknown) == UP
