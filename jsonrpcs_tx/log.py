"""The log of this package: Kamailio's levels, floods held back, printable text only.

Every event passes through here, so no call site can forget that; what is in it is shown as L{jsonrpcs_tx.logvalues}
says. Of each kind of message, L{BURST} warnings and errors are logged at once and L{RATE} a second after that; the next
one that is logged says how many were held back. The first messages about other clients have the same limits of their
own, so that no client hides another. What has other limits asks another L{Throttle}.

The level and the counts are those of the whole process, as Twisted's log is.
"""

import contextlib
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

import attrs
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from jsonrpcs_tx.buckets import TokenBuckets
from jsonrpcs_tx.logvalues import Party, PrintableFailure, party, shown

LEAST_DEBUG: Final = -5
MOST_DEBUG: Final = 9

BURST: Final = 10
"""Warnings and errors of one kind that are logged in a burst."""

RATE: Final = 1.0
"""Warnings and errors of one kind that are logged per second, in the long run."""

MAX_KINDS: Final = 1000
"""Kinds of messages that are counted. There are only as many as call sites, commands and transports produce."""

_KIND_VALUES: Final = ("command", "transport")
"""Values that tell kinds of messages apart besides the format. They come from the program, never from a client."""

_PARTIES: Final = ("client", "peer", "caller")
"""Values that say whom a message is about, so that a flood of one does not hide others. As fields they are C{peer} and
what else is known, see L{party}."""

MAX_SOURCES: Final = 64
"""Sources that are remembered for each kind of message; the oldest is forgotten first."""

_debug = 2
_lost = 0
_least: Any = LogLevel.info


def make_logger(name: str) -> Logger:
    """A logger whose events are filtered by the level that L{set_debug} sets, made printable and throttled.

    @param name: of the module.
    """
    return _Logger(namespace=name)


def debug() -> int:
    """The level: what is below it in Kamailio's list (3 debug, 2 info, 1 notice, 0 warning, -1 error) is logged."""
    return _debug


def set_debug(level: int) -> None:
    """Set the level, from L{LEAST_DEBUG} to L{MOST_DEBUG}."""
    global _debug, _least
    _debug = level
    if level >= 3:
        _least = LogLevel.debug
    elif level == 2:
        _least = LogLevel.info
    elif level >= 0:
        _least = LogLevel.warn
    elif level == -1:
        _least = LogLevel.error
    else:
        _least = LogLevel.critical


def is_logged(level: Any) -> bool:
    """Whether events of one of the levels of C{LogLevel} are logged."""
    return bool(level >= _least)


def lost() -> int:
    """How many lines could not be written, for example on a full disk; counts only what L{jsonrpcs_tx.logs} writes."""
    return _lost


def count_lost() -> None:
    """Note that a line could not be written."""
    global _lost
    _lost += 1


def report(logger: Logger, message: str, error: BaseException, **values: object) -> None:
    """Log an error with its traceback. This raises nothing, whatever the error is.

    @param message: with C{values} in it, as a logger takes them.
    """
    with contextlib.suppress(BaseException):
        logger.failure(message, Failure(error), LogLevel.critical, **values)


class Throttle:
    """Decides which messages are logged. A flood of one kind hides no other, and a flood from one source
    does not hide the first message about another.

    @param seconds: tells the time.
    @param burst: messages of one kind that are logged in a burst.
    @param rate: messages of one kind that are logged per second, in the long run.
    @param most: kinds that are remembered; the oldest is forgotten first.
    @param of_all: limits the messages of all kinds together; None: nothing does.
    @ivar held_back: messages of all kinds that were not logged.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        burst: float = BURST,
        rate: float = RATE,
        most: int = MAX_KINDS,
        of_all: TokenBuckets | None = None,
    ) -> None:
        self._buckets = TokenBuckets(burst, rate, seconds, most)
        self._buckets_of_new_sources = TokenBuckets(burst, rate, seconds, most)
        self._of_all = of_all
        self._most = most
        self._kinds: dict[Hashable, _Kind] = {}
        self.held_back: int = 0

    def take(self, key: Hashable, source: Hashable = None) -> int | None:
        """Ask whether a message may be logged.

        @param key: of its kind.
        @param source: whom it is about; None: nobody in particular.
        @return: how many of its kind were held back since the last one; None if this one is held back.
        """
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= self._most:
                del self._kinds[next(iter(self._kinds))]
            kind = self._kinds[key] = _Kind()
        is_new = source is not None and source not in kind.sources
        for buckets in (self._buckets, self._buckets_of_new_sources) if is_new else (self._buckets,):
            if not buckets.wait(key) and (self._of_all is None or not self._of_all.wait(None)):
                buckets.take(key)
                if self._of_all is not None:
                    self._of_all.take(None)
                if is_new:
                    kind.remember(source)
                held_back, kind.held_back = kind.held_back, 0
                return held_back
        kind.held_back += 1
        self.held_back += 1
        return None

    def clear(self) -> None:
        """Forget all kinds, so that the next messages are logged."""
        self._buckets.clear()
        self._buckets_of_new_sources.clear()
        self._kinds.clear()


@attrs.define
class _Kind:
    """What is remembered of a kind of message.

    @ivar held_back: messages that were not logged since the last one that was.
    @ivar sources: the sources that messages were logged about, the oldest first.
    """

    held_back: int = 0
    sources: dict[Hashable, None] = attrs.field(factory=dict)

    def remember(self, source: Hashable) -> None:
        """Remember a source, and forget the oldest one if there are too many."""
        if len(self.sources) >= MAX_SOURCES:
            del self.sources[next(iter(self.sources))]
        self.sources[source] = None


throttle: Final = Throttle(time.monotonic)
"""The throttle of this process."""


class _Logger(Logger):
    """Makes events that are safe to show."""

    def emit(self, level: Any, format: str | None = None, **values: Any) -> None:  # noqa: A002 # as Twisted names it
        """Log an event.

        @param level: one of C{LogLevel}.
        @param values: for the format; those named C{log_...} are for observers and are not changed. An event that
            another L{Throttle} has let through has what that returned as C{log_held_back}. Observers find the values by
            their names in C{log_fields}, those that say whom the event is about as L{party} has them.
        """
        if level < _least:
            return
        about: dict[str, Party] = {name: party(values[name]) for name in _PARTIES if name in values}
        if level >= LogLevel.warn:
            if "log_held_back" not in values:
                kind = (self.namespace, format, *(str(values.get(name)) for name in _KIND_VALUES))
                values["log_held_back"] = throttle.take(kind, _source(about))
            if values["log_held_back"] is None:
                return
            if values["log_held_back"]:
                format = f"{format} (and {{log_held_back:,}} more)"  # noqa: A001
        fields: dict[str, Any] = {**values.pop("log_fields", {})}
        for name, value in values.items():
            if name in about:
                values[name] = about[name].text
                fields |= about[name].fields
            elif not name.startswith("log_"):
                values[name] = fields[name] = shown(value)
            elif name == "log_failure":
                values[name] = PrintableFailure(value)
        super().emit(level, format, **values, log_fields=fields)


def _source(about: Mapping[str, Party]) -> Hashable:
    """Whom a message is about; None: nobody in particular."""
    return next((one.source for one in about.values()), None)


set_debug(_debug)
