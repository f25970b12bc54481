"""The log of this package, with Kamailio's levels, which ``corex.debug`` reads and sets while the server runs.

The level counts for the whole process, as Twisted's log does.
"""

import contextlib
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import (
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogPublisher,
)
from twisted.python.failure import Failure

LEAST_DEBUG: Final = -5
MOST_DEBUG: Final = 9

_levels = LogLevelFilterPredicate()
_observer = FilteringLogObserver(globalLogPublisher, [_levels])
_debug = 2


def make_logger(name: str) -> Logger:
    """A logger whose events pass by the level that L{set_debug} sets."""
    return Logger(namespace=name, observer=_observer)


def debug() -> int:
    """The level: what is below it in Kamailio's list (3 debug, 2 info, 1 notice, 0 warning, -1 error) is logged."""
    return _debug


def set_debug(level: int) -> None:
    """Set the level, from L{LEAST_DEBUG} to L{MOST_DEBUG}."""
    global _debug
    _debug = level
    if level >= 3:
        wanted = LogLevel.debug
    elif level == 2:
        wanted = LogLevel.info
    elif level >= 0:
        wanted = LogLevel.warn
    elif level == -1:
        wanted = LogLevel.error
    else:
        wanted = LogLevel.critical
    _levels.defaultLogLevel = wanted
    _levels.clearLogLevels()  # and take the default from now on


def report(logger: Logger, message: str, error: BaseException, **values: object) -> None:
    """Log an error with its traceback. This raises nothing, whatever the error is made of.

    @param message: with C{values} in it, as a logger takes them.
    """
    with contextlib.suppress(BaseException):
        logger.failure(message, Failure(error), LogLevel.critical, **values)


class Throttle:
    """Lets one message pass in a second, and counts those that it holds back.

    @param clock: tells the time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._next = 0.0
        self.held_back = 0

    def passes(self) -> bool:
        """Whether a message may be logged now."""
        now = self._clock.seconds()
        if self._next - 1 <= now < self._next:  # earlier, if the clock was set back
            self.held_back += 1
            return False
        self._next = now + 1
        return True


set_debug(_debug)
