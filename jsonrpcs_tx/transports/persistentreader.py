"""A reader that the reactor cannot lose."""

from typing import Any, Final

from twisted.internet import abstract
from twisted.python.failure import Failure

from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

TURN: Final = 0.005
"""Seconds that a reader answers what has come before others have their turn; one document may take longer."""

FIRST_PAUSE: Final = 0.05
"""Seconds after which a reader that was lost reads again; the pause doubles each time, up to L{MOST_PAUSE}."""
MOST_PAUSE: Final = 1.0
STEADY: Final = 10.0
"""Seconds without an error after which the pause is short again."""


class PersistentReader(abstract.FileDescriptor):
    """A descriptor that is read until L{stopReading} is called.

    The reactor drops a reader whose C{doRead} raises, for good. This one logs the error, and reads again after a pause.

    @ivar turn: see L{TURN}.
    """

    turn = TURN

    _pause: Any = None
    _pause_time = FIRST_PAUSE
    _lost_at = -STEADY

    def stopReading(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        super().stopReading()

    def startReading(self) -> None:
        if self._pause is None:
            super().startReading()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor no longer reads this."""
        super().connectionLost(reason)
        if self.fileno() < 0:
            return
        reactor: Any = self.reactor
        now = reactor.seconds()
        steady = not 0 <= now - self._lost_at < STEADY  # below 0 the clock was set back
        self._pause_time = FIRST_PAUSE if steady else min(2 * self._pause_time, MOST_PAUSE)
        self._lost_at = now
        reader, why = self.logPrefix(), type(reason.value).__name__
        _log.error("{reader}: {why}; read again in {pause:g} s", reader=reader, why=why, pause=self._pause_time)
        self._pause = reactor.callLater(self._pause_time, self._read_again)

    def _read_again(self) -> None:
        self._pause = None
        self.startReading()
