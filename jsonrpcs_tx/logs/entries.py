"""The contents of an event of Twisted's log, whoever logged it: all printable, for any format."""

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs
from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure

from jsonrpcs_tx.logvalues import PrintableFailure, printable_lines, shown
from jsonrpcs_tx.printable import printable

LEVELS: Final[Mapping[Any, str]] = {
    LogLevel.debug: "debug",
    LogLevel.info: "info",
    LogLevel.warn: "warning",
    LogLevel.error: "error",
    LogLevel.critical: "critical",
}
"""The levels in words: those of syslog, as far as Twisted has them."""

ALIASES: Final[Mapping[str, str]] = {"command": "method"}
"""Other names for some values when they become fields, so that there is only one name to search for."""

_LEGACY: Final = "log_legacy"
"""The namespace of what is logged by C{twisted.python.log}."""

_DETAILS: Final = re.compile(
    r"\S+ starting on (\d+|b?['\"].*)|\((TCP|UDP|UNIX) Port .* Closed\)|(Starting|Stopping) (protocol|factory) <.*"
    r"|reactor class: .*|Main loop terminated\."
)
"""Messages of Twisted about its ports and itself at level info, which are useful only for debugging it."""

_STALE: Final = re.compile(r"Removing stale pidfile .*")
"""Messages that twistd wrongly logs as critical: a server was killed, and another one starts in its place."""

_UNHANDLED: Final = "Unhandled error in Deferred:"
"""What Twisted logs before the failure itself, which is then an event without a message."""


@attrs.frozen
class CodeLocation:
    """Where in the source an error was raised."""

    file: str
    line: int
    function: str


@attrs.frozen
class Entry:
    """An event in the words of the log.

    @ivar seconds: when it was, since 1970.
    @ivar level: one of C{LogLevel}.
    @ivar module: which module has logged it; C{-} if it does not say.
    @ivar message: one line; those of programs and Twisted may have several.
    @ivar fields: the values in the message, by name: numbers, texts and None.
    @ivar traceback: of an error, in lines; empty without one.
    @ivar location: where an error was raised; None: it is not an error.
    """

    seconds: float
    level: Any
    module: str
    message: str
    fields: Mapping[str, Any] = attrs.field(factory=dict)
    traceback: str = ""
    location: CodeLocation | None = None

    @property
    def tag(self) -> str:
        """The module and the level, as Twisted has them in brackets: C{jsonrpcs_tx.service#info}."""
        return self.module if self.module == "-" else f"{self.module}#{self.level.name}"

    @property
    def text(self) -> str:
        """The message with the traceback, in lines."""
        return f"{self.message}\n{self.traceback}" if self.traceback else self.message


def level_of(event: LogEvent) -> Any:
    """The level that an event has in the log. For some events it differs from Twisted's; an event without a level is
    info.
    """
    level = event.get("log_level") or LogLevel.info
    if _is_of_twisted(event):
        if level is LogLevel.info and _DETAILS.fullmatch(formatEvent(event)):
            return LogLevel.debug
        if level is LogLevel.critical and _STALE.fullmatch(formatEvent(event)):
            return LogLevel.warn
    return level


def _is_of_twisted(event: LogEvent) -> bool:
    namespace = str(event.get("log_namespace"))
    return namespace == _LEGACY or namespace.startswith("twisted.")


def entry_of(event: LogEvent) -> Entry | None:
    """The entry for an event; None if it has no message, or if another event says the same."""
    message = formatEvent(event)
    if message == _UNHANDLED:
        return None
    failure = event.get("log_failure", event.get("failure"))
    traceback, location = "", None
    if isinstance(failure, Failure):
        if "log_failure" not in event:  # of twisted.python.log.err, whose text has the traceback in it
            message = str(event.get("why") or "Unhandled Error")
        traceback, location = _traceback(failure), _location(failure)
        if not message:
            message = traceback.rpartition("\n")[2]
            if event.get("log_namespace") == "twisted.internet.defer":
                message = f"{_UNHANDLED} {message}"
    elif "log_traceback" in event:
        traceback = event["log_traceback"].lstrip("\n")
        message = message.removesuffix(event["log_traceback"])
    if not message:
        return None
    return Entry(
        seconds=event.get("log_time", 0.0),
        level=level_of(event),
        module=_module(event),
        message=printable_lines(message),
        fields=_fields(event),
        traceback=traceback,
        location=location,
    )


def _module(event: LogEvent) -> str:
    system = event.get("log_system")
    namespace = event.get("log_namespace")
    return printable(str(system or ("-" if namespace in (None, _LEGACY) else namespace)))


def _fields(event: LogEvent) -> Mapping[str, Any]:
    """The values of an event: if it is by this package, those that are prepared in it; otherwise numbers and texts."""
    known = event.get("log_fields")
    if known is None:
        if event.get("log_namespace") == _LEGACY:
            return {}
        known = {
            name: shown(value)
            for name, value in event.items()
            if not name.startswith("log_") and isinstance(value, str | bytes | int | float)
        }
    return {printable(ALIASES.get(name, name)): value for name, value in known.items()}


def _traceback(failure: Failure) -> str:
    try:
        return printable_lines(PrintableFailure(failure).getTraceback())
    except Exception:  # whatever the methods of an exception raise
        return f"(a traceback of {failure.type!r:.200} that cannot be shown)"


def _location(failure: Failure) -> CodeLocation | None:
    if not failure.frames:
        return None
    function, file, line = failure.frames[-1][:3]
    return CodeLocation(printable(file), line, printable(function))
