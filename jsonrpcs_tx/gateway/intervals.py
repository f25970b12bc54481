"""Minimum intervals between two changes, learned from what a node refuses.

Some of Kamailio's modules refuse a reload that comes too soon after another one (C{reload_delta}), and so does its core
(C{rpc_exec_delta}). Kamailio does not report the interval, but a refusal proves that nothing has been run, so the call
may be sent again. It is sent again after every whole second, since Kamailio counts whole seconds. From then on the
interval is known, and the gateway waits for it.

Kamailio documents C{reload_delta} with the parameters of dispatcher, permissions and dialplan, C{rpc_exec_delta} in its
core cookbook. The texts are those of 5.6 (captured) and 6.1.
"""

from math import ceil, floor
from typing import Final

from jsonrpcs_tx.gateway.kinds import Kind
from jsonrpcs_tx.rpc.faults import Fault

_BY_MODULE: Final = frozenset({"ongoing reload", "too short reload interval - try later"})
"""The texts with which a module refuses its commands, in lower case, before it does anything."""
_BY_CORE: Final = "command executed too fast"
"""The text with which jsonrpcs refuses a command, in lower case, before it calls it."""
_GRAIN: Final = 0.1
"""Seconds that a timer may be late; subtracted before a time is rounded up to whole seconds."""


class Intervals:
    """The minimum intervals of one node."""

    def __init__(self) -> None:
        self._modules: dict[str, _Interval] = {}  # only modules that the catalogue says refuse calls, so just a few
        self._commands: dict[str, _Interval] = {}

    def ready(self, kind: Kind, method: str) -> float:
        """The time from which a call will probably not be refused; 0: nothing is known."""
        ready = 0.0
        if kind.interval and kind.module in self._modules:
            ready = self._modules[kind.module].ready
        if kind.delta and method in self._commands:
            ready = max(ready, self._commands[method].ready)
        return ready

    def refused(self, kind: Kind, method: str, fault: Fault | None, now: float) -> bool:
        """Learn from a fault.

        @param fault: the fault that answered a call; None: it got a result.
        @return: whether the call came too soon, and so has not been run.
        """
        if fault is None or fault.code != 500:
            return False
        text = fault.text.lower()
        if kind.interval and text in _BY_MODULE:
            interval = self._modules.setdefault(kind.module, _Interval())
        elif kind.delta and text == _BY_CORE:
            interval = self._commands.setdefault(method, _Interval())
        else:
            return False
        interval.refuse(now)
        return True

    def ran(self, kind: Kind, method: str, sent: float, now: float) -> None:
        """Note that a call has been run, or may have been.

        @param sent: when it was sent.
        """
        if kind.interval:
            self._modules.setdefault(kind.module, _Interval()).run(sent, now)
        if kind.delta:
            self._commands.setdefault(method, _Interval()).run(sent, now)


class _Interval:
    """What is known about one minimum interval.

    @ivar ready: the time from which a call will probably not be refused.
    """

    __slots__ = ("_last", "_learns", "_least", "_refused", "ready")

    def __init__(self) -> None:
        self.ready: float = 0.0
        self._last: float | None = None  # when the last run ended, if it was one of ours
        self._least = 0  # whole seconds that have to pass after that; 0: not known
        self._refused = False  # since the last run
        self._learns = False  # whether the time until the next run is the minimum interval

    def refuse(self, now: float) -> None:
        """A call was refused."""
        last = now if self._last is None else self._last
        if not self._refused:
            # A late refusal means that somebody else made a call, or that the interval has become longer.
            self._learns = self._last is not None and now - last < 1
            self._least, self._refused = 0, True
        self.ready = last + floor(now - last) + 1

    def run(self, sent: float, now: float) -> None:
        """A call was not refused."""
        if self._refused:
            learns = self._learns and self._last is not None and sent < self.ready + 1
            self._least = ceil(sent - (self._last or 0.0) - _GRAIN) if learns else 0
            self._refused = False
        self._last = now
        self.ready = now + self._least if self._least else 0.0
