"""Leases in Redis: the only one to do something is the node that holds its lease, for as long as it renews it."""

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from jsonrpcs_tx.fleet.fleet import Fleet
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.redis.errors import RedisFailure

_log = make_logger(__name__)

LEASE: Final = 5.0
"""Seconds that a lease lasts unless it is renewed."""

SHARED: Final = 10.0
"""Seconds for which the answer to a reload is kept for those who asked before it began."""

NOT_SHARED: Final = 2**53
"""In place of the number of a lease: no lease has one as high, so no answer is shared."""

_ACQUIRE: Final = """
local lease, fence, run = KEYS[1], KEYS[2], KEYS[3]
local done = redis.call('HMGET', run, 'begun', 'answer')
if (tonumber(done[1] or '') or 0) > tonumber(ARGV[3]) then return {2, done[2] or ''} end
local left = redis.call('PTTL', lease)
if left > 0 then return {0, left} end
local last, known = tonumber(redis.call('GET', fence) or '') or 0, tonumber(ARGV[4])
if not (last >= known and last < known + 2^32) then last = known end
local number = string.format('%.0f', last + 1)
redis.call('SET', fence, number)
redis.call('SET', lease, ARGV[1] .. ':' .. number, 'PX', ARGV[2])
return {1, tonumber(number)}
"""
"""Gets a lease. Its number follows the one that the last lease had. If Redis has lost that, or somebody has written
something else in its place, it follows the highest that the caller knows.

KEYS: the lease, the number of the last one, and the answer to share. ARGV: the caller, milliseconds, the number of the
last lease when the answer was asked for, and the highest number that the caller knows.
"""

_RENEW: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[2], 'begun', ARGV[3], 'answer', ARGV[2])
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
return 1
"""


class Leases:
    """Gets, renews and gives back leases.

    @param fleet: the node that holds them.
    @param remembered: tells the highest number of a lease that the fleet remembers.
    @param reactor: the reactor to use.
    """

    def __init__(self, fleet: Fleet, remembered: Callable[[], int], reactor: Any) -> None:
        self._fleet = fleet
        self._remembered = remembered
        self._reactor = reactor
        self._highest = 0
        self._acquire = fleet.redis.script("acquire", _ACQUIRE)
        self._renew = fleet.redis.script("renew", _RENEW)
        self._release = fleet.redis.script("release", _RELEASE)
        self._fence = fleet.keys.prefix + "fence"
        self._keeping: set[Deferred[None]] = set()

    def close(self) -> None:
        """Renew no leases any more, since this node stops. Those that are not given back end by themselves."""
        for keeping in list(self._keeping):
            keeping.cancel()

    def deadline(self) -> float:
        """The deadline of a call that is made now, in the reactor's seconds."""
        return float(self._reactor.seconds()) + self._fleet.timeout

    def owner(self, number: int) -> str:
        """The value of a lease that this node holds.

        @param number: of the lease.
        """
        return f"{self._fleet.core.run}:{number}"

    async def last_number(self) -> int:
        """The number of the newest lease that any node has got.

        @raise RedisFailure: Redis has not answered.
        """
        text = await self._fleet.redis.call("GET", self._fence, deadline=self.deadline())
        try:
            return max(int(text or 0), self._known())
        except ValueError:  # whoever has written it
            return self._known()

    def _known(self) -> int:
        """The highest number of a lease that this node knows."""
        return max(self._highest, self._remembered())

    def acquire(self, lease: str, run: str = "", asked: int = NOT_SHARED) -> Deferred[tuple[int, Any]]:
        """Try to get a lease.

        @param lease: its key.
        @param run: the key of the answer to share, see L{release}.
        @param asked: the newest lease when the answer was asked for, by its number: the answer of any later one will
            do.
        @return: fires with 0 and the milliseconds for which another node still has it, with 1 and its number, or with 2
            and what is kept as the answer of a later lease. Fails with L{RedisFailure}.
        """
        words = (self._fleet.core.run, int(LEASE * 1000), asked, self._known())
        got = self._acquire((lease, self._fence, run or lease + ":run"), *words, deadline=self.deadline())
        return got.addCallback(self._note)

    def _note(self, got: tuple[int, Any]) -> tuple[int, Any]:
        state, value = got
        if state == 1:
            self._highest = max(self._highest, value)
        return got

    def keep(self, lease: str, owner: str) -> Deferred[None]:
        """Renew a lease until the Deferred is cancelled, or the lease is lost.

        @param owner: see L{owner}.
        @return: fires with None, never with a failure.
        """
        if not self._fleet.running:
            return succeed(None)
        keeping = Deferred.fromCoroutine(self._keep(lease, owner)).addErrback(lambda failure: None)
        self._keeping.add(keeping)
        return keeping.addCallback(lambda _: self._keeping.discard(keeping))

    async def _keep(self, lease: str, owner: str) -> None:
        while True:
            await deferLater(self._reactor, LEASE / 3)
            try:
                kept = await self._renew((lease,), owner, int(LEASE * 1000), deadline=self.deadline())
            except RedisFailure:
                continue  # the lease may last until Redis answers again
            if not kept:
                _log.warn("fleet: the lease {lease} was lost while a change was made", lease=lease)
                return

    def release(self, lease: str, owner: str, run: str = "", number: int = 0, answer: bytes = b"") -> None:
        """Give a lease back, if this node still has it.

        @param owner: see L{owner}.
        @param run: the key under which others find the answer.
        @param number: of the lease.
        @param answer: what others may share; empty: nothing.
        """
        words = (owner, answer, number, int(SHARED * 1000))
        given = self._release((lease, run or lease + ":run"), *words, deadline=self.deadline())
        given.addErrback(lambda failure: failure.trap(RedisFailure) and None)
