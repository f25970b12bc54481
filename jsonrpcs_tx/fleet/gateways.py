"""The gateways of a fleet before the same servers: their changes take turns, and what they have set is set again.

A gateway that changes something on a node holds the lease for that module of it, which ends by itself a few seconds
after the gateway. Each lease has a higher number than all before it, by which what is wanted of the node is ordered.
"""

import time
from collections.abc import Collection
from hashlib import sha256
from typing import Any, Final

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from jsonrpcs_tx.fleet.fleet import Fleet
from jsonrpcs_tx.fleet.wanted import Wanted, effects
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.faults import not_asked
from jsonrpcs_tx.gateway.kinds import Kind, kind_of
from jsonrpcs_tx.gateway.node import Node
from jsonrpcs_tx.gateway.nodeview import utc
from jsonrpcs_tx.gateway.peers import Peers, Send
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.redis.errors import RedisFailure
from jsonrpcs_tx.rpc.faults import Fault

_log = make_logger(__name__)

LEASE: Final = 5.0
"""Seconds for which a lease lasts unless it is renewed."""

MAX_PAUSE: Final = 0.1
"""Seconds between two tries to get a lease."""

SHARED: Final = 10.0
"""Seconds for which the answer to a reload is kept for those who have asked before it began."""

MAX_SHARED: Final = 100_000
"""Bytes of the largest answer that is shared."""

SET_AGAIN_SECONDS: Final = 10.0
"""Seconds that each call may take that sets something again."""

TRIES: Final = 60
"""How often, once a second, a gateway looks whether another one has set everything again."""

_ACQUIRE: Final = """
local lease, fence, run = KEYS[1], KEYS[2], KEYS[3]
local done = redis.call('HMGET', run, 'begun', 'answer')
if done[1] and tonumber(done[1]) > tonumber(ARGV[3]) then return {2, done[2]} end
local left = redis.call('PTTL', lease)
if left > 0 then return {0, left} end
local number = redis.call('INCR', fence)
redis.call('SET', lease, ARGV[1] .. ':' .. number, 'PX', ARGV[2])
return {1, number}
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


class _SharedAnswer(msgspec.Struct):
    """An answer as it is kept for others."""

    result: bytes


class Gateways(Peers):
    """The other gateways of a fleet.

    @param fleet: the node of the fleet that this gateway is.
    @param wanted: what is wanted of the servers behind.
    @param names: what of it is remembered, see L{effects}.
    @param reactor: the reactor to use.
    """

    def __init__(self, fleet: Fleet, wanted: Wanted, names: Collection[str], reactor: Any) -> None:
        self._fleet = fleet
        self._wanted = wanted
        self._names = names
        self._reactor = reactor
        self._prefix = fleet.keys.prefix
        self._fence = self._prefix + "fence"
        redis = fleet.redis
        self._acquire = redis.script("acquire", _ACQUIRE)
        self._renew = redis.script("renew", _RENEW)
        self._release = redis.script("release", _RELEASE)
        self._checking: dict[str, Deferred[Any]] = {}
        self._setting: set[str] = set()
        self._unchecked: dict[str, Node] = {}
        self._outcomes: dict[str, tuple[float, int, int]] = {}
        fleet.joined = self._check_all
        fleet.leaving = self._close

    def send(self, node: Node, method: str, params: bytes, seconds: float, send: Send) -> Deferred[Answer]:
        """Send a change when this gateway has the lease. While the fleet is apart, only this gateway's own changes take
        turns.
        """
        kind = kind_of(method)
        if not self._fleet.core.together:
            return send(method, params, seconds)
        return Deferred.fromCoroutine(self._take_turn(node, kind, method, params, seconds, send))

    def came(self, node: Node) -> None:
        """Set again what is wanted, unless it is known to stand."""
        if not self._names or node.name in self._checking:
            return
        if not self._fleet.core.together:
            self._unchecked[node.name] = node
            return
        checking = self._checking[node.name] = Deferred.fromCoroutine(self._check(node))
        checking.addErrback(self._not_checked, node).addBoth(self._checked, node)

    def told(self, node: Node) -> dict[str, Any]:
        """How many settings are wanted of a node, when they were last set again, and how many could not be."""
        if not self._names:
            return {}
        when, number, failed = self._outcomes.get(node.name, (None, 0, 0))
        text = None if when is None else utc(when)
        return {"wanted": self._wanted.count(node.name), "set_again": text, "set": number, "not_set": failed}

    async def _take_turn(
        self, node: Node, kind: Kind, method: str, params: bytes, seconds: float, send: Send
    ) -> Answer:
        end = self._reactor.seconds() + seconds
        lease = f"{self._prefix}lease:{node.name}:{kind.module}"
        run = f"{self._prefix}run:{node.name}:{method}:{sha256(params).hexdigest()[:32]}"
        try:
            got = await self._get_lease(node, kind, lease, run, end)
        except RedisFailure as error:
            message = "fleet: a change of {node} takes no turn with other gateways: {reason}"
            _log.warn(message, node=node.name, reason=error)
            return await send(method, params, end - self._reactor.seconds())
        if isinstance(got, bytes):
            return Answer(msgspec.msgpack.decode(got, type=_SharedAnswer).result)
        owner = f"{self._fleet.core.run}:{got}"
        keeping = Deferred.fromCoroutine(self._keep(lease, owner))
        keeping.addErrback(lambda failure: None)
        answer = None
        try:
            answer = await send(method, params, max(0.001, end - self._reactor.seconds()))
        finally:
            keeping.cancel()
            self._give_back(lease, run, owner, got, kind, answer)
        if answer.result is not None and node.name not in self._setting:
            self._remember(node, kind, method, params, got)
        return answer

    async def _get_lease(self, node: Node, kind: Kind, lease: str, run: str, end: float) -> int | bytes:
        """The number of the lease; or the answer to the same reload that another gateway has made since.

        @raise Fault: another gateway has it for longer than the call may take.
        """
        redis = self._fleet.redis
        asked = int(await redis.call("GET", self._fence, deadline=self._soon()) or 0) if kind.shared else 2**53
        pause = 0.002
        while True:
            words = (self._fleet.core.run, int(LEASE * 1000), asked)
            state, value = await self._acquire((lease, self._fence, run), *words, deadline=self._soon())
            if state:
                return value  # type: ignore[no-any-return] # a number, or an answer
            if self._reactor.seconds() + pause >= end:
                raise not_asked(node.name, "Is Being Changed By Another Gateway")
            await deferLater(self._reactor, pause)
            pause = min(2 * pause, MAX_PAUSE)

    async def _keep(self, lease: str, owner: str) -> None:
        """Renew a lease until this is cancelled."""
        while True:
            await deferLater(self._reactor, LEASE / 3)
            if not await self._renew((lease,), owner, int(LEASE * 1000), deadline=self._soon()):
                _log.warn("fleet: the lease {lease} was lost while a change was made", lease=lease)
                return

    def _give_back(self, lease: str, run: str, owner: str, number: int, kind: Kind, answer: Answer | None) -> None:
        kept = b""
        if kind.shared and answer is not None and answer.result is not None and len(answer.result) <= MAX_SHARED:
            kept = msgspec.msgpack.encode(_SharedAnswer(answer.result))
        words = (owner, kept, number, int(SHARED * 1000))
        given = self._release((lease, run), *words, deadline=self._soon())
        given.addErrback(lambda failure: failure.trap(RedisFailure) and None)

    def _remember(self, node: Node, kind: Kind, method: str, params: bytes, fence: int) -> None:
        found = effects(method, params, self._fleet.now_ms(), self._names)
        if found:
            done = self._wanted.want(node.name, kind.module, fence, msgspec.to_builtins(found))
            if isinstance(done, Deferred):
                done.addErrback(self._not_remembered, node)

    def _not_remembered(self, failure: Any, node: Node) -> None:
        failure.trap(Fault)
        _log.warn("fleet: what was set on {node} is not remembered: {reason}", node=node.name, reason=failure.value)

    def _not_checked(self, failure: Any, node: Node) -> None:
        if not failure.check(CancelledError):
            _log.failure("fleet: node {node} could not be checked", failure, node=node.name)

    def _checked(self, _: object, node: Node) -> None:
        self._checking.pop(node.name, None)

    def _close(self) -> None:
        for checking in list(self._checking.values()):
            checking.cancel()

    def _check_all(self) -> None:
        unchecked, self._unchecked = self._unchecked, {}
        for node in unchecked.values():
            self.came(node)

    async def _check(self, node: Node) -> None:
        """Set again what is wanted of a node if it has started since that stood there: one gateway does."""
        redis, lock = self._fleet.redis, f"{self._prefix}restore:{node.name}"
        stood = f"{self._prefix}stood"  # when all that is wanted of each node was last known to stand there
        try:
            for _ in range(TRIES):
                uptime = node.watch.uptime
                if uptime is None or not self._fleet.core.together:
                    return
                # Uptimes are cut to seconds, so this is up to one late: at worst, what stands is set once more.
                boot = self._fleet.now_ms() / 1000 - uptime
                known = await redis.call("HGET", stood, node.name, deadline=self._soon())
                if known is not None and float(known) >= boot:
                    return
                words = ("SET", lock, self._fleet.core.run, "NX", "PX", 30_000)
                if await redis.call(*words, deadline=self._soon()):
                    try:
                        if known is None or await self._set_again(node):
                            now = f"{self._fleet.now_ms() / 1000:.3f}"
                            await redis.call("HSET", stood, node.name, now, deadline=self._soon())
                        return
                    finally:
                        redis.call("DEL", lock, deadline=self._soon()).addErrback(lambda failure: None)
                await deferLater(self._reactor, 1.0)
        except RedisFailure as error:
            self._unchecked[node.name] = node
            _log.warn("fleet: node {node} is checked later: {reason}", node=node.name, reason=error)

    async def _set_again(self, node: Node) -> bool:
        """Set everything again.

        @return: whether the node has taken all calls, perhaps with faults.
        """
        self._setting.add(node.name)
        number = failed = 0
        try:
            for call in self._wanted.calls(node.name, self._fleet.now_ms()):
                answer = await node.call(call.method, call.params.encode(), SET_AGAIN_SECONDS)
                number += answer.fault is None
                if answer.fault is not None:
                    failed += 1
                    message = "fleet: {method} {params} could not be set again on {node}: {fault}"
                    shown = call.params[:200]
                    _log.warn(message, method=call.method, params=shown, node=node.name, fault=answer.fault)
        except Fault as fault:
            _log.warn("fleet: node {node}: what is wanted was not set again: {fault}", node=node.name, fault=fault)
            return False
        finally:
            self._setting.discard(node.name)
        self._outcomes[node.name] = time.time(), number, failed
        if number or failed:
            message = "fleet: node {node} was started: {number} settings were set again, {failed} could not be"
            _log.info(message, node=node.name, number=number, failed=failed)
        return True

    def _soon(self) -> float:
        return float(self._reactor.seconds()) + self._fleet.timeout
