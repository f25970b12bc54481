"""Probing of destinations with SIP requests over UDP: their state follows from whether they answer."""

import re
import secrets
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final
from weakref import WeakKeyDictionary

import attrs
from twisted.application.service import Service
from twisted.internet.abstract import isIPv6Address
from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from jsonrpcs_tx._version import __version__
from jsonrpcs_tx.addresses import is_address
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.state.destinations import (
    DISABLED,
    INACTIVE,
    NEVER_PINGED,
    NO_DNS,
    PROBING,
    TRYING,
    Destination,
    DestinationSet,
    DestinationSets,
)
from jsonrpcs_tx.state.latency import Latency

_log = make_logger(__name__)

FIRST_RETRANSMISSION: Final = 0.5
"""Seconds after which a request is sent again; they double each time (T1 of RFC 3261, section 17.1.2.1)."""

TIMEOUT: Final = 5.0
"""Seconds after which a request counts as not answered."""

REQUEST_TIMEOUT: Final = 408
"""The code of a reply by which somebody on the way says that there was no answer (RFC 3261, section 21.4.9)."""

_REPLY = re.compile(rb"SIP/2\.0 (\d{3}) [^\r\n]*\r\n")
_BRANCH = re.compile(rb"^(?:Via|v)\s*:[^\r\n]*?;\s*branch=(z9hG4bK\w+)", re.IGNORECASE | re.MULTILINE)


def is_answer(code: int, reply_codes: str) -> bool:
    """Whether a SIP reply shows that a destination works.

    @param reply_codes: those that count besides 2xx, C{class=4;code=501}, as in the setting C{ds_ping_reply_codes}.
    """
    wanted = {("class", 2)}
    for part in filter(None, reply_codes.split(";")):
        name, _, value = part.partition("=")
        wanted.add((name, int(value)))
    return ("class", code // 100) in wanted or ("code", code) in wanted


def is_probed(destination: Destination, mode: int) -> bool:
    """Whether a destination is probed in a mode of the setting C{ds_probing_mode}."""
    if destination.state & DISABLED:
        return False
    if mode == 1:
        return True
    if mode == 2:
        return destination.state & (INACTIVE | PROBING) == INACTIVE | PROBING
    if mode == 3:
        return bool(destination.flags & PROBING)
    return bool(destination.state & PROBING)


@attrs.define
class _Tally:
    """How the last probes of a destination went: how many in a row were answered, or were not.

    @ivar state: the state in which they left it.
    """

    state: int
    answered: int = 0
    failed: int = 0


class StateKeeper:
    """Turns the outcomes of probes into states, with the thresholds of the settings.

    A destination that does not answer becomes trying, and inactive after C{ds_probing_threshold} probes; it becomes
    active again after C{ds_inactive_threshold} answers. The count restarts when somebody else has set the state.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tallies: WeakKeyDictionary[Destination, _Tally] = WeakKeyDictionary()

    def answered(self, group: DestinationSet, destination: Destination) -> None:
        """A probe was answered."""
        tally = self._tally(destination)
        tally.failed = destination.unanswered = 0
        tally.answered += 1
        state = destination.state & ~NEVER_PINGED
        if not state & INACTIVE or tally.answered >= self._settings.ds_inactive_threshold:
            state &= ~(INACTIVE | TRYING)
        self._set(group, destination, state)

    def failed(self, group: DestinationSet, destination: Destination) -> None:
        """A probe was not answered, or was answered with a failure."""
        tally = self._tally(destination)
        tally.answered = 0
        tally.failed += 1
        destination.unanswered += 1
        state = destination.state & ~NEVER_PINGED
        if not state & INACTIVE:
            state |= TRYING
            if tally.failed >= self._settings.ds_probing_threshold:
                state = state & ~TRYING | INACTIVE
        self._set(group, destination, state)

    def _tally(self, destination: Destination) -> _Tally:
        tally = self._tallies.get(destination)
        if tally is None or tally.state != destination.state:
            tally = self._tallies[destination] = _Tally(destination.state)
        return tally

    def _set(self, group: DestinationSet, destination: Destination, state: int) -> None:
        before = destination.letters
        group.set_state(destination, state)
        self._tallies[destination].state = state
        if destination.letters[0] != before[0]:
            _log.warn(
                "destination {uri} of set {id} was {before} and is {now}",
                uri=destination.uri,
                id=group.id,
                before=before,
                now=destination.letters,
            )


class SipProber(DatagramProtocol):
    """Sends SIP requests, and reports the outcome of each.

    @param method: of the requests.
    @param from_uri: their From.
    """

    noisy = False
    transport: Any

    def __init__(self, method: str, from_uri: str, reactor: Any) -> None:
        self._method = method
        self._from = from_uri
        self._reactor = reactor
        self._waiting: dict[bytes, Deferred[int | None]] = {}

    def probe(self, uri: str, host: str, port: int) -> Deferred[int | None]:
        """Send a request.

        @param uri: whom it is for.
        @param host: the IP address to send it to.
        @return: a Deferred that fires with the code of the final reply, or with None if none comes in L{TIMEOUT}.
            Cancelling it gives up the request, and it fires with None.
        @raise OSError: it cannot be sent.
        """
        unique = secrets.token_hex(24)
        branch = b"z9hG4bK" + unique[:16].encode()
        request = self._request(uri, branch.decode(), tag=unique[16:24], call_id=unique[24:])
        self.transport.write(request, (host, port))  # first, since an error must leave nothing behind
        done: Deferred[int | None] = Deferred(lambda canceled: canceled.callback(None))

        def send_again(after: float) -> None:
            calls[0] = self._reactor.callLater(after, send_again, after * 2)
            try:
                self.transport.write(request, (host, port))
            except OSError as error:  # the same as if it were lost on the way
                _log.debug("cannot probe {uri}: {reason}", uri=uri, reason=error)

        def finish(code: int | None) -> int | None:
            self._waiting.pop(branch, None)
            for call in calls:
                if call.active():
                    call.cancel()
            return code

        calls = [
            self._reactor.callLater(FIRST_RETRANSMISSION, send_again, FIRST_RETRANSMISSION * 2),
            self._reactor.callLater(TIMEOUT, done.cancel),
        ]
        self._waiting[branch] = done
        return done.addCallback(finish)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Take a reply. Provisional and unexpected replies and anything else are ignored."""
        reply, branch = _REPLY.match(datagram), _BRANCH.search(datagram)
        if reply is None or branch is None or reply[1] < b"200":
            return
        waiting = self._waiting.get(branch[1])
        if waiting is not None:
            waiting.callback(int(reply[1]))

    def stop(self) -> None:
        """Give up all requests."""
        for waiting in list(self._waiting.values()):
            waiting.cancel()

    @cached_property
    def _address(self) -> str:
        """The address that the requests come from."""
        own = self.transport.getHost()
        return f"[{own.host}]:{own.port}" if ":" in own.host else f"{own.host}:{own.port}"

    def _request(self, uri: str, branch: str, tag: str, call_id: str) -> bytes:
        lines = [
            f"{self._method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self._address};rport;branch={branch}",
            "Max-Forwards: 70",
            f"From: <{self._from}>;tag={tag}",
            f"To: <{uri}>",
            f"Call-ID: {call_id}",
            f"CSeq: 1 {self._method}",
            f"User-Agent: jsonrpcs_tx/{__version__}",
            "Content-Length: 0",
        ]
        return "".join(line + "\r\n" for line in [*lines, ""]).encode()


class ProbingService(Service):
    """Probes destinations at an interval, while pinging is active.

    @param sets: the destinations, whose states it keeps.
    """

    def __init__(self, sets: DestinationSets, settings: Settings, reactor: Any) -> None:
        self._sets = sets
        self._settings = settings
        self._reactor = reactor
        self._keeper = StateKeeper(settings)
        self._probers: dict[str, SipProber] = {}
        self._in_progress: dict[tuple[int, str], Deferred[Any]] = {}
        self._next: Any = None

    def startService(self) -> None:
        super().startService()
        for interface in ("0.0.0.0", "::"):
            prober = SipProber(self._settings.ds_ping_method, self._settings.ds_ping_from, self._reactor)
            try:
                self._reactor.listenUDP(0, prober, interface)
            except CannotListenError as error:
                _log.warn("cannot send probes from {interface}: {error}", interface=interface, error=error)
            else:
                self._probers[interface] = prober
        self._next = self._reactor.callLater(self._settings.ds_ping_interval, self._round)

    def stopService(self) -> Deferred[Any] | None:
        """@return: a Deferred that fires when the sockets are closed."""
        super().stopService()
        if self._next is not None:
            self._next.cancel()
            self._next = None
        closing = []
        for prober in self._probers.values():
            prober.stop()
            closing.append(prober.transport.stopListening())
        self._probers.clear()
        return DeferredList(closing)

    def _probe(self, group: DestinationSet, destination: Destination) -> None:
        """Probe a destination, unless the last probe is still in progress."""
        key = group.id, destination.uri
        if key in self._in_progress:
            return

        def send(host: str) -> Deferred[int | None]:
            prober = self._probers.get("::" if isIPv6Address(host) else "0.0.0.0")
            if prober is None:
                raise OSError(f"no socket for {host}")
            began = self._reactor.seconds()
            answer = prober.probe(destination.uri, host, destination.port)
            return answer.addCallback(self._measured, destination.latency, began)

        def judge(code: int | None) -> None:
            if not self.running or self._sets.get(group.id) is not group:
                return
            if code is not None and is_answer(code, self._settings.ds_ping_reply_codes):
                self._keeper.answered(group, destination)
            else:
                self._keeper.failed(group, destination)

        def failed(failure: Failure) -> None:
            _log.debug("cannot probe {uri}: {reason}", uri=destination.uri, reason=failure.getErrorMessage())
            judge(None)

        def done(_: None) -> None:
            del self._in_progress[key]

        probe = self._in_progress[key] = self._resolve(destination).addCallback(send)
        probe.addCallbacks(judge, failed).addCallback(done)

    def _measured(self, code: int | None, latency: Latency, began: float) -> int | None:
        """Note how long an answer has taken, if that is wanted.

        @param began: when the request was sent.
        """
        if self._settings.ds_ping_latency_stats and self.running:
            if code is None or code == REQUEST_TIMEOUT:
                latency.timed_out()
            else:
                milliseconds = int((self._reactor.seconds() - began) * 1000)
                latency.answered(max(0, milliseconds), self._settings.ds_latency_estimator_alpha / 1000)
        return code

    def _resolve(self, destination: Destination) -> Deferred[str]:
        host = destination.host
        if is_address(host):
            return succeed(host)
        try:
            host.encode("idna")
        except UnicodeError:  # Twisted's resolver never answers for an impossible name
            return fail()
        return self._reactor.resolve(host)  # type: ignore[no-any-return] # a Deferred of an IPv4 address

    def _round(self) -> None:
        self._next = self._reactor.callLater(self._settings.ds_ping_interval, self._round)
        if self._sets.pinging:
            for group, destination in self._due():
                self._probe(group, destination)

    def _due(self) -> Iterator[tuple[DestinationSet, Destination]]:
        for group in list(self._sets.values()):
            for destination in list(group):
                by_name = not is_address(destination.host)
                if by_name and destination.state & NO_DNS:
                    continue
                if is_probed(destination, self._settings.ds_probing_mode):
                    yield group, destination
