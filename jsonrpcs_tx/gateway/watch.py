"""Watches whether a node runs: asks it every few seconds, and has calls refused while it does not answer."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from jsonrpcs_tx.client.errors import ClientError, NotReachable, TimedOut
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

UNKNOWN: Final = "unknown"
"""Not asked yet: calls are let through."""

UP: Final = "up"
DOWN: Final = "down"

PATIENCE: Final = 5.0
"""Seconds within which a node must answer to count as running."""

MAX_UPTIME: Final = 2**32
"""Seconds of the longest uptime that is believed: no node has run for longer than a century."""

JITTER: Final = 0.1
"""The fraction by which the interval varies, so that not all nodes are asked at the same moment."""

_decode: Final = msgspec.json.Decoder().decode


class Watch:
    """Asks a node regularly, and so knows its state: a circuit breaker. While the node is down, it gets no other calls.

    @param name: of the node.
    @param ask: calls a method with so many seconds for the answer.
    @param interval: seconds between two questions.
    @param went_down: called with the reason when it is seen to be down.
    @param restarted: called when it is seen to have been restarted.
    @param target: where it is, for the log, without a password.
    @param answered: called when it has answered a check, with the time at which it was asked.
    @param came: called when it is seen to run, but was not before, or when it is a different process than before.
    @param spare: gives the seconds by which the interval may be longer now, since others tell that the node lives. The
        first question waits for up to as long, and the interval grows to that while the node stays down.
    @ivar state: L{UNKNOWN}, L{UP} or L{DOWN}.
    @ivar heard: whether it has answered a call since the last check began: then it runs, even if the check times out.
    @ivar since: when the state began, in seconds since 1970.
    @ivar reason: why it is down, for messages; empty while it is not.
    @ivar uptime: its uptime in seconds at the last check; None: not reported.
    @ivar version: its version; empty: not reported.
    @ivar restarts: how many restarts have been detected.
    @ivar restarted: when the last restart was detected, in seconds since 1970; None: never.
    @ivar running: whether it asks; not any more once the node has been removed.
    """

    def __init__(
        self,
        name: str,
        ask: Callable[[str, float], Deferred[Answer]],
        clock: IReactorTime,
        interval: float,
        went_down: Callable[[str], None] = lambda reason: None,
        restarted: Callable[[], None] = lambda: None,
        target: str = "",
        answered: Callable[[float], None] = lambda asked: None,
        came: Callable[[], None] = lambda: None,
        spare: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.name = name
        self.state: str = UNKNOWN
        self.heard: bool = False
        self.since: float = time.time()
        self.reason: str = ""
        self.uptime: int | None = None
        self.version: str = ""
        self.restarts: int = 0
        self.restarted: float | None = None
        self.running: bool = False
        self._ask = ask
        self._clock = clock
        self._interval = interval
        self._asking: Deferred[Any] | None = None
        self._next: Any = None
        self._went_down = went_down
        self._restarted = restarted
        self._target = target
        self._tell_answered = answered
        self._came = came
        self._spare = spare
        self._pause = interval  # while it is down
        self._asked = 0.0
        self._answered_at = 0.0

    def start(self) -> None:
        """Start asking."""
        self.running = True
        spare = self._spare()
        if spare:
            self._next = self._clock.callLater(random.uniform(0, spare), self._look)
        else:
            self._look()

    def stop(self) -> None:
        """Stop asking."""
        self.running = False
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._asking is not None:
            self._asking.cancel()

    def failed(self, error: BaseException | None) -> None:
        """A call has not been answered. If the node cannot be reached, it is down. Otherwise it is checked at once: the
        command may just take long.
        """
        if self.state == DOWN or not self.running:
            return
        if isinstance(error, NotReachable):
            self._set(DOWN, error.reason)
            if self._next is not None and self._next.getTime() > self._clock.seconds() + self._interval:
                self._next.reset(self._interval)
        elif self._asking is None:
            self._look()

    def _look(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
        self.heard = False
        self._asked = self._clock.seconds()
        self._asking = self._ask("core.uptime", PATIENCE)
        self._asking.addCallbacks(self._answered, self._not_answered).addBoth(self._wait)

    def _wait(self, _: object) -> None:
        self._asking = None
        if self.running:
            seconds = self._interval + self._spare()
            if self.state == DOWN:
                seconds = min(seconds, self._pause)
                self._pause = 2 * seconds
            self._next = self._clock.callLater(seconds * random.uniform(1 - JITTER, 1 + JITTER), self._look)

    def _answered(self, answer: Answer) -> Deferred[None] | None:
        """Any answer shows that the node runs, even a fault."""
        was_up = self.state == UP
        before, self.uptime = self.uptime, _uptime(answer)
        restarted = self._has_started_since(before)
        if restarted:
            self.restarts += 1
            self.restarted = time.time()
            _log.warn("node {name} was restarted", name=self.name)
            self._restarted()
        self._set(UP)
        self._tell_answered(self._asked)
        if was_up and not restarted:
            return None
        self._came()
        return self._ask("core.version", PATIENCE).addCallbacks(self._take_version, self._not_answered)

    def _has_started_since(self, before: int | None) -> bool:
        """Whether the uptime shows that the node has been restarted since the check before. A restarted node may even
        have a higher uptime than at that check: then it has started since, and its uptime has grown by less than the
        clock.

        @param before: the uptime at that check; None: not reported.
        """
        now, uptime = self._clock.seconds(), self.uptime
        answered, self._answered_at = self._answered_at, now
        if before is None or uptime is None:
            return False
        # The uptime is cut to whole seconds, and the node wrote its answer some time after it was asked.
        goes_on = self._asked - answered < uptime + 1 - before
        return uptime < before or (uptime <= now - answered and not goes_on)

    def _take_version(self, answer: Answer) -> None:
        value = _value(answer)
        self.version = value[:200] if isinstance(value, str) else ""

    def _not_answered(self, failure: Failure) -> None:
        if failure.check(CancelledError) or (self.heard and failure.check(TimedOut)):
            return
        error = failure.value
        self._set(DOWN, error.reason if isinstance(error, ClientError) else str(error))

    def _set(self, state: str, reason: str = "") -> None:
        if state != self.state:
            if state == DOWN:
                message = "node {name} is down: {reason} (at {target})"
                _log.warn(message, name=self.name, reason=reason, target=self._target)
                self._went_down(f"it is down: {reason}")
                self._pause = self._interval
            else:
                _log.info("node {name} is up", name=self.name)
            self.since = time.time()
        self.state, self.reason = state, reason


def _uptime(answer: Answer) -> int | None:
    value = _value(answer)
    found = value.get("uptime") if isinstance(value, dict) else None
    return found if type(found) is int and 0 <= found <= MAX_UPTIME else None


def _value(answer: Answer) -> Any:
    """The result of an answer; None: there is none, or it is too deeply nested or has a number that no float can be."""
    with suppress(msgspec.DecodeError, RecursionError):
        return None if answer.result is None else _decode(answer.result)
    return None
