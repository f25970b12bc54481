"""The metrics of the nodes of a gateway. The nodes are asked in the background, so that scrapes only read."""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from time import perf_counter
from typing import Any, Final

import attrs
import msgspec
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from jsonrpcs_tx.gateway.gateway import Gateway
from jsonrpcs_tx.gateway.listing import LIST
from jsonrpcs_tx.gateway.node import Node
from jsonrpcs_tx.gateway.watch import UP
from jsonrpcs_tx.log import make_logger, report
from jsonrpcs_tx.metrics.exposition import COUNTER, GAUGE, INFO, UNKNOWN, Family, Names, Sample, labels
from jsonrpcs_tx.metrics.names import SOURCES, Fact
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.slices import Slices

_log = make_logger(__name__)

PATIENCE: Final = 5.0
"""Seconds that a node may take for each answer."""

MAX_FACTS: Final = 50_000
"""Facts that are kept of a node. Further ones are left out, and the log says so."""

_decode: Final = msgspec.json.Decoder().decode


@attrs.define
class _NodeFamily:
    """The part of a family that comes from one node.

    @ivar kind: its type.
    @ivar help: a sentence.
    @ivar values: by their labels, as the exposition writes them between the braces.
    """

    kind: str
    help: str
    values: dict[str, float] = attrs.field(factory=dict)


class _Collector:
    """Asks one node.

    @ivar families: of the last round of questions, by name.
    @ivar asked: how many rounds have begun.
    @ivar failed: in how many rounds the node did not answer everything.
    @ivar seconds: how long the last round took.
    """

    def __init__(self, node: Node, slices: Slices) -> None:
        self.families: dict[str, _NodeFamily] = {}
        self.asked = self.failed = 0
        self.seconds = 0.0
        self._node = node
        self._slices = slices
        self._methods: frozenset[str] = frozenset()
        self._restarts = -1
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """Begin a round of questions, unless one is in progress."""
        if self._running is None and self._node.watch.state == UP:
            self._running = Deferred.fromCoroutine(self._ask_all())
            self._running.addBoth(self._ended)

    def stop(self) -> None:
        """Ask no more."""
        if self._running is not None:
            self._running.cancel()

    def _ended(self, outcome: Any) -> None:
        self._running = None
        if isinstance(outcome, Failure) and not outcome.check(CancelledError):
            error: Any = outcome.value
            report(_log, "the answers of node {name} cannot be read", error, name=self._node.name)

    async def _ask_all(self) -> None:
        begun = perf_counter()
        self.asked += 1
        families: dict[str, _NodeFamily] = {}
        try:
            if self._restarts != self._node.watch.restarts or not self._methods:
                methods = await self._ask(LIST, b"")
                self._methods = frozenset(methods if isinstance(methods, list) else ())
                self._restarts = self._node.watch.restarts
            for source in SOURCES:
                if source.method in self._methods:
                    result = await self._ask(source.method, source.params)
                    await self._slices.run(self._take(source.read(source.method, result), families))
        except Fault:
            self.failed += 1  # the log and the health report the node itself
        self.families = families
        self.seconds = perf_counter() - begun

    async def _ask(self, method: str, params: bytes) -> Any:
        """The result of a command; None for a fault of the command itself.

        @raise Fault: the node does not answer.
        """
        answer = await self._node.call(method, params, PATIENCE)
        return None if answer.result is None else _decode(answer.result)

    def _take(self, facts: Iterator[Fact], families: dict[str, _NodeFamily]) -> Generator[None, None, None]:
        """Add the facts from one command to the families, except to those that another command has begun."""
        closed = frozenset(families)
        room = MAX_FACTS - sum(len(one.values) for one in families.values())
        for fact in facts:
            if fact.name in closed or (fact.kind == COUNTER and fact.value < 0):
                continue
            if room <= 0:
                message = "node {name} reports more than {most} numbers; the rest is left out"
                _log.warn(message, name=self._node.name, most=MAX_FACTS)
                return
            family = families.get(fact.name)
            if family is None:
                family = families[fact.name] = _NodeFamily(fact.kind, fact.help)
            family.values[labels(**fact.labels)[1:-1] if fact.labels else ""] = fact.value
            room -= 1
            yield


class NodeMetrics(Service):
    """The metrics of the nodes of a gateway. It asks them while it is started.

    @param gateway: has the nodes.
    @param slices: in which the answers are read.
    @param reactor: the reactor to use.
    @param interval: seconds between two rounds of questions.
    """

    def __init__(self, gateway: Gateway, slices: Slices, reactor: Any, interval: float) -> None:
        self.gateway = gateway
        self._slices = slices
        self._reactor = reactor
        self._interval = interval
        self._collectors: dict[Node, _Collector] = {}
        self._next: Any = None

    def startService(self) -> None:
        super().startService()
        self._next = self._reactor.callLater(0, self._ask)

    def stopService(self) -> None:
        super().stopService()
        if self._next is not None:
            self._next.cancel()
            self._next = None
        for collector in self._collectors.values():
            collector.stop()

    def _ask(self) -> None:
        """Ask all nodes, and again after the interval; within a second if a node was never asked."""
        nodes = [*self.gateway.nodes.values()]
        for node in self._collectors.keys() - set(nodes):
            self._collectors.pop(node).stop()
        waiting = False
        for node in nodes:
            collector = self._collectors.setdefault(node, _Collector(node, self._slices))
            collector.start()
            waiting = waiting or not collector.asked
        self._next = self._reactor.callLater(min(1.0, self._interval) if waiting else self._interval, self._ask)

    def families(self, names: Collection[str], label: str = "") -> Iterator[Family]:
        """The metrics of some nodes, as far as they are known now. No two families have a name in common.

        @param names: of the nodes.
        @param label: the label of each sample that has the name of its node; empty: without such a label.
        """
        taken = Names()
        return (family for family in self._families(names, label) if taken.take(family))

    def _families(self, names: Collection[str], label: str) -> Iterator[Family]:
        """The families about nodes come first, so that no other family takes their names."""
        nodes = [self.gateway.nodes[name] for name in names if name in self.gateway.nodes]

        def of(node: Node, inner: str = "") -> str:
            own = labels(**{label: node.name})[1:-1] if label else ""
            both = ",".join(filter(None, (own, inner)))
            return f"{{{both}}}" if both else ""

        up = [Sample(int(_is_up(node)), of(node)) for node in nodes]
        yield Family("kamailio_up", GAUGE, "Whether the node runs.", up)
        help = "The node: its version, its state, and why it is down."
        yield Family("kamailio_node", INFO, help, _facts(nodes, of))
        collectors = [(node, one) for node in nodes if (one := self._collectors.get(node)) is not None]
        for name, kind, help, read, unit in (
            ("kamailio_exporter_total_scrapes", UNKNOWN, "Times that the node was asked.", "asked", ""),
            ("kamailio_exporter_failed_scrapes", UNKNOWN, "Times that it did not answer all.", "failed", ""),
            ("kamailio_exporter_scrape_duration_seconds", GAUGE, "How long that took last.", "seconds", "seconds"),
        ):
            yield Family(name, kind, help, [Sample(getattr(one, read), of(node)) for node, one in collectors], unit)
        restarts = [Sample(node.watch.restarts, of(node)) for node in nodes]
        yield Family("kamailio_restarts", COUNTER, "Times that the node was seen to have been restarted.", restarts)
        found = [(node, one.families) for node, one in collectors if _is_up(node)]
        merged: dict[str, _NodeFamily] = {}
        for _, families in found:
            merged |= {name: family for name, family in families.items() if name not in merged}
        for name, first in merged.items():
            samples = (
                Sample(value, of(node, inner))
                for node, families in found
                if name in families
                for inner, value in families[name].values.items()
            )
            yield Family(name, first.kind, first.help, samples)


def _facts(nodes: Iterable[Node], of: Callable[[Node, str], str]) -> Iterator[Sample]:
    """Facts about nodes, in labels."""
    for node in nodes:
        watch = node.watch
        facts = labels(version=watch.version.strip(), state=watch.state, reason=watch.reason)
        yield Sample(1, of(node, facts[1:-1]))


def _is_up(node: Node) -> bool:
    return node.watch.state == UP
