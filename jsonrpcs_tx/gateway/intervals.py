"""Least intervals between two changes, learned from what a node refuses.

Some of Kamailio's modules refuse a reload that comes too soon after another one (C{reload_delta}), and so does its core
(C{rpc_exec_delta}). Nobody tells how long that is, but the refusal proves that nothing has been run, so the call may be
sent again. It is, after every whole second, since Kamailio counts whole seconds. From then on the interval is known,
and waited for.

Kamailio documents C{reload_delta} with the parameters of dispatcher, permissions and dialplan, C{rpc_exec_delta} in its
core cookbook. The texts are those of 5.6 (captured) and 6.1.
"""

from math import ceil, floor
from typing import Final

from jsonrpcs_tx.gateway.kinds import Kind
from jsonrpcs_tx.rpc.faults import Fault

_BY_MODULE: Final = frozenset({"ongoing reload", "too short reload interval - try later"})
"""What a module refuses its commands with, in lower case, before it does anything."""
_BY_CORE: Final = "command executed too fast"
"""What jsonrpcs refuses a command with, in lower case, before it calls it."""
_GRAIN: Final = 0.1
"""Seconds by which a timer may be late, when a time is rounded to whole seconds."""


class Intervals:
    """The least intervals of one node."""

    def __init__(self) -> None:
        self._modules: dict[str, _Interval] = {}  # those that the catalogue knows to refuse anything, so not many
        self._commands: dict[str, _Interval] = {}

    def ready(self, kind: Kind, method: str) -> float:
        """The time from which on a call is likely not to be refused; 0: nothing is known."""
        ready = 0.0
        if kind.interval and kind.module in self._modules:
            ready = self._modules[kind.module].ready
        if kind.delta and method in self._commands:
            ready = max(ready, self._commands[method].ready)
        return ready

    def refused(self, kind: Kind, method: str, fault: Fault | None, now: float) -> bool:
        """Learn from a fault.

        @param fault: what a call has been answered with; None: with a result.
        @return: whether it has come too soon, and so has not been run.
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
    """What is known of one least interval.

    @ivar ready: when a call is likely not to be refused.
    """

    __slots__ = ("_last", "_learns", "_least", "_refused", "ready")

    def __init__(self) -> None:
        self.ready: float = 0.0
        self._last: float | None = None  # when the last run had ended, if it was one of ours
        self._least = 0  # whole seconds, which have to pass from then on; 0: not known
        self._refused = False  # since the last run
        self._learns = False  # whether the interval that passes until the next run is the least one

    def refuse(self, now: float) -> None:
        """A call was refused."""
        last = now if self._last is None else self._last
        if not self._refused:
            # A refusal that comes late is due to a run of somebody else, or the interval has become longer.
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
