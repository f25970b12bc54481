"""A client of one Redis: it keeps connections to it, and tells when it can be used."""

import random
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha1
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from jsonrpcs_tx.interfaces import Reactor
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.redis.connection import Connection
from jsonrpcs_tx.redis.errors import RedisAway, RedisError, RedisFailure
from jsonrpcs_tx.redis.greeting import connect, greet
from jsonrpcs_tx.redis.locations import Address, RedisLocation
from jsonrpcs_tx.redis.resp import Word
from jsonrpcs_tx.redis.sentinels import Sentinels

_log = make_logger(__name__)

CONNECT_SECONDS: Final = 5.0
"""Seconds that connecting and logging in may take."""

MIN_DELAY: Final = 0.1
MAX_DELAY: Final = 5.0
"""Seconds between attempts to connect: the first and the longest delay, each shortened at random by up to a half."""

SENTINEL_SECONDS: Final = 3.0
"""Seconds after which the Sentinels are asked again which server is the master."""


class Script:
    """A script in Lua, which Redis runs as one step. Made by L{Redis.script}.

    @ivar name: for messages.
    """

    def __init__(self, redis: "Redis", name: str, lua: str) -> None:
        self.name: str = name
        self._redis = redis
        self._lua = lua
        self._sha = sha1(lua.encode(), usedforsecurity=False).hexdigest()

    def __repr__(self) -> str:
        return f"<Script {self.name}>"

    def __call__(self, keys: Sequence[Word], *arguments: Word, deadline: float) -> Deferred[Any]:
        """Run it. Redis gets the text when it does not know the script, which can put this call behind later ones.

        @param keys: C{KEYS} of the script.
        @param arguments: C{ARGV} of the script.
        @return: as L{Redis.call}.
        """
        words = (len(keys), *keys, *arguments)
        running = self._redis.call("EVALSHA", self._sha, *words, deadline=deadline)
        return running.addErrback(self._load, words, deadline)

    def _load(self, failure: Any, words: tuple[Word, ...], deadline: float) -> Any:
        failure.trap(RedisError)
        if failure.value.code != "NOSCRIPT":
            return failure
        return self._redis.call("EVAL", self._lua, *words, deadline=deadline)


class Redis:
    """A client of one Redis, over two connections: one for calls, one for reads that block. They are there together or
    not at all, and are made again when they break. No call is repeated by itself.

    @param reactor: of Twisted, which connects.
    @param when_up: called with the C{run_id} of Redis when it can be used. If that is not the one of the last time,
        Redis was restarted or replaced, and data may be missing.
    @param when_away: called with the reason, in words, when Redis can no longer be used.

    @ivar location: where Redis is.
    @ivar up: whether it can be used.
    @ivar reason: why it cannot be used, in words; empty: it can.
    @ivar run_id: of the last Redis that could be used; None: it never could.
    @ivar info: its reply to INFO, by name: C{redis_version}, C{aof_enabled}, C{maxmemory_policy},
        C{master_replid} ...
    """

    def __init__(
        self,
        reactor: Reactor,
        location: RedisLocation,
        *,
        when_up: Callable[[str], object] = lambda run_id: None,
        when_away: Callable[[str], object] = lambda reason: None,
    ) -> None:
        self.location: RedisLocation = location
        self.up: bool = False
        self.reason: str = "it has not been started"
        self.run_id: str | None = None
        self.info: Mapping[str, str] = {}
        self._reactor: Any = reactor
        self._when_up = when_up
        self._when_away = when_away
        self._sentinels = Sentinels(reactor, location) if location.master else None
        self._calling: Connection | None = None
        self._blocking: Connection | None = None
        self._connections: list[Connection] = []
        self._runs = 0
        self._running: Deferred[None] | None = None
        self._lost: Deferred[str] = Deferred()
        self._delay = MIN_DELAY

    def start(self) -> None:
        """Begin to connect."""
        if self._running is None:
            self._delay = MIN_DELAY
            self.reason = "it is being connected"
            self._runs += 1
            self._running = Deferred.fromCoroutine(self._run(self._runs))
            self._running.addErrback(_note)

    def stop(self) -> Deferred[None]:
        """End all connections at once. Calls that wait fail with L{RedisAway}; C{when_away} is not called.

        @return: fires when the connections are closed.
        """
        self._runs += 1
        closed = gatherResults([connection.closed() for connection in self._connections])
        if self.up:
            self.up = False
        self._calling = self._blocking = None
        self.reason = "it has been stopped"
        self._break(self.reason)
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        return closed.addCallback(lambda _: None)

    def call(self, *words: Word, deadline: float) -> Deferred[Any]:
        """Send a command. Calls are sent without waiting for earlier replies, and run in the order of the calls.

        @param words: the command and its arguments.
        @param deadline: in the reactor's seconds.
        @return: fires with the reply: C{bytes}, C{int}, None, or a list of these and of L{RedisError}. Fails with
            L{RedisError} if Redis answers with an error; with L{RedisAway} at once if there is no connection, or when
            it breaks; with L{RedisTimeout} at the deadline; with L{RedisBusy} if too much waits already. To cancel it
            ends the waiting only.
        @raise TypeError: a word is of another type.
        @raise UnicodeEncodeError: a word cannot be written in UTF-8.
        """
        if self._calling is None:
            return fail(RedisAway(self.reason))
        return self._calling.call(words, deadline)

    def blocking(self, *words: Word, deadline: float) -> Deferred[Any]:
        """As L{call}, over the other connection, for commands that wait in Redis, such as C{XREAD BLOCK}. Commands that
        follow one wait until it is done.

        @param deadline: must be later than the end of the waiting in Redis.
        """
        if self._blocking is None:
            return fail(RedisAway(self.reason))
        return self._blocking.call(words, deadline)

    def script(self, name: str, lua: str) -> Script:
        """Make a script that can be called.

        @param name: for messages.
        @param lua: its text.
        """
        return Script(self, name, lua)

    async def _run(self, run: int) -> None:
        """Connect again and again, until it is stopped.

        @param run: the number of this run. The next run may have begun before this one notices that it is over.
        """
        while True:
            reason = ""
            try:
                address = await self._open()
            except RedisFailure as error:
                reason = error.reason
            else:
                if self._runs != run:  # when_up has stopped it
                    return
                began = self._reactor.seconds()
                await self._stay(address)
                if self._reactor.seconds() - began >= MAX_DELAY:
                    self._delay = MIN_DELAY
            if self._runs != run:
                return
            if reason:
                self._break(reason)
                self._set_away(reason)
            delay = self._delay * random.uniform(0.5, 1)
            self._delay = min(2 * self._delay, MAX_DELAY)
            await deferLater(self._reactor, delay)

    async def _open(self) -> Address:
        """Make both connections.

        @return: where Redis is.
        @raise RedisFailure: it cannot be used.
        """
        address = self.location.addresses[0] if self._sentinels is None else await self._sentinels.master()
        deadline = self._reactor.seconds() + CONNECT_SECONDS
        self._lost = Deferred()
        infos = []
        for _ in range(2):
            connection = await connect(self._reactor, self.location, address, self._break, deadline)
            self._connections.append(connection)
            infos.append(await greet(connection, self.location, deadline))
        if self._lost.called:
            raise RedisAway(await self._lost)
        calling, blocking = self._connections
        if infos[0]["run_id"] != infos[1]["run_id"]:
            raise RedisAway("different servers answer at its address")
        self._calling, self._blocking = calling, blocking
        calling.keep_alive()
        self._set_up(infos[0])
        return address

    async def _stay(self, address: Address) -> None:
        """Wait until the connections are lost; give them up when the Sentinels name another master."""
        watching: Deferred[Any] | None = None
        if self._sentinels is not None:
            watching = Deferred.fromCoroutine(self._watch(self._sentinels, address))
            watching.addCallbacks(self._break, _note)
        try:
            await self._lost
        finally:
            if watching is not None:
                watching.cancel()

    async def _watch(self, sentinels: Sentinels, address: Address) -> str:
        """Ask the Sentinels until they name another master.

        @return: which one, in words.
        """
        while True:
            await deferLater(self._reactor, SENTINEL_SECONDS)
            try:
                master = await sentinels.master()
            except RedisFailure as error:
                _log.warn("{reason}; {location} stays in use", reason=str(error), location=str(self.location))
            else:
                if master != address:
                    return f"the master is no longer {address} but {master}"

    def _break(self, reason: str) -> None:
        """One of the connections is lost: give up both."""
        connections, self._connections = self._connections, []
        if not connections:
            return
        if self.up:
            self._set_away(reason)
        for connection in connections:
            connection.give_up(reason)
        if not self._lost.called:
            self._lost.callback(reason)

    def _set_up(self, info: Mapping[str, str]) -> None:
        former, self.run_id = self.run_id, info["run_id"]
        self.info = info
        self.up, self.reason = True, ""
        another = "" if former in (None, self.run_id) else ", restarted or replaced"
        _log.info(
            "{location} is up: Redis {version}{another}",
            location=str(self.location),
            version=info.get("redis_version"),
            another=another,
        )
        self._tell(self._when_up, self.run_id)

    def _set_away(self, reason: str) -> None:
        was_up, former = self.up, self.reason
        self._calling = self._blocking = None
        self.up, self.reason = False, reason
        if reason != former:
            _log.warn("{location} is away: {reason}", location=str(self.location), reason=reason)
        if was_up:
            self._tell(self._when_away, reason)

    def _tell(self, function: Callable[[str], object], value: str) -> None:
        try:
            function(value)
        except Exception:
            _log.failure("a callback of the client of Redis has failed")


def _note(failure: Failure) -> None:
    """Log what should not have happened."""
    if not failure.check(CancelledError):
        _log.failure("the client of Redis has failed", failure)
