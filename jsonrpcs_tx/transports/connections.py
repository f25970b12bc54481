"""The open connections of a listener: how many there may be, which are idle, and how they are closed."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.transports.departures import Departures
from jsonrpcs_tx.transports.unread import UnreadReplies, forget_unsent, has_news, is_drained, socket_transport

_log = make_logger(__name__)

NEW_TIME: Final = 0.3
"""Seconds that the first request of a new connection has to arrive when the server stops."""

CLOSE_TIME: Final = 3.0
"""Seconds in which requests in progress may still be answered when the server stops."""

IDLE_GRACE: Final = 1.0
"""Seconds after which an idle connection may be closed to make room for one that waits."""


_numbers: Final = count(1)


class Connection(Protocol):
    """What L{Connections} needs of the protocol of a connection.

    @ivar busy: a request is being answered.
    @ivar idle: no request is being answered, and no part of one has arrived.
    @ivar used_at: when it was last used, by the clock of the connections, which set it.
    """

    transport: Any
    used_at: float

    @property
    def busy(self) -> bool: ...

    @property
    def idle(self) -> bool: ...

    def close(self) -> None:
        """Close the connection, after the reply to the request that is being answered."""

    def retire(self) -> None:
        """Close the connection, after the reply to a request that has begun to arrive."""

    def abort(self) -> None:
        """Close the connection at once. Its requests are not answered any more."""

    def forget_caller(self) -> None:
        """Identify the caller again at the next request."""


class Connections:
    """The open connections of a factory, each with a number that is unique in the process.

    @param limit: how many may be open.
    @param clock: tells the time.
    @ivar accepted: how many there have been.
    @ivar rejected: how many were closed on arrival, because their clients may not call.
    @ivar late: how many were cut off because their clients did not take a reply in time.
    @ivar now: the time by the clock.
    @ivar changed: called when there may be room for another.
    @ivar departures: watches the connections whose commands are in progress.
    @ivar unread: the connections whose clients have not taken their replies.
    """

    def __init__(self, limit: int, clock: IReactorTime) -> None:
        self._limit = limit
        self._clock = clock
        self._open: OrderedDict[Connection, int] = OrderedDict()  # in order of use, the latest last
        self._unused: set[Connection] = set()  # without any request yet
        self._gone: Deferred[None] | None = None
        self.accepted: int = 0
        self.rejected = 0
        self.late: int = 0
        self.changed: Callable[[], None] | None = None
        self.now: Callable[[], float] = clock.seconds
        self.departures: Departures = Departures(clock)
        self.unread: UnreadReplies = UnreadReplies(clock)

    @property
    def limit(self) -> int:
        """How many may be open. It may be set at any time. If too many are open, idle ones are closed first, then
        others as soon as their requests are answered.
        """
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        for protocol in sorted(self._open, key=lambda one: not one.idle)[: max(0, self.opened - limit)]:
            protocol.retire()
        self._tell()

    def add(self, protocol: Connection) -> None:
        """Note a new connection."""
        self.accepted += 1
        self._open[protocol] = next(_numbers)
        self._unused.add(protocol)
        protocol.used_at = self._clock.seconds()

    def used(self, protocol: Connection) -> None:
        """Note that a connection was used just now."""
        if protocol in self._open:
            protocol.used_at = self._clock.seconds()
            self._open.move_to_end(protocol)
            if self._unused:
                self._unused.discard(protocol)

    def idle(self) -> Connection | None:
        """The connection that has been idle longest, and for at least L{IDLE_GRACE}; None if there is none."""
        now = self._clock.seconds()
        for _ in range(len(self._open)):
            protocol = next(iter(self._open))
            if 0 <= now - protocol.used_at < IDLE_GRACE:
                return None
            if protocol.idle and is_drained(protocol.transport) and not has_news(protocol.transport):
                return protocol
            self.used(protocol)  # it is in use: there is no need to look at it again soon
        return None

    def cut(self, protocol: Connection) -> None:
        """Close an idle connection to make room for another, without waiting for its client."""
        peer = protocol.transport.getPeer()
        _log.debug("{peer} is cut off: it is idle, and all {limit} connections are open", peer=peer, limit=self.limit)
        protocol.close()  # over TLS, this says goodbye and does not wait for an answer
        socket_transport(protocol.transport).loseConnection()
        self.discard(protocol)

    def lost(self, protocol: Connection) -> None:
        """Note that a connection is closed, and nothing will be sent over it any more."""
        forget_unsent(protocol.transport)
        self.discard(protocol)

    def discard(self, protocol: Connection) -> None:
        """Note that a connection is closed, or will be."""
        self.departures.discard(protocol)
        self.unread.discard(protocol)
        self._unused.discard(protocol)
        if self._open.pop(protocol, None) is not None:
            self._tell()
        if not self._open and self._gone is not None:
            gone, self._gone = self._gone, None
            gone.callback(None)

    def cut_late(self, protocol: Connection) -> None:
        """Cut off a client that has not taken its reply in time."""
        self.late += 1
        _log.warn("{peer} is cut off: it has not taken its reply in time", peer=protocol.transport.getPeer())
        protocol.abort()

    def close(self, reactor: Any) -> Deferred[None]:
        """Close all connections once the requests in progress are answered, and whatever is left after L{CLOSE_TIME}.
        A request that has come in part, or has not been read yet, is in progress, and so is the first one of a
        connection that was made less than L{NEW_TIME} ago: it is on its way. Such requests have as much time to arrive.

        @return: a Deferred that fires with None when the last one is gone.
        """
        if not self._open:
            self.departures.close()
            return succeed(None)
        gone: Deferred[None] = Deferred()
        self._gone = gone

        def abort() -> None:
            for protocol in list(self._open):
                protocol.abort()

        def close_open(protocols: list[Connection]) -> None:
            for protocol in protocols:
                if protocol in self._open:
                    protocol.close()

        late = reactor.callLater(CLOSE_TIME, abort)
        expected = [one for one in self._open if not one.busy and self._expects_request(one)]
        close_open([one for one in self._open if one not in expected])
        later = reactor.callLater(NEW_TIME, close_open, expected) if expected else late

        def done(_: None) -> None:
            self.departures.close()
            for call in (late, later):
                if call.active():
                    call.cancel()

        return gone.addCallback(done)

    def _expects_request(self, protocol: Connection) -> bool:
        is_new = protocol in self._unused and self._clock.seconds() - protocol.used_at < NEW_TIME
        return is_new or not protocol.idle or has_news(protocol.transport)

    @property
    def opened(self) -> int:
        """How many are open."""
        return len(self._open)

    def unused_for(self, connection: Connection) -> float:
        """The seconds since a connection was last used."""
        return self._clock.seconds() - connection.used_at

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """The number of each connection with its protocol."""
        return ((number, protocol) for protocol, number in self._open.items())

    def _tell(self) -> None:
        if self.changed is not None:
            self.changed()
