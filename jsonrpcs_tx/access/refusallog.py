"""Logs who is refused, in the form that the filter of fail2ban in C{contrib/fail2ban} reads."""

from collections.abc import Callable
from typing import Final

from jsonrpcs_tx.access.guessing import network_of
from jsonrpcs_tx.buckets import TokenBuckets
from jsonrpcs_tx.log import Throttle, make_logger
from jsonrpcs_tx.state.counters import Counters

_log = make_logger(__name__)

BURST: Final = 10
"""Lines about one network that are logged in a burst."""

RATE: Final = 1.0
"""Lines about one network that are logged per second, in the long run."""

BURST_OF_ALL: Final = 200
"""Lines about all networks that are logged in a burst."""

RATE_OF_ALL: Final = 20.0
"""Lines about all networks that are logged per second, in the long run."""

MAX_NETWORKS: Final = 4096
"""The most networks that are remembered."""


class RefusalLog:
    """Logs refused clients, a line for each: C{TRANSPORT: WHY from CLIENT}, with C{(and N more)} where others about the
    client's network were held back before it. The client comes last, whatever stands before it.

    @param seconds: tells the time.
    @param counters: holds the counter of lines that are held back.
    """

    def __init__(self, seconds: Callable[[], float], counters: Counters) -> None:
        of_all = TokenBuckets(BURST_OF_ALL, RATE_OF_ALL, seconds)
        self._throttle = Throttle(seconds, BURST, RATE, MAX_NETWORKS, of_all)
        self._count = counters.counter("log", "refusals_held_back", "refusals not logged, as there were too many")

    def tell(self, transport: str, client: object, source: str, why: str) -> None:
        """Log that a client is refused.

        @param transport: the one that it uses.
        @param client: its C{str()} is its IP address, or other text that says where it is.
        @param source: what its limits count by: its IP address, or other text that it cannot choose.
        @param why: the reason, in words, which may contain anything that it has sent.
        """
        held_back = self._throttle.take(network_of(source))
        if held_back is None:
            self._count.value += 1
            return
        values = {"transport": transport, "why": why, "client": client}
        _log.warn("{transport}: {why} from {client}", **values, log_held_back=held_back)
