"""A node of a fleet: it does in Redis what L{Core} decides."""

import random
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, Final

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from jsonrpcs_tx._version import __version__
from jsonrpcs_tx.config.problems import FIRST, Problems
from jsonrpcs_tx.fleet.cards import Card, read_cards, write_card
from jsonrpcs_tx.fleet.core import Core
from jsonrpcs_tx.fleet.entries import BEGINNING, Id, Seals
from jsonrpcs_tx.fleet.replica import WINDOW, ContentsTooLarge, StreamState, is_lost
from jsonrpcs_tx.fleet.scripts import ANNOUNCE, KEEP, LEAVE, LOOK, READ, Keys
from jsonrpcs_tx.fleet.streamtime import StreamTime
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.redis.client import Redis
from jsonrpcs_tx.redis.connection import MAX_BYTES
from jsonrpcs_tx.redis.errors import RedisError, RedisFailure
from jsonrpcs_tx.redis.locations import RedisLocation
from jsonrpcs_tx.redis.resp import Word, Words, encode_words
from jsonrpcs_tx.state.counters import Counters
from jsonrpcs_tx.state.sharing import PendingChange, Shareable

_log = make_logger(__name__)

MAX_ENTRIES: Final = 100_000
"""Entries that the stream keeps, approximately."""

SNAPSHOT_EVERY: Final = 20_000
"""Entries after which one of the nodes makes a snapshot."""

INTERVAL: Final = 2.0
"""Seconds between two announcements of a node."""

MAX_INTERVAL: Final = 10.0
"""The same with many nodes: a hundredth of a second for each, up to this."""

LIFETIME: Final = 3
"""Intervals that an announcement lasts."""

JITTER: Final = 0.1
"""The fraction by which the interval varies."""

ALL_CARDS: Final = 60.0
"""Seconds after which all cards are read again, not just those that have changed."""

READ_COUNT: Final = 500
"""Entries that are read with one call. If fewer come, none can have been removed before they were read."""

READ_BYTES: Final = MAX_BYTES
"""Bytes that are read with one call. No node can send an entry with more."""

BLOCK: Final = 2.0
"""Seconds for which a read waits in Redis."""

SHORT_BLOCK: Final = 0.2
"""The same while this node waits for what others do."""

REDIS_SECONDS: Final = 5.0
"""Seconds that Redis may take to answer when no command waits for it."""

HESITATION: Final = 1.0
"""Seconds that a node waits for others that have read more, before it restores what Redis has lost."""

MAX_HESITATION: Final = 6.0
"""The same if one of the others has read more."""

SNAPSHOT_PATIENCE: Final = 10.0
"""Seconds to wait for a snapshot by another node, if none is there that could make one."""

SNAPSHOT_AGAIN: Final = 30.0
"""Seconds after which a snapshot that could not be made is tried again."""

CATCHING_UP: Final = 0.005
"""Seconds between two looks at whether this node has caught up."""


class _Gap(Exception):
    """Entries were removed before they were read."""


class _Share:
    """What is shared under one name; see L{Share<jsonrpcs_tx.state.sharing.Share>}."""

    def __init__(self, fleet: "Fleet", name: str) -> None:
        self._fleet = fleet
        self._name = name

    def submit(self, operation: str, *arguments: Any) -> PendingChange[Any]:
        return self._fleet.submit(self._name, operation, list(arguments))


class Fleet(Service):
    """A node, as which this server is in a fleet.

    @param location: where Redis is.
    @param name: of the fleet.
    @param node: of this node.
    @param secret: of the fleet.
    @param find_things: called when it starts; returns what is shared, by name, and notes what does not exist.
    @param offline: L{REFUSE<jsonrpcs_tx.fleet.core.REFUSE>} or L{QUEUE<jsonrpcs_tx.fleet.core.QUEUE>}.
    @param timeout: seconds that a change may wait for its place in the stream.
    @param address: where the others call this node; empty: they cannot.
    @param groups: those that this node is in.
    @param reactor: the reactor to use.
    @ivar core: what it decides.
    @ivar redis: the client.
    @ivar things: what is shared, by name.
    @ivar cards: the cards of the nodes that are there, including this one, by name.
    @ivar keys: the names of its keys in Redis.
    @ivar seals: sign what the fleet keeps there.
    @ivar joined: called each time this node comes together with the others.
    @ivar leaving: called when it stops.
    @ivar cards_changed: called when C{cards} has changed.
    @ivar lag: seconds by which the last entry that was read is older than the last one in the stream; None: there is no
        connection.
    @ivar namesake: which other server has announced itself under the same name, in words; empty: no server has.
    """

    def __init__(
        self,
        location: RedisLocation,
        name: str,
        node: str,
        secret: bytes,
        find_things: Callable[[Problems], Mapping[str, Shareable]],
        offline: str,
        timeout: float,
        address: str,
        groups: list[str],
        reactor: Any,
    ) -> None:
        self.fleet_name = name
        self.node = node
        self.timeout = timeout
        run = secrets.token_hex(8)
        self.seals: Seals = Seals(secret, name)
        self._time = StreamTime(reactor)
        self._reactor = reactor
        self.things: dict[str, Shareable] = {}
        self._find_things = find_things
        self.keys: Keys = Keys(name)
        self.core: Core = Core(node, run, self.things, self.seals, self._time, offline)
        self.redis: Redis = Redis(reactor, location, when_up=self._connected, when_away=self._disconnected)
        self.cards: Mapping[str, Card] = {}
        self.cards_changed: Callable[[], object] = _nothing
        self.joined: Callable[[], object] = _nothing
        self.leaving: Callable[[], object] = _nothing
        self.lag: float | None = None
        self.namesake: str = ""
        self._card = Card(node, run, address, groups, __version__, int(time.time()), [])
        self._sealed_card = b""
        self._announced = b""
        self._look = self.redis.script("look", LOOK)
        self._read_some = self.redis.script("read", READ)
        self._announce = self.redis.script("announce", ANNOUNCE)
        self._leave = self.redis.script("leave", LEAVE)
        self._keep = self.redis.script("keep", KEEP)
        self._reads = {seconds: self._read(seconds) for seconds in (SHORT_BLOCK, BLOCK)}
        self._roster = -1
        self._all_read = -inf
        self._anchor: Id = BEGINNING  # an entry that was read some time ago
        self._added = self._snapshot_age = 0
        self._no_snapshot = ""  # why none could be made
        self._snapshots_from = -inf
        self._ahead = ""
        self._founding_since = inf
        self._following: Deferred[None] | None = None
        self._beating: Deferred[None] | None = None
        self._flushing: Any = None
        self._expiring: Any = None
        self._restarting: Any = None
        self._expires_at = inf

    def check(self, problems: Problems) -> None:
        """Check what the start checks.

        @param problems: takes what is to be shared, but does not exist.
        """
        self._find_things(problems)

    def startService(self) -> None:
        super().startService()
        self.things.update(self._find_things(FIRST))
        card = msgspec.structs.replace(self._card, shares=sorted(self.things))
        self._sealed_card = write_card(card, self.seals)
        for name, thing in self.things.items():
            follow = getattr(thing, "follow", None)
            if follow is not None:
                follow(self._time, self._time.lasting)
            thing.share = _Share(self, name)
        self.redis.start()

    async def _stop(self) -> None:
        self.leaving()
        self._end_tasks()
        if self.redis.up:
            try:
                await self._leave(self.keys.announced, self.node, self._sealed_card, deadline=self._in(1.0))
            except RedisFailure as error:
                _log.debug("fleet: {reason}", reason=error)
        self.core.disconnected("this server is stopping")
        for timer in (self._flushing, self._expiring, self._restarting):
            if timer is not None and timer.active():
                timer.cancel()
        await self.redis.stop()

    def stopService(self) -> Deferred[None]:
        """@return: fires with None when the connections are closed."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def submit(self, thing: str, operation: str, arguments: list[Any]) -> PendingChange[Any]:
        """Have a change made by all; see L{Share<jsonrpcs_tx.state.sharing.Share>}."""
        deadline = self._in(self.timeout)
        pending = self.core.submit(thing, operation, arguments, deadline)
        if not pending.called:
            if self._flushing is None:
                self._flushing = self._reactor.callLater(0, self._flush)
            if deadline < self._expires_at:
                self._expire_at(deadline)
        return pending

    def now_ms(self) -> int:
        """The time of the stream, in milliseconds since 1970."""
        return self._time.ms

    async def catch_up(self) -> None:
        """Wait until the changes that are in the stream now have been made here, but no longer than a change may wait.

        @raise RedisFailure: Redis does not say what is in the stream.
        """
        end = self._in(self.timeout)
        last = await self.redis.call("XREVRANGE", self.keys.stream, "+", "-", "COUNT", 1, deadline=end)
        while last and self.core.replica.cursor < Id.read(last[0][0]) and self._reactor.seconds() < end:
            await deferLater(self._reactor, CATCHING_UP)

    # What it reports.

    def as_nodes(self) -> list[str]:
        """The nodes that can be called, as L{Gateway.find<jsonrpcs_tx.gateway.gateway.Gateway.find>} takes them."""
        return [
            " ".join((f"{card.name}={card.address}", *(f"group={group}" for group in card.groups)))
            for card in self.cards.values()
            if card.address
        ]

    def status(self) -> dict[str, Any]:
        """The state of this node, in values for JSON: the result of C{fleet.status}."""
        core, redis = self.core, self.redis
        reports = core.replica.reports
        return {
            "fleet": self.fleet_name,
            "node": self.node,
            "together": core.together,
            "reason": core.reason,
            "redis": "up" if redis.up else "away",
            "redis_location": str(redis.location),
            "entry": str(core.replica.cursor),
            "lag": None if self.lag is None else round(self.lag, 3),
            "epoch": core.replica.epoch,
            "shares": sorted(self.things),
            "waiting": core.waiting - core.queued,
            "queued": core.queued,
            "overtaken": list(core.overtaken),
            "losses": core.losses,
            "forged": reports.forged,
            "unreadable": reports.unreadable,
            "first_unreadable": reports.first_unreadable,
            "stale": reports.stale,
            "doubled": reports.doubled,
            "failed": reports.failed,
            "namesake": self.namesake,
        }

    def problems(self) -> list[str]:
        """What is wrong, in words, for the health."""
        found = [] if self.core.together else [f"apart: {self.core.reason}"]
        if self.core.replica.reports.unreadable:
            found.append(f"entries from {self.core.replica.reports.first_unreadable} are of another version")
        if self._no_snapshot:
            found.append(f"no snapshot can be made: {self._no_snapshot}")
        if self._ahead:
            found.append(self._ahead)
        if self.namesake:
            found.append(f"{self.namesake} has the name {self.node} as well")
        return found

    def add_gauges(self, counters: Counters) -> None:
        """Add what it reports by C{stats.*} and in the metrics.

        @param counters: of the server.
        """
        for name, help, read in (
            ("together", "whether this node is together with the others, 1 or 0", lambda: int(self.core.together)),
            ("nodes", "nodes of the fleet that are there", lambda: len(self.cards)),
            ("queued", "changes that have been made on this node only, so far", lambda: self.core.queued),
            ("losses", "times that Redis had lost entries", lambda: self.core.losses),
            ("forged", "entries with a wrong signature", lambda: self.core.replica.reports.forged),
            ("unreadable", "entries of another version", lambda: self.core.replica.reports.unreadable),
        ):
            counters.gauge("fleet", name, help, read)

    # Changes on their way to Redis.

    def _flush(self) -> None:
        """Add the new entries to the stream."""
        self._flushing = None
        for number, fields in self.core.to_send():
            words: list[Word] = ["XADD", self.keys.stream, "MAXLEN", "~", MAX_ENTRIES, "*", *fields]
            self.redis.call(*words, deadline=self._in(max(self.timeout, REDIS_SECONDS))).addErrback(
                self._not_added, number
            )

    def _not_added(self, failure: Failure, number: int) -> None:
        error: Any = failure.trap(RedisFailure) and failure.value
        if isinstance(error, RedisError) or not error.sent:
            self.core.not_added(number, str(error))

    def _expire_at(self, deadline: float) -> None:
        if self._expiring is not None and self._expiring.active():
            self._expiring.cancel()
        self._expires_at = deadline
        self._expiring = self._reactor.callLater(max(0.0, deadline - self._reactor.seconds()), self._expire)

    def _expire(self) -> None:
        self._expires_at = inf
        following = self.core.expire(self._reactor.seconds())
        if following < inf:
            self._expire_at(following)

    # The connection.

    def _connected(self, run_id: str) -> None:
        self._end_tasks()
        self._anchor = BEGINNING
        self._following = self._task(self._follow())
        self._beating = self._task(self._beat())

    def _disconnected(self, reason: str) -> None:
        self._end_tasks()
        self.lag = None
        self.core.disconnected(f"Redis is away: {reason}")

    def _follow_again(self, reason: str, lost: StreamState | None = None) -> None:
        """Begin to follow the stream as over a new connection.

        @param lost: the state of the stream that is in place of the one that this node has read.
        """
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
        self._anchor = BEGINNING
        self.core.disconnected(reason)
        if lost is not None:
            self.core.lose(lost)
        self._following = self._task(self._follow())

    def _task(self, coroutine: Any) -> Deferred[None]:
        task: Deferred[None] = Deferred.fromCoroutine(coroutine)
        return task.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(_Gap):
            _log.warn("fleet: entries were removed from the stream before this node had read them")
        elif not failure.check(RedisFailure):
            _log.failure("fleet: a task has failed", failure)
        elif self.redis.up:
            _log.warn("fleet: {reason}", reason=failure.value)
        if self.redis.up and self.running and self._restarting is None:
            self._restarting = self._reactor.callLater(1.0, self._restart)

    def _restart(self) -> None:
        self._restarting = None
        if self.redis.up and self.running:
            self.core.disconnected("Redis did not answer as it should")
            self._connected("")

    def _end_tasks(self) -> None:
        tasks = (self._following, self._beating)
        self._following = self._beating = None
        for task in tasks:
            if task is not None:
                task.cancel()

    def _read(self, seconds: float) -> Words:
        """How the stream is read from a cursor, which comes next.

        @param seconds: how long to wait for an entry.
        """
        return encode_words(("XREAD", "COUNT", READ_COUNT, "BLOCK", int(seconds * 1000), "STREAMS", self.keys.stream))

    async def _follow(self) -> None:
        """Read the stream for as long as there is a connection."""
        core, redis = self.core, self.redis
        stream = await self._stream_state()
        snapshot = None
        if not core.may_go_on(stream):
            snapshot = await redis.call("GET", self.keys.snapshot, deadline=self._in(REDIS_SECONDS))
            stream = await self._stream_state()
        core.connected(stream, snapshot)
        since = self._reactor.seconds()
        await self._catch_up()
        if not core.together:
            await self._at_end(since)
        while True:
            waits_for_others = core.wants_snapshot or core.lost_at is not None
            read = self._reads[SHORT_BLOCK if waits_for_others else BLOCK]
            before = core.replica.cursor
            reply = await redis.blocking(read, str(before), deadline=self._in(BLOCK + REDIS_SECONDS))
            entries = reply[0][1] if reply else ()
            if len(entries) == READ_COUNT and not core.may_go_on(await self._stream_state(before), before):
                raise _Gap
            self._take(entries)
            if len(entries) < READ_COUNT and not core.together:
                await self._at_end(since)

    async def _catch_up(self) -> None:
        """Read to the end, in pieces of limited size: anybody may have written the entries."""
        core, more = self.core, 1
        while more:
            before = core.replica.cursor
            words = (str(before), READ_COUNT, READ_BYTES)
            more, entries = await self._read_some((self.keys.stream,), *words, deadline=self._in(REDIS_SECONDS))
            if more and not core.may_go_on(await self._stream_state(before), before):
                raise _Gap
            self._take(entries)

    def _take(self, entries: Iterable[list[Any]]) -> None:
        """Apply entries."""
        for id, fields in entries:
            self.core.take(Id.read(id), dict(zip(fields[::2], fields[1::2], strict=True)))

    async def _at_end(self, since: float) -> None:
        """There is nothing more to read at the moment, and this node is not together with the others.

        @param since: when this node began to read, in seconds of the reactor.
        """
        core = self.core
        now = self._reactor.seconds()
        self._founding_since = min(now, self._founding_since) if core.is_founding else inf
        if now - self._founding_since > REDIS_SECONDS:
            raise _Gap  # or it would wait for ever for what was removed
        waited = now - since
        if core.lost_at is not None:
            await self._let_others_first(waited)
            if waited < HESITATION:
                return
        if core.wants_snapshot:
            if waited > SNAPSHOT_PATIENCE and not await self._somebody_knows():
                core.start_over()
            else:
                await self._ask_for_snapshot()
        if core.at_end():
            self._anchor = core.replica.cursor
            _log.info("fleet: together with the others, at entry {id}", id=str(core.replica.cursor))
            self.joined()
        self._flush()

    async def _somebody_knows(self) -> bool:
        """Whether another node is there that knows the contents. Nobody may write others in their place."""
        names = [name for name in self.cards if name != self.node]
        if not names:
            return False
        marks = await self.redis.call("HMGET", self.keys.marks, *names, deadline=self._in(REDIS_SECONDS))
        return any(mark is not None and _mark(mark) > BEGINNING for mark in marks)

    async def _let_others_first(self, waited: float) -> None:
        """Give a node that has read more the time to restore what Redis has lost.

        @param waited: seconds since this node began to read.
        """
        mark = self.core.mark
        while waited < MAX_HESITATION:
            marks = await self.redis.call("HGETALL", self.keys.marks, deadline=self._in(REDIS_SECONDS))
            if waited >= HESITATION and all(_mark(one) <= mark for one in marks[1::2]):
                return
            words = (str(self.core.replica.cursor), 1, 1)
            _, entries = await self._read_some((self.keys.stream,), *words, deadline=self._in(REDIS_SECONDS))
            if entries:
                return
            await deferLater(self._reactor, 0.1)
            waited += 0.1

    async def _ask_for_snapshot(self) -> None:
        deadline = self._in(REDIS_SECONDS)
        await self.redis.call("SET", self.keys.wanted, self.node, "PX", 10_000, deadline=deadline)
        stream = await self._stream_state()
        snapshot = await self.redis.call("GET", self.keys.snapshot, deadline=deadline)
        if snapshot is not None:
            self.core.connected(stream, snapshot)
        await deferLater(self._reactor, 0.2)

    async def _stream_state(self, cursor: Id | None = None, anchor: Id = BEGINNING) -> StreamState:
        """Ask Redis for the state of the stream, the time, and whether cards have changed.

        @param cursor: the place of the entry that was read last.
        @param anchor: the place of one that was read earlier, if any.
        """
        cursor = self.core.replica.cursor if cursor is None else cursor
        words = (str(cursor), str(anchor))
        reply = await self._look(self.keys.looked_at, *words, deadline=self._in(REDIS_SECONDS))
        seconds, microseconds, first, last, added, length, at_cursor, at_anchor, snapshot_at, wanted, roster = reply
        ms = int(seconds) * 1000 + int(microseconds) // 1000
        self._time.told(ms)
        try:
            self._added, self._wanted, self._snapshot_at = int(added), bool(wanted), snapshot_at
            self._snapshot_age = self._added - int(snapshot_at or 0)
            roster = int(roster)
        except ValueError as error:
            raise RedisError("ERR", f"a key of the fleet has what no node has written: {error}") from None
        place = Id.read(first) if first else None
        stream = StreamState(place, Id.read(last), bool(at_cursor), added == length, bool(at_anchor))
        if self.core.together and stream.last == cursor:
            self._time.read_until(ms)
        self._check_time(stream.last, ms)
        self.lag = max(0.0, (stream.last.ms - cursor.ms) / 1000) if stream.last > cursor else 0.0
        if roster != self._roster:
            await self._read_cards(roster)
        return stream

    def _check_time(self, last: Id, ms: int) -> None:
        """Tell when new entries cannot count, since they get a time that is too far from the one at which they are
        made: the clock of Redis was set back, or somebody has added an entry of the future.

        @param last: the last place in the stream; C{ms}: the time of Redis.
        """
        before, self._ahead = self._ahead, ""
        if last.ms - ms > WINDOW:
            self._ahead = (
                f"the stream is {(last.ms - ms) // 1000} s ahead of the clock of Redis, so that no change counts; "
                f"when the key {self.keys.stream} is removed, the nodes write it again"
            )
            if not before:
                _log.error("fleet: {reason}", reason=self._ahead)

    # Presence.

    async def _beat(self) -> None:
        """Announce this node, look after the stream and make snapshots, for as long as there is a connection."""
        while True:
            try:
                await self._show_card()
            except RedisError as error:  # its memory is full, for example
                _log.warn("fleet: this node cannot be announced: {reason}", reason=error)
            cursor, anchor = self.core.replica.cursor, self._anchor
            stream = await self._stream_state(cursor, anchor)
            if self.core.together and is_lost(anchor, stream):
                self._follow_again("the stream is another one", lost=stream)
            elif self.core.together and not self.core.may_go_on(stream, cursor):
                self._follow_again("the stream has changed")
            elif self.core.together:
                self._anchor = max(self._anchor, cursor)  # it may have come together meanwhile
                await self._make_snapshot()
            await deferLater(self._reactor, self._interval * random.uniform(1 - JITTER, 1 + JITTER))

    @property
    def _interval(self) -> float:
        return max(INTERVAL, min(MAX_INTERVAL, len(self.cards) / 100))

    async def _show_card(self) -> None:
        words = (self.node, self._sealed_card, int(LIFETIME * self._interval * 1000), str(self.core.mark))
        before, _ = await self._announce(self.keys.announced, *words, deadline=self._in(REDIS_SECONDS))
        if self._announced and before not in (b"", self._announced):
            other = read_cards([self.node.encode(), before], self.seals).get(self.node)
            where = "another server" if other is None else f"the one at {other.address or 'an unknown address'}"
            if self.namesake != where:
                _log.error("fleet: {where} has the name {node} as well", where=where, node=self.node)
            self.namesake = where
        self._announced = self._sealed_card

    async def _read_cards(self, roster: int) -> None:
        """Read the cards that have changed.

        @param roster: the count of the roster now.
        """
        redis, keys = self.redis, self.keys
        now = self._reactor.seconds()
        if roster < self._roster or now - self._all_read >= ALL_CARDS:
            reply = await redis.call("HGETALL", keys.cards, deadline=self._in(REDIS_SECONDS))
            cards, self._all_read = dict(read_cards(reply, self.seals)), now
        else:
            since = f"({self._roster}"
            names = await redis.call("ZRANGEBYSCORE", keys.changes, since, "+inf", deadline=self._in(REDIS_SECONDS))
            if not names:
                return
            found = await redis.call("HMGET", keys.cards, *names, deadline=self._in(REDIS_SECONDS))
            there = [word for pair in zip(names, found, strict=True) if pair[1] is not None for word in pair]
            gone = {name.decode(errors="replace") for name in names}
            cards = {name: card for name, card in self.cards.items() if name not in gone}
            cards |= read_cards(there, self.seals)
        self._roster = roster
        if cards != self.cards:
            self.cards = {name: cards[name] for name in sorted(cards)}
            self.cards_changed()

    async def _make_snapshot(self) -> None:
        """Make a snapshot if one is due, and no other node makes it."""
        if not self._wanted and 0 <= self._snapshot_age < SNAPSHOT_EVERY:  # below 0 it is of a stream that is gone
            self._no_snapshot = ""  # somebody has made one
            return
        replica = self.core.replica
        if replica.untold:  # another node may be able to
            self._no_snapshot = replica.untold if self._wanted else ""
            return
        if self._reactor.seconds() < self._snapshots_from:
            return
        deadline = self._in(REDIS_SECONDS)
        try:
            if not await self.redis.call("SET", self.keys.lock, self.node, "NX", "PX", 5000, deadline=deadline):
                return
            added, before = self._added, self._snapshot_at
            snapshot = replica.snapshot() if self.core.together else None
            if snapshot is not None:
                await self._keep(self.keys.kept, snapshot, added, before, deadline=self._in(REDIS_SECONDS))
                _log.debug("fleet: wrote a snapshot of {size} bytes", size=len(snapshot))
            self._no_snapshot = ""
        except (ContentsTooLarge, RedisFailure) as error:  # whoever needs one waits
            self._no_snapshot = str(error)
            self._snapshots_from = self._in(SNAPSHOT_AGAIN)
            _log.error("fleet: no snapshot can be made: {reason}", reason=error)

    def _in(self, seconds: float) -> float:
        return float(self._reactor.seconds()) + seconds


def _nothing() -> None:
    """What is called unless somebody has set another function."""


def _mark(text: bytes) -> Id:
    """How far a node says that it has read. Anybody may have written it; an invalid id counts as nothing read."""
    try:
        return Id.read(text)
    except ValueError:
        return BEGINNING
