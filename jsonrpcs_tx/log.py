"""The log of this package: Kamailio's levels, floods held back, and printable text only.

Every event passes here, so no call site can forget it. What a client sends reaches the log with its control
characters, line breaks, bidirectional overrides and lone surrogates escaped, and cut. Of each kind of message, L{BURST}
warnings and errors are logged at once and L{RATE} a second after that; the next one that is logged tells how many were
held back. The first one about another client has as much room of its own, so that no client hides another.

The level and the counts hold for the whole process, as Twisted's log does.
"""

import contextlib
import time
from collections.abc import Callable, Hashable
from io import StringIO
from typing import Any, Final

import attrs
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

LEAST_DEBUG: Final = -5
MOST_DEBUG: Final = 9

BURST: Final = 10
"""Warnings and errors of one kind that are logged at once."""

RATE: Final = 1.0
"""Warnings and errors of one kind that are logged in a second, in the long run."""

MAX_VALUE: Final = 500
"""Characters of one value in a message; of bytes, bytes."""

MAX_KINDS: Final = 1000
"""Kinds of messages that are counted. There are only as many as call sites, commands and transports make."""

_KIND_VALUES: Final = ("command", "transport")
"""Values that tell kinds of messages apart besides the format. They come from the program, never from a client."""

_SOURCE_VALUES: Final = ("client", "peer", "caller")
"""Values that tell whom a message is about, so that a flood of one does not hide others."""

MAX_SOURCES: Final = 64
"""Sources that are known of one kind of message; the one that came first is forgotten first."""

_ANY_SIZE: Final = 2**64
"""Integers below it are shown as they are; longer ones may be too long to be formatted."""

_debug = 2
_least: Any = LogLevel.info


def make_logger(name: str) -> Logger:
    """A logger whose events pass by the level that L{set_debug} sets, made printable and throttled.

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


def printable(text: str) -> str:
    """A text with everything escaped that is not printable: C{\\x1b}, C{\\n}, C{\\u202e}, C{\\udcff}."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


@attrs.define
class _Kind:
    """What a kind of message may still log.

    @ivar room: messages that may be logged now.
    @ivar spare: messages that may be logged besides, each about a source that is not in C{sources}.
    @ivar sources: those that messages were logged about.
    @ivar since: when that was worked out.
    @ivar held_back: messages that were not logged since the last one that was.
    """

    since: float
    room: float = BURST
    spare: float = BURST
    held_back: int = 0
    sources: dict[Hashable, None] = attrs.field(factory=dict)

    def take(self, now: float, source: Hashable) -> bool:
        """Whether one more may be logged."""
        gained = (now - self.since) * RATE
        self.since = now
        self.room, self.spare = min(BURST, self.room + gained), min(BURST, self.spare + gained)
        if self.room >= 1:
            self.room -= 1
        elif source is not None and source not in self.sources and self.spare >= 1:
            self.spare -= 1
        else:
            return False
        if source is not None and source not in self.sources:
            if len(self.sources) >= MAX_SOURCES:
                del self.sources[next(iter(self.sources))]
            self.sources[source] = None
        return True


def report(logger: Logger, message: str, error: BaseException, **values: object) -> None:
    """Log an error with its traceback. This raises nothing, whatever the error is made of.

    @param message: with C{values} in it, as a logger takes them.
    """
    with contextlib.suppress(BaseException):
        logger.failure(message, Failure(error), LogLevel.critical, **values)


class Throttle:
    """Decides which messages are logged, by their kinds: a flood of one kind hides no other, nor does a flood from one
    source hide the first message about another.

    @param clock: tells the time in seconds; it never goes back.
    @ivar held_back: messages of all kinds that were not logged.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kinds: dict[object, _Kind] = {}
        self.held_back = 0

    def take(self, key: object, source: Hashable = None) -> int | None:
        """Ask whether a message may be logged.

        @param key: of its kind.
        @param source: whom it is about; None: nobody in particular.
        @return: how many of its kind were held back since the last one; None: this one is held back.
        """
        now = self._clock()
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= MAX_KINDS:
                self._kinds.clear()
            kind = self._kinds[key] = _Kind(now)
        if not kind.take(now, source):
            kind.held_back += 1
            self.held_back += 1
            return None
        held_back, kind.held_back = kind.held_back, 0
        return held_back

    def clear(self) -> None:
        """Forget all kinds, so that the next messages are logged."""
        self._kinds.clear()


throttle: Final = Throttle(time.monotonic)
"""That of this process."""


class _Logger(Logger):
    """Makes events that are safe to show."""

    def emit(self, level: Any, format: str | None = None, **values: Any) -> None:  # noqa: A002 # as Twisted names it
        """Log an event.

        @param level: one of L{LogLevel}.
        @param values: for the format; those named C{log_...} are for observers and stay as they are. With a false
            C{log_throttled} the event is never held back, as where it was throttled before.
        """
        if level < _least:
            return
        if level >= LogLevel.warn and values.get("log_throttled", True):
            kind = (self.namespace, format, *(str(values.get(name)) for name in _KIND_VALUES))
            held_back = throttle.take(kind, _source(values))
            if held_back is None:
                return
            if held_back:
                values["log_held_back"] = held_back
                format = f"{format} (and {{log_held_back:,}} more)"  # noqa: A001
        for name, value in values.items():
            if not name.startswith("log_"):
                values[name] = _shown(value)
            elif name == "log_failure":
                values[name] = _PrintableFailure(value)
        super().emit(level, format, **values)


def _source(values: dict[str, Any]) -> Hashable:
    """Whom a message is about: an address, of a UDP client without its port."""
    for name in _SOURCE_VALUES:
        value = values.get(name)
        if value is not None:
            source = value[0] if isinstance(value, tuple) and value else value
            return source if isinstance(source, Hashable) else None
    return None


def _shown(value: object) -> object:
    """A value as a message may show it: a number, or printable text that is cut after L{MAX_VALUE} characters."""
    if value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < _ANY_SIZE):
        return value
    if isinstance(value, bytes | bytearray):
        return _cut(bytes(value[:MAX_VALUE]).decode(errors="backslashreplace"), len(value))
    text = value if isinstance(value, str) else safe_str(value)
    return _cut(text[:MAX_VALUE], len(text))


def _cut(start: str, size: int) -> str:
    return printable(start) if size <= MAX_VALUE else f"{printable(start)}... ({size:,} in all)"


class _PrintableFailure(Failure):
    """A failure whose traceback shows the message of its exception, which may hold anything, in one printable line."""

    def __init__(self, failure: Failure) -> None:
        self.__dict__.update(failure.__dict__)

    def printTraceback(self, file: Any = None, elideFrameworkCode: bool = False, detail: str = "default") -> None:
        """Write the traceback to a file, see L{Failure.printTraceback}."""
        text = StringIO()
        super().printTraceback(text, elideFrameworkCode, detail)
        lines, message = text.getvalue(), self.getErrorMessage()
        if message:
            lines = lines.replace(message, str(_shown(message)))
        file.write("\n".join(map(printable, lines.split("\n"))))


set_debug(_debug)
