"""Probing of destinations: real SIP requests over loopback, and what the answers make of states."""

import errno
import re
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue, fail, succeed
from twisted.internet.error import CannotListenError, DNSLookupError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.state.destinations import (
    DISABLED,
    INACTIVE,
    NEVER_PINGED,
    NO_DNS,
    PROBING,
    TRYING,
    Destination,
    DestinationSets,
)
from jsonrpcs_tx.state.probing import TIMEOUT, ProbingService, SipProber, StateKeeper, is_answer, is_probed
from tests.support import IPV6, PATIENCE
from tests.support.logs import observed


class Peer(DatagramProtocol):
    """A SIP server, which a test answers for.

    @ivar requests: what came, each with its sender's address.
    """

    transport: Any

    def __init__(self) -> None:
        self.requests: DeferredQueue[tuple[str, Any]] = DeferredQueue()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.requests.put((datagram.decode(), addr))

    async def request(self) -> tuple[str, Any]:
        return await self.requests.get().addTimeout(PATIENCE, reactor)

    def answer(self, request: str, addr: Any, status: str = "200 OK", **changes: str) -> None:
        """Answer a request as RFC 3261, section 8.2.6.2, has it: with its Via, From, To, Call-ID and CSeq."""
        headers = re.findall(r"^(?:Via|From|To|Call-ID|CSeq):.*\r\n", request, re.MULTILINE)
        reply = f"SIP/2.0 {status}\r\n{''.join(headers)}Content-Length: 0\r\n\r\n"
        for old, new in changes.items():
            reply = re.sub(old, new, reply)
        self.transport.write(reply.encode(), addr)


class LoopbackCase(TestCase):
    """A peer on loopback, over IPv4 or IPv6."""

    def listen(self, interface: str = "127.0.0.1") -> tuple[Peer, int]:
        peer = Peer()
        port = reactor.listenUDP(0, peer, interface)  # type: ignore[attr-defined] # the reactor is a module to mypy
        self.addCleanup(port.stopListening)
        return peer, port.getHost().port


class ProberTests(LoopbackCase):
    """One request and its answer."""

    def setUp(self) -> None:
        self.prober = SipProber("OPTIONS", "sip:dispatcher@localhost", reactor)
        port = reactor.listenUDP(0, self.prober, "127.0.0.1")  # type: ignore[attr-defined] # it listens on UDP
        self.addCleanup(port.stopListening)
        self.peer, self.port = self.listen()
        self.uri = f"sip:127.0.0.1:{self.port}"

    def probe(self) -> Deferred[int | None]:
        return self.prober.probe(self.uri, "127.0.0.1", self.port)

    async def test_request(self) -> None:
        """The request has all that RFC 3261, section 8.1.1, asks for, and none is like another."""
        seen = []
        for _ in range(2):
            answered = self.probe()
            request, addr = await self.peer.request()
            head, body = request.split("\r\n\r\n")
            first, *lines = head.split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            assert first == f"OPTIONS {self.uri} SIP/2.0"
            assert body == ""
            assert re.fullmatch(rf"SIP/2\.0/UDP 127\.0\.0\.1:{addr[1]};rport;branch=z9hG4bK\w+", headers["Via"])
            assert re.fullmatch(r"<sip:dispatcher@localhost>;tag=\w+", headers["From"])
            assert headers["To"] == f"<{self.uri}>"
            assert headers["CSeq"] == "1 OPTIONS"
            assert headers["Max-Forwards"] == "70"
            assert headers["Content-Length"] == "0"
            seen.append((headers["Via"], headers["Call-ID"], headers["From"]))
            self.peer.answer(request, addr)
            assert await answered == 200
        assert not set(seen[0]) & set(seen[1])

    async def test_final_reply(self) -> None:
        """Provisional replies, replies to others and what is no SIP do not count; the first final one does."""
        answered = self.probe()
        request, addr = await self.peer.request()
        self.peer.answer(request, addr, "100 Trying")
        self.peer.answer(request, addr, "200 OK", z9hG4bK="z9hG4bKother")
        self.peer.transport.write(b"\r\n\r\n", addr)
        self.peer.transport.write(b"\xff" * 100, addr)
        self.peer.answer(request, addr, "503 Service Unavailable")
        self.peer.answer(request, addr, "200 OK")
        assert await answered == 503

    @pytest.mark.slow
    async def test_lost_request(self) -> None:
        """A request that gets lost is sent again, the same."""
        answered = self.probe()
        request, addr = await self.peer.request()
        again, _ = await self.peer.request()
        assert again == request
        self.peer.answer(again, addr)
        assert await answered == 200

    async def test_given_up(self) -> None:
        """At the stop requests are given up."""
        answered = self.probe()
        self.prober.stop()
        assert await answered is None


class TimeTests(SynchronousTestCase):
    """When a request is sent, again, and given up."""

    def test_times(self) -> None:
        """A request is sent at 0, 0.5, 1.5 and 3.5 s, and is given up after 5 s."""
        memory = MemoryReactorClock()
        prober = SipProber("OPTIONS", "sip:a", memory)
        sent: list[float] = []
        clock = Clock()
        prober._reactor = clock
        prober.transport = type(
            "Transport",
            (),
            {
                "write": lambda self, data, addr: sent.append(clock.seconds()),
                "getHost": lambda self: type("Host", (), {"host": "127.0.0.1", "port": 5}),
            },
        )()
        answered = prober.probe("sip:b", "127.0.0.1", 5060)
        clock.pump([0.1] * 60)
        assert [round(at, 1) for at in sent] == [0, 0.5, 1.5, 3.5]
        assert self.successResultOf(answered) is None
        assert clock.getDelayedCalls() == []
        assert TIMEOUT == 5


class StateTests(SynchronousTestCase):
    """What answers and failures make of a state."""

    def keeper(self, state: int = PROBING, **settings: Any) -> Any:
        self.sets = DestinationSets()
        self.sets.add(1, Destination("sip:a", state))
        self.group = self.sets[1]
        self.destination = next(iter(self.group))
        return StateKeeper(Settings(**settings))

    def letters_after(self, keeper: Any, outcomes: str) -> list[str]:
        """The letters after each outcome, + or -."""
        letters = []
        for outcome in outcomes:
            (keeper.answered if outcome == "+" else keeper.failed)(self.group, self.destination)
            letters.append(self.destination.letters)
        return letters

    def test_one(self) -> None:
        """By default one failure makes a destination inactive, and one answer active again."""
        assert self.letters_after(self.keeper(), "+-+--+") == ["AP", "IP", "AP", "IP", "IP", "AP"]

    def test_thresholds(self) -> None:
        """It is trying, and with so many failures in a row inactive; with so many answers in a row active again."""
        keeper = self.keeper(ds_probing_threshold=3, ds_inactive_threshold=2)
        assert self.letters_after(keeper, "--+---+-++") == [
            *("TP", "TP", "AP", "TP", "TP", "IP"),
            *("IP", "IP", "IP", "AP"),
        ]

    def test_counted_anew(self) -> None:
        """What was counted before somebody has set the state does not count any more."""
        keeper = self.keeper(ds_probing_threshold=2, ds_inactive_threshold=2)
        assert self.letters_after(keeper, "+++") == ["AP", "AP", "AP"]
        self.group.set_state(self.destination, INACTIVE | PROBING)
        assert self.letters_after(keeper, "++--") == ["IP", "AP", "TP", "IP"]
        self.group.set_state(self.destination, PROBING)
        assert self.letters_after(keeper, "--") == ["TP", "IP"]

    def test_picked(self) -> None:
        """What is inactive is picked no more."""
        keeper = self.keeper()
        self.group.add(Destination("sip:b"))
        assert self.group.by_priority().uri == "sip:a"
        self.letters_after(keeper, "-")
        assert self.group.by_priority().uri == "sip:b"

    def test_modes(self) -> None:
        """Each mode probes what the reference's does; what is disabled is never probed."""
        flagged, plain = Destination("sip:a", PROBING), Destination("sip:b")
        inactive = Destination("sip:c", INACTIVE | PROBING)
        flagged.state = INACTIVE
        probed = {mode: [is_probed(one, mode) for one in (flagged, plain, inactive)] for mode in range(4)}
        assert probed == {
            0: [False, False, True],
            1: [True, True, True],
            2: [False, False, True],
            3: [True, False, True],
        }
        assert not any(is_probed(Destination("sip:d", DISABLED | PROBING), mode) for mode in range(4))

    def test_codes(self) -> None:
        """2xx is an answer, and what the setting names."""
        assert [code for code in (100, 200, 299, 300, 404, 501) if is_answer(code, "")] == [200, 299]
        assert [code for code in (200, 300, 404, 480, 501, 503) if is_answer(code, "class=4;code=501")] == [
            *(200, 404, 480, 501)
        ]


class Network(Clock):
    """A reactor whose time and network a test makes.

    @ivar sent: the requests, each with when and whereto.
    @ivar missing: the interfaces that the machine lacks.
    @ivar error: what sending raises, if anything.
    @ivar names: the addresses of names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[float, str, Any]] = []
        self.missing: tuple[str, ...] = ()
        self.error: Exception | None = None
        self.names: dict[str, str] = {}
        self.open: set[str] = set()
        self._protocols: dict[str, Any] = {}

    def listenUDP(self, port: int, protocol: Any, interface: str = "") -> Any:
        if interface in self.missing:
            raise CannotListenError(interface, port, OSError(errno.EAFNOSUPPORT, "Address family not supported"))
        self.open.add(interface)
        self._protocols[interface] = protocol
        protocol.transport = SimpleNamespace(
            write=self._write,
            getHost=lambda: SimpleNamespace(host=interface, port=5),
            stopListening=lambda: succeed(interface).addCallback(self.open.discard),
        )

    def resolve(self, name: str) -> Deferred[str]:
        return succeed(self.names[name]) if name in self.names else fail(DNSLookupError(name))

    def answer(self, status: str, number: int = -1, interface: str = "0.0.0.0") -> None:
        """Answer a request."""
        (via,) = re.findall(r"^Via:.*\r\n", self.sent[number][1], re.MULTILINE)
        self._protocols[interface].datagramReceived(f"SIP/2.0 {status}\r\n{via}\r\n".encode(), ("127.0.0.1", 1))

    def _write(self, data: bytes, addr: Any) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append((self.seconds(), data.decode(), addr))


class RoundTests(SynchronousTestCase):
    """When destinations are probed, and which, by a clock."""

    def start(self, uri: str = "sip:127.0.0.1:9", state: int = PROBING, interval: int = 10, **settings: Any) -> None:
        self.sets = DestinationSets()
        self.sets.add(1, Destination(uri, state))
        self.destination = next(iter(self.sets[1]))
        self.service = ProbingService(self.sets, Settings(ds_ping_interval=interval, **settings), self.network)
        self.service.startService()

    def setUp(self) -> None:
        self.network = Network()

    def test_interval(self) -> None:
        """The first round is an interval after the start, and then there is one each interval."""
        self.start()
        for _ in range(3):
            self.network.pump([1] * 10)
            self.network.answer("200 OK")
        assert [at for at, *_ in self.network.sent] == [10, 20, 30]

    def test_one_at_a_time(self) -> None:
        """A destination whose last probe is still in progress is not probed again."""
        self.start(interval=1)
        self.network.pump([0.25] * 22)
        assert len({request for _, request, _ in self.network.sent}) == 1
        self.network.pump([0.25] * 8)
        assert len({request for _, request, _ in self.network.sent}) == 2
        assert self.destination.letters == "IP"

    def test_stop(self) -> None:
        """At the stop, probes in progress are given up without waiting, and no state changes."""
        self.start()
        self.network.advance(10)
        assert len(self.network.sent) == 1
        self.successResultOf(self.service.stopService())  # type: ignore[arg-type] # it gives a Deferred
        assert self.network.getDelayedCalls() == []
        assert self.network.open == set()
        self.network.advance(100)
        assert len(self.network.sent) == 1
        assert self.destination.letters == "AP"

    def test_pinging(self) -> None:
        """Rounds go by without probes while pinging is inactive, and have them again afterwards."""
        self.start()
        self.sets.pinging = 0
        self.network.pump([10] * 3)
        assert self.network.sent == []
        self.sets.pinging = 1
        self.network.advance(10)
        assert [at for at, *_ in self.network.sent] == [40]

    def test_latency(self) -> None:
        """How long any final answer takes is measured, if that is set; no answer and 408 are timeouts."""
        self.start(ds_ping_latency_stats=1, ds_latency_estimator_alpha=500)
        latency = self.destination.latency
        for number, (seconds, status) in enumerate([(0.0125, "200 OK"), (0.75, "503 No"), (0.01, "408 Timeout")]):
            self.network.advance(10 * (number + 1) - self.network.seconds())
            self.network.advance(seconds)
            self.network.answer("100 Trying")
            self.network.answer(status)
        self.network.advance(40 - self.network.seconds())
        self.network.pump([0.5] * 11)  # no answer
        assert (latency.average, latency.most, latency.timeouts) == ((12 + 750) / 2, 750, 2)
        assert self.destination.letters == "IP"

    def test_latency_of_what_was_not_sent(self) -> None:
        """A probe that cannot be sent says nothing about latency; neither does one that the stop gives up."""
        self.start(ds_ping_latency_stats=1)
        self.network.error = OSError(errno.ENETUNREACH, "Network is unreachable")
        self.network.advance(10)
        assert self.destination.letters == "IP"
        self.network.error = None
        self.network.advance(10)
        assert len(self.network.sent) == 1
        self.service.stopService()
        assert (self.destination.latency.timeouts, self.destination.latency.most) == (0, 0)

    def test_latency_not_wanted(self) -> None:
        """By default latency is not measured."""
        self.start()
        self.network.advance(10)
        self.network.advance(0.5)
        self.network.answer("200 OK")
        assert (self.destination.latency.most, self.destination.letters) == (0, "AP")

    def test_clock_set_back(self) -> None:
        """If the clock is set back meanwhile, the answer has taken no time."""
        self.start(ds_ping_latency_stats=1)
        self.network.advance(10)
        self.network.rightNow -= 100
        self.network.answer("200 OK")
        assert self.destination.latency.average == 0

    def test_settings(self) -> None:
        """The settings say which destinations are probed, how, and what counts as an answer."""
        self.start(
            state=INACTIVE,
            ds_probing_mode=1,
            ds_ping_method="INFO",
            ds_ping_from="sip:me@here",
            ds_ping_reply_codes="code=404",
        )
        self.network.advance(10)
        ((_, request, addr),) = self.network.sent
        assert request.startswith("INFO sip:127.0.0.1:9 SIP/2.0\r\n")
        assert "\r\nFrom: <sip:me@here>;tag=" in request
        assert addr == ("127.0.0.1", 9)
        self.network.answer("404 Not Found")
        assert self.destination.letters == "AX"

    def test_never_pinged(self) -> None:
        """After its first probe a destination no longer counts as never probed."""
        for status, letters in (("200 OK", "AX"), ("503 No", "IX")):
            self.start(state=NEVER_PINGED, ds_probing_mode=1)
            assert self.destination.letters == "AN"
            self.network.advance(10)
            self.network.answer(status)
            assert self.destination.letters == letters

    def test_names(self) -> None:
        """A name is looked up; without an address it counts as not answered; one that is not to be is left alone."""
        self.network.names["peer.example"] = "127.0.0.7"
        self.start("sip:peer.example:7")
        self.network.advance(10)
        assert [addr for *_, addr in self.network.sent] == [("127.0.0.7", 7)]
        self.start("sip:nobody.example")
        self.network.advance(10)
        assert self.destination.letters == "IP"
        before = len(self.network.sent)
        self.start("sip:peer.example", PROBING | NO_DNS)
        self.network.advance(10)
        assert not [request for _, request, _ in self.network.sent[before:] if "OPTIONS sip:peer.example " in request]
        self.start("sip:127.0.0.8", PROBING | NO_DNS)
        self.network.advance(10)
        assert self.network.sent[-1][2] == ("127.0.0.8", 5060)

    def test_log(self) -> None:
        """The log tells of each change between active, trying and inactive once."""
        events: list[LogEvent] = []
        self.enterContext(observed(events.append))
        self.start()
        for status in ("200 OK", "503 No", "503 No", "200 OK"):
            self.network.advance(10)
            self.network.answer(status)
        changes = [(event["before"], event["now"]) for event in events if "before" in event]
        assert changes == [("AP", "IP"), ("IP", "AP")]

    def test_set_removed_meanwhile(self) -> None:
        """An answer for a set that no longer exists does no harm; when the destination is there again, it is probed
        again."""
        self.start()
        self.network.advance(10)
        self.sets.remove(1, self.destination.uri)
        self.network.answer("200 OK")
        self.sets.add(1, Destination(self.destination.uri, PROBING))
        self.network.advance(10)
        assert len(self.network.sent) == 2

    def test_unreachable(self) -> None:
        """What cannot be sent counts as not answered, and leaves nothing behind; the next round tries again."""
        self.start()
        self.network.error = OSError(errno.ENETUNREACH, "Network is unreachable")
        self.network.advance(10)
        assert self.destination.letters == "IP"
        assert len(self.network.getDelayedCalls()) == 1
        self.network.error = None
        self.network.advance(10)
        self.network.answer("200 OK")
        assert self.destination.letters == "AP"

    def test_unreachable_later(self) -> None:
        """A request that cannot be sent again is as good as lost: it is tried again, and can still be answered."""
        self.start()
        self.network.advance(10)
        self.network.error = OSError(errno.ENETUNREACH, "Network is unreachable")
        self.network.advance(0.5)
        self.network.error = None
        self.network.advance(1)
        assert [at for at, *_ in self.network.sent] == [10, 11.5]
        self.network.answer("200 OK")
        assert self.destination.letters == "AP"
        assert self.flushLoggedErrors() == []

    def test_without_ipv6(self) -> None:
        """On a machine without IPv6 the rest is probed, and an IPv6 destination does not answer."""
        self.network.missing = ("::",)
        self.start()
        self.sets.add(1, Destination("sip:[::1]:9", PROBING))
        self.network.advance(10)
        self.network.answer("200 OK")
        assert [one.letters for one in self.sets[1]] == ["AP", "IP"]


class ServiceTests(LoopbackCase):
    """Rounds of probes."""

    def start(self, sets: DestinationSets, **settings: Any) -> ProbingService:
        """Start, with rounds at once in place of at an interval."""
        service = ProbingService(sets, Settings(ds_ping_interval=1000, **settings), reactor)
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def round(self, service: ProbingService) -> None:
        service._next.reset(0)

    async def letters(self, destination: Destination, letters: str) -> None:
        """Wait until a destination has these letters."""
        while destination.letters != letters:
            await deferLater(reactor, 0)

    async def test_states_follow(self) -> None:
        """A destination with the probing flag is probed each round, over IPv4 and IPv6, and its state follows."""
        for interface, host in (("127.0.0.1", "127.0.0.1"), *([("::1", "[::1]")] if IPV6 else [])):
            peer, port = self.listen(interface)
            sets = DestinationSets()
            sets.add(1, Destination(f"sip:{host}:{port}", PROBING))
            sets.add(1, Destination(f"sip:{host}:{port};other=1"))
            destination = next(iter(sets[1]))
            service = self.start(sets)
            for status, letters in (("503 No", "IP"), ("200 OK", "AP"), ("404 Not Found", "IP")):
                self.round(service)
                request, addr = await peer.request()
                assert request.startswith(f"OPTIONS {destination.uri} SIP/2.0")
                peer.answer(request, addr, status)
                await self.letters(destination, letters)
            assert peer.requests.pending == []

    async def test_switched_off(self) -> None:
        """While pinging is inactive nothing is sent."""
        peer, port = self.listen()
        sets = DestinationSets()
        sets.add(1, Destination(f"sip:127.0.0.1:{port}", PROBING))
        sets.pinging = 0
        service = self.start(sets)
        before = service._next
        self.round(service)
        while service._next is before:
            await deferLater(reactor, 0)
        assert service._in_progress == {}
        assert peer.requests.pending == []

    async def test_no_name(self) -> None:
        """A host that cannot be a name at all counts as not answered, and is tried again."""
        sets = DestinationSets()
        sets.add(1, Destination("sip:a..b", PROBING))
        destination = next(iter(sets[1]))
        service = self.start(sets)
        for _ in range(2):
            sets[1].set_state(destination, PROBING)
            self.round(service)
            await self.letters(destination, "IP")
            while service._in_progress:
                await deferLater(reactor, 0)

    test_no_name.timeout = PATIENCE  # type: ignore[attr-defined] # trial's way

    async def test_list_replaced_meanwhile(self) -> None:
        """An answer for a destination of a former list changes nothing in the new one."""
        peer, port = self.listen()
        sets = DestinationSets()
        uri = f"sip:127.0.0.1:{port}"
        sets.add(1, Destination(uri, PROBING))
        service = self.start(sets)
        self.round(service)
        request, addr = await peer.request()
        sets.remove(1, uri)
        sets.add(1, Destination(uri, PROBING | TRYING))
        peer.answer(request, addr, "503 No")
        while service._in_progress:
            await deferLater(reactor, 0)
        assert next(iter(sets[1])).letters == "TP"
