"""Probing of destinations: real SIP requests over loopback, and what the answers make of states."""

import re
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jsonrpcs_tx.destinations import DISABLED, INACTIVE, PROBING, TRYING, Destination, DestinationSets
from jsonrpcs_tx.probing import TIMEOUT, ProbingService, SipProber, StateKeeper, is_answer, is_probed
from jsonrpcs_tx.settings import Settings
from tests.support import PATIENCE


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
        port = reactor.listenUDP(0, self.prober, "127.0.0.1")  # type: ignore[attr-defined]
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
        for interface, host in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
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
        """While pinging is inactive nothing is sent; nor is it after the stop."""
        peer, port = self.listen()
        sets = DestinationSets()
        sets.add(1, Destination(f"sip:127.0.0.1:{port}", PROBING))
        sets.pinging = 0
        service = self.start(sets)
        before = service._next
        self.round(service)
        while service._next is before:
            await deferLater(reactor, 0)
        assert service._at_work == {}
        sets.pinging = 1
        await service.stopService()
        for call in reactor.getDelayedCalls():  # type: ignore[attr-defined]
            assert "probing" not in str(call)
        assert peer.requests.pending == []

    async def test_list_replaced_meanwhile(self) -> None:
        """An answer for a destination of a list that is no more changes nothing of the new one."""
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
        while service._at_work:
            await deferLater(reactor, 0)
        assert next(iter(sets[1])).letters == "TP"
