"""Server-Sent Events (HTML Standard, section 9.2): what the panels show, for each browser that looks at them.

Events are not queued: a client that does not read gets the newest state when it reads again.
"""

from collections import Counter
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from twisted.internet.interfaces import IPushProducer
from twisted.web import http, server
from zope.interface import implementer

from jsonrpcs_tx.console.panels import Panel, names
from jsonrpcs_tx.console.sessions import NO_RIGHTS
from jsonrpcs_tx.console.visitors import Visitor, Visitors
from jsonrpcs_tx.log import make_logger, report
from jsonrpcs_tx.metrics.lag import ReactorLag
from jsonrpcs_tx.slices import Slices
from jsonrpcs_tx.transports.refusals import refuse

_log = make_logger(__name__)

INTERVAL: Final = 1.0
"""Seconds between two checks of what has changed."""

HEARTBEAT: Final = 15.0
"""Seconds without an event after which a comment is sent, so that the connection is not taken for dead."""

MAX_STREAMS: Final = 100
"""Streams that may be open."""

MAX_OF_ONE: Final = 20
"""Streams that one user may have, or one address where nobody signs in."""

MAX_UNREAD: Final = 60.0
"""Seconds after which a client that reads nothing is cut off."""

STOPPING: Final = "the server is stopping"

_HEAD: Final = b"retry: 3000\n\n"
_COMMENT: Final = b":\n\n"


@implementer(IPushProducer)
class Stream:
    """The events for one browser.

    @param clock: the reactor.
    @ivar visitor: who gets them.
    @ivar panels: what is watched.
    @ivar source: whose limit it counts against.
    @ivar is_over: whether the client has left, or the response has ended.
    """

    def __init__(self, visitor: Visitor, panels: Sequence[Panel], source: Hashable, clock: Any) -> None:
        self.visitor = visitor
        self.panels = panels
        self.source = source
        self._request: server.Request = visitor.request
        self._clock = clock
        self._told: dict[str, Any] = {}
        self._written = clock.seconds()
        self._paused_at: float | None = None
        self.is_over: bool = False

    def begin(self) -> None:
        """Begin the response."""
        self._request.registerProducer(self, streaming=True)
        _begin(self._request)

    def tell(self, origin: Any) -> None:
        """Send what has changed."""
        now = self._clock.seconds()
        if self._paused_at is not None:
            if not 0 <= now - self._paused_at < MAX_UNREAD:
                _log.info("{caller}: a console that reads nothing is cut off", caller=origin)
                channel: Any = self._request.channel
                channel.transport.abortConnection()
            return
        for panel in self.panels:
            data, self._told[panel.name] = panel.tell(origin, self._told.get(panel.name))
            if data is not None:
                self._send(panel.name, data)
        if now - self._written >= HEARTBEAT:
            self._write(_COMMENT)

    def end(self, reason: str, needs: str) -> None:
        """Say why there are no further events, and end the response.

        @param reason: in words.
        @param needs: what the client needs to go on: C{password} or C{nothing}.
        """
        if not self.is_over:
            self.is_over = True
            self._send("end", msgspec.json.encode({"reason": reason, "needs": needs}))
            self._request.unregisterProducer()
            self._request.finish()

    def sign_out(self, reason: str) -> None:
        """The session has ended, and so do the events."""
        self.end(reason, "password")

    def pauseProducing(self) -> None:
        """The client does not read fast enough."""
        if self._paused_at is None:
            self._paused_at = self._clock.seconds()

    def resumeProducing(self) -> None:
        """The client has read what was written."""
        self._paused_at = None

    def stopProducing(self) -> None:
        """The client has left."""
        self.is_over = True

    def _send(self, event: str, data: bytes) -> None:
        """Send an event; JSON has no line breaks within."""
        self._write(b"event: %b\ndata: %b\n\n" % (event.encode(), data))

    def _write(self, data: bytes) -> None:
        self._written = self._clock.seconds()
        self._request.write(data)


class Streams:
    """All streams. While there are any, it checks every second what has changed.

    @param panels: what can be looked at.
    @param visitors: decides who may still watch.
    @param lag: is measured while somebody watches.
    @param slices: runs the work of sending events in slices.
    @param clock: the reactor.
    """

    def __init__(
        self, panels: Sequence[Panel], visitors: Visitors, lag: ReactorLag, slices: Slices, clock: Any
    ) -> None:
        self._panels = {panel.name: panel for panel in panels}
        self._visitors = visitors
        self._lag = lag
        self._slices = slices
        self._clock = clock
        self._streams: dict[Stream, None] = {}
        self._waiting: dict[Stream, None] = {}  # those that are told next
        self._next: Any = None
        self._is_telling = False

    def __len__(self) -> int:
        return len(self._streams)

    def render(self, visitor: Visitor) -> None:
        """Answer a request for events, for as long as the client stays and may see them."""
        request = visitor.request
        asked = _names((request.args or {}).get(b"panels", []))
        unknown = [name for name in asked if name not in self._panels]
        if unknown or not asked:
            refuse(request, http.BAD_REQUEST, f"allowed: ?panels= with some of {names(self._panels.values())}")
            return
        source = self._visitors.source(visitor)
        if len(self) >= MAX_STREAMS or Counter(one.source for one in self._streams)[source] >= MAX_OF_ONE:
            request.setHeader(b"Retry-After", b"10")
            told = f"allowed: {MAX_OF_ONE} streams for each user or address, {MAX_STREAMS} in all"
            refuse(request, http.SERVICE_UNAVAILABLE, told)
            return
        if request.method == b"HEAD":
            _begin(request)
            request.finish()
            return
        stream = Stream(visitor, [self._panels[name] for name in asked], source, self._clock)
        self._streams[stream] = None
        request.notifyFinish().addBoth(self._left, stream)
        if visitor.session is not None:
            visitor.session.followers.append(stream.sign_out)
        stream.begin()
        if self._next is None:
            self._lag.startService()
            self._next = self._clock.callLater(INTERVAL, self._look)
        self._tell_soon([stream])

    def close(self) -> None:
        """End all streams."""
        for stream in [*self._streams]:
            stream.end(STOPPING, "nothing")
        self._rest()

    def _left(self, _: object, stream: Stream) -> None:
        stream.is_over = True
        session = stream.visitor.session
        if session is not None and stream.sign_out in session.followers:
            session.followers.remove(stream.sign_out)
        self._streams.pop(stream, None)
        self._waiting.pop(stream, None)
        if not self._streams:
            self._rest()

    def _rest(self) -> None:
        """Stop checking, since nobody watches."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
            self._lag.stopService()
        self._waiting.clear()

    def _look(self) -> None:
        self._next = self._clock.callLater(INTERVAL, self._look)
        self._tell_soon(self._streams)

    def _tell_soon(self, streams: Iterable[Stream]) -> None:
        """Tell clients what has changed, after those that wait already."""
        self._waiting.update(dict.fromkeys(streams))
        if not self._is_telling:
            self._is_telling = True
            self._slices.run(self._tell())

    def _tell(self) -> Generator[None, None, None]:
        """Tell those that wait."""
        while self._waiting:
            stream = next(iter(self._waiting))
            del self._waiting[stream]
            for panel in stream.panels:
                _guarded(panel.look)
            _guarded(partial(self._tell_one, stream))
            yield
        self._is_telling = False

    def _tell_one(self, stream: Stream) -> None:
        """Tell one client what has changed, or that it may not look any more."""
        visitor = stream.visitor
        session = visitor.session
        if stream.is_over or (session is not None and not self._visitors.sessions.lives(session)):
            return  # the end of the session has ended the stream
        origin = self._visitors.origin(visitor)
        if self._visitors.may_call(origin):
            stream.tell(origin)
            return
        self._visitors.shut_out(visitor)
        stream.end(NO_RIGHTS, "nothing")


def _begin(request: server.Request) -> None:
    """Begin the response to a request for events."""
    request.setHeader(b"Content-Type", b"text/event-stream")
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"X-Accel-Buffering", b"no")  # otherwise nginx would buffer events
    request.write(_HEAD)


def _guarded(task: Callable[[], object]) -> None:
    """Do something; if it fails, log that, so that the rest goes on."""
    try:
        task()
    except Exception as error:
        report(_log, "console: an event cannot be sent", error)


def _names(values: Sequence[bytes]) -> list[str]:
    """The names in the values of a parameter, each once."""
    found = (name for value in values for name in value.decode(errors="replace").split(","))
    return list(dict.fromkeys(name for name in found if name))
