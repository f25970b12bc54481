"""Runs the changes on one node: those of the same module one at a time, each once."""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Final, TypeAlias

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.python.failure import Failure

from jsonrpcs_tx.client.errors import BadRequest, ClientError, NotReachable
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.intervals import Intervals
from jsonrpcs_tx.gateway.kinds import Kind
from jsonrpcs_tx.gateway.lanes import Lane, Run, size_of
from jsonrpcs_tx.gateway.refusals import Refusals
from jsonrpcs_tx.gateway.room import Room
from jsonrpcs_tx.gateway.waiters import Outcome, Waiter
from jsonrpcs_tx.interfaces import Reactor
from jsonrpcs_tx.log import make_logger

Send: TypeAlias = Callable[[str, bytes, float, Hashable], Deferred[Answer]]
IsSent: TypeAlias = Callable[[Deferred[Answer]], bool]

PATIENCE: Final = 30.0
"""Seconds after which the answer to a change is overdue."""

HOLD: Final = 300.0
"""Seconds for which a change whose answer is overdue still keeps others of its module waiting, unless the node answers
it late, or is seen to be done with it: the node may be at work on it. A reload from a large database takes minutes.
"""

_log = make_logger(__name__)


class Changes:
    """The changes of one node, by module.

    @param send: see L{Turns<jsonrpcs_tx.gateway.turns.Turns>}.
    @param is_sent: see there as well.
    @param name: of the node, for the log.
    @param patience: see L{PATIENCE}.
    @param hold: see L{HOLD}.
    @param room: limits what waits.
    @param refusals: makes the faults that callers get.
    @param changed: called when something has been changed, or may have been, before any caller gets the answer.
    """

    def __init__(
        self,
        clock: Reactor,
        send: Send,
        is_sent: IsSent,
        name: str,
        patience: float,
        hold: float,
        room: Room,
        refusals: Refusals,
        changed: Callable[[], None],
    ) -> None:
        self._clock: Any = clock
        self._send = send
        self._is_sent = is_sent
        self._name = name
        self._patience = patience
        self._hold = hold
        self._room = room
        self._refusals = refusals
        self._changed = changed
        self._intervals = Intervals()
        self._lanes: dict[str, Lane] = {}
        self._timers: dict[str, Any] = {}  # of the lanes that wait for an interval to pass
        self._advancing: set[str] = set()

    def call(
        self, kind: Kind, method: str, params: bytes, deadline: float, client: Hashable = None
    ) -> Deferred[Answer]:
        """Run a change when its turn comes; see L{Turns<jsonrpcs_tx.gateway.turns.Turns>}."""
        seconds = deadline - self._clock.seconds()
        if seconds <= 0:
            return fail(self._refusals.over())
        lane = self._lanes.get(kind.module)
        run = None if lane is None else lane.shared(kind, method, params, client)
        size = 0 if run is not None else size_of(method, params)
        full = self._room.refusal(size, client)
        if full:
            return fail(self._refusals.not_asked(full))
        self._room.take(size, client)
        if run is None:
            if lane is None:
                lane = self._lanes[kind.module] = Lane()
            run = Run(kind, method, params, client)
            lane.append(run)
        caller = Waiter(run, seconds, deadline, self._leave, client)
        run.callers[caller] = None
        caller.timer = self._clock.callLater(seconds, self._late, caller)
        self._advance(kind.module)
        return caller.waiting

    def refuse(self, reason: str) -> None:
        """Refuse what has not been sent."""
        refusal = self._refusals.not_asked(reason)
        for module, lane in list(self._lanes.items()):
            while (run := lane.first) is not None:
                lane.remove(run)
                self._free(run)
                self._answer(run, refusal)
            if lane.running is not None and self._is_unsent(lane.running):
                self._answer(lane.running, refusal)
                self._call_off(lane.running)
            self._advance(module)

    def lose(self, error: ClientError) -> None:
        """Give up the changes that have been sent: the process that they were sent to is gone."""
        for lane in list(self._lanes.values()):
            if lane.running is not None:
                self._give_up(lane.running, error)

    def settle(self, before: float, error: ClientError) -> None:
        """Give up the changes whose answers were overdue before a time: the node is done with all that was sent then.

        @param error: for those who still wait.
        """
        for lane in list(self._lanes.values()):
            run = lane.running
            if run is not None and self._is_overdue(run) and run.overdue.getTime() < before:
                self._give_up(run, error)

    def _advance(self, module: str) -> None:
        """Send the next change of a module, if its turn has come, and those after it that are answered at once."""
        if module in self._advancing:
            return
        self._advancing.add(module)
        try:
            while (lane := self._lanes.get(module)) is not None and self._may_begin(lane, module):
                self._begin(lane, lane.begin())
        finally:
            self._advancing.discard(module)

    def _may_begin(self, lane: Lane, module: str) -> bool:
        """Whether the next change may be sent now. If it is too early, a timer is set. If no change is waiting, the
        lane is forgotten.
        """
        if lane.running is not None:
            return False
        timer = self._timers.pop(module, None)
        if timer is not None and timer.active():
            timer.cancel()
        run = lane.first
        if run is None:
            del self._lanes[module]
            return False
        seconds = self._intervals.ready(run.kind, run.method) - self._clock.seconds()
        if seconds <= 0:
            return True
        self._timers[module] = self._clock.callLater(seconds, self._advance, module)
        return False

    def _begin(self, lane: Lane, run: Run) -> None:
        run.sent = now = self._clock.seconds()
        seconds = max(self._patience, max(caller.deadline for caller in run.callers) - now)
        run.overdue = self._clock.callLater(seconds, self._overdue, run, seconds)
        run.sending = maybeDeferred(self._send, run.method, run.params, seconds + self._hold, run.client)
        run.sending.addCallbacks(partial(self._answered, lane, run), partial(self._failed, lane, run))

    def _overdue(self, run: Run, seconds: float) -> None:
        """A change has not been answered in time."""
        _log.warn(
            "node {name} has not answered {method} within {seconds:.3g} s; further changes of {module} wait for it, "
            "for up to {hold:.3g} s",
            name=self._name,
            method=run.method[:100],
            seconds=seconds,
            module=run.kind.module[:100],
            hold=self._hold,
        )

    def _is_overdue(self, run: Run) -> bool:
        return run.overdue is not None and bool(run.overdue.called)

    def _answered(self, lane: Lane, run: Run, answer: Answer) -> None:
        now = self._clock.seconds()
        self._untimed(run, "has answered")
        if self._intervals.refused(run.kind, run.method, answer.fault, now):
            run.refusal = answer
            self._try_again(lane, run)
        else:
            self._intervals.ran(run.kind, run.method, run.sent, now)
            self._end(lane, run, answer)

    def _failed(self, lane: Lane, run: Run, failure: Failure) -> None:
        self._untimed(run, "is no longer waited for to answer")
        has_run = run.error is not None or not failure.check(NotReachable, BadRequest, CancelledError)
        if has_run:
            self._intervals.ran(run.kind, run.method, run.sent, self._clock.seconds())
        self._end(lane, run, run.error or failure.value)

    def _untimed(self, run: Run, what: str) -> None:
        """Whether the answer to a run is overdue is of no interest any more.

        @param what: what has happened, if it was overdue.
        """
        if self._is_overdue(run):
            _log.info(
                "node {name} {what} {method}, after {seconds:.3g} s",
                name=self._name,
                what=what,
                method=run.method[:100],
                seconds=self._clock.seconds() - run.sent,
            )
        elif run.overdue is not None:
            run.overdue.cancel()
        run.overdue = None

    def _try_again(self, lane: Lane, run: Run) -> None:
        """Queue a run again that came too soon, if somebody still waits for it."""
        same = lane.put_back(run)
        if same is not None:
            for caller in same.callers:
                caller.of = run
            run.callers.update(same.callers)
            self._free(same)
        self._forget_if_left(lane, run)
        self._advance(run.kind.module)

    def _end(self, lane: Lane, run: Run, outcome: Outcome) -> None:
        lane.running = None
        self._free(run)
        self._changed()
        self._answer(run, outcome)
        self._advance(run.kind.module)

    def _answer(self, run: Run, outcome: Outcome) -> None:
        """Give the outcome of a run to all who wait for it."""
        callers, run.callers = run.callers, {}
        for caller in callers:
            self._release(caller)
        for caller in callers:
            caller.tell(outcome)

    def _late(self, caller: Waiter[Run]) -> None:
        """The deadline of a caller has come."""
        run = caller.of
        is_sent = self._lanes[run.kind.module].running is run and not self._is_unsent(run)
        self._leave(caller)
        if is_sent:
            caller.tell(self._refusals.unanswered(caller.seconds))
        else:
            caller.tell(run.refusal or self._refusals.no_turn(caller.seconds))

    def _leave(self, caller: Waiter[Run]) -> None:
        """A caller no longer waits. Its run is called off, unless it has been sent or others wait for it."""
        run = caller.of
        if caller not in run.callers:
            return  # it is getting its answer
        del run.callers[caller]
        self._release(caller)
        module = run.kind.module
        lane = self._lanes[module]
        if lane.running is not run:
            self._forget_if_left(lane, run)
            self._advance(module)
        elif not run.callers and self._is_unsent(run):
            self._call_off(run)

    def _is_unsent(self, run: Run) -> bool:
        """Whether nothing has been sent of a run that has begun: its turn has come, but the node has no room for it."""
        return run.sending is not None and not run.sending.called and not self._is_sent(run.sending)

    def _call_off(self, run: Run) -> None:
        """Have a run that has not been sent never be sent."""
        if run.sending is not None:
            run.sending.cancel()

    def _give_up(self, run: Run, error: ClientError) -> None:
        """Wait no longer for the answer to a run."""
        if run.sending is not None:
            run.error = error
            run.sending.cancel()

    def _forget_if_left(self, lane: Lane, run: Run) -> None:
        if not run.callers:
            lane.remove(run)
            self._free(run)

    def _free(self, run: Run) -> None:
        self._room.free(run.size, run.client)

    def _release(self, caller: Waiter[Run]) -> None:
        self._room.leave(caller.client)
        caller.untimed()
