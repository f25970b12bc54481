"""When a server behind the gateways has been started, one of them sets again what is wanted of it."""

import time
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from jsonrpcs_tx.fleet.fleet import Fleet
from jsonrpcs_tx.fleet.leases import Leases
from jsonrpcs_tx.fleet.wanted import Call, Wanted
from jsonrpcs_tx.gateway.node import Node
from jsonrpcs_tx.gateway.watch import DOWN
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.redis.errors import RedisFailure
from jsonrpcs_tx.rpc.faults import Fault

_log = make_logger(__name__)

SECONDS: Final = 10.0
"""Seconds that each call that sets something again may take."""

PAUSE: Final = 1.0
MAX_PAUSE: Final = 30.0
"""Seconds until a gateway checks again whether everything is in place: the first pause, and the longest."""

SETTLE: Final = 0.1
"""Seconds to wait after the last call for changes by others."""


class Overtaken(Exception):
    """What was to be set again is no longer wanted."""


@attrs.frozen
class RestoringCall:
    """A call that sets something again. It stands in for the client, which other calls have.

    @ivar key: what is set, see L{Effect<jsonrpcs_tx.fleet.wanted.Effect>}.
    @ivar call: what was wanted when the call was made.
    """

    key: str
    call: Call


class Restoring:
    """Checks servers that were started, and sets again what is wanted of them.

    @param fleet: the node of the fleet that this gateway is.
    @param wanted: what is wanted.
    @param leases: those of this gateway.
    @param reactor: the reactor to use.
    """

    def __init__(self, fleet: Fleet, wanted: Wanted, leases: Leases, reactor: Any) -> None:
        self._fleet = fleet
        self._wanted = wanted
        self._leases = leases
        self._reactor = reactor
        self._stood = fleet.keys.prefix + "stood"  # when everything was last in place on each node
        self._started: dict[str, tuple[Node, float]] = {}
        self._checking: dict[str, Deferred[Any]] = {}
        self._unchecked: set[str] = set()
        self._outcomes: dict[str, tuple[float, int, int]] = {}

    def came(self, node: Node) -> None:
        """A node has come up, or was restarted."""
        uptime = node.watch.uptime
        if uptime is None:
            return
        # An uptime is cut to whole seconds, so this may be up to one second late: at worst, all is set once more.
        self._started[node.name] = node, self._fleet.now_ms() / 1000 - uptime
        self._begin(node.name)

    def joined(self) -> None:
        """The fleet is together: check what could not be checked."""
        unchecked, self._unchecked = self._unchecked, set()
        for name in unchecked:
            self._begin(name)

    def close(self) -> None:
        """Check nothing any more, since this node stops."""
        for checking in list(self._checking.values()):
            checking.cancel()

    def outcome(self, name: str) -> tuple[float | None, int, int]:
        """What became of the last time that everything was set again on a node.

        @return: when that was, in seconds since 1970, or None; how many calls succeeded; how many the node refused.
        """
        return self._outcomes.get(name, (None, 0, 0))

    def still_wanted(self, name: str, call: RestoringCall) -> bool:
        """Whether what a call sets again is still wanted of a node, as far as this gateway has read."""
        return self._wanted.of(name).get(call.key) == call.call

    def _begin(self, name: str) -> None:
        if name in self._checking:
            return  # that check notices the change
        checking = self._checking[name] = Deferred.fromCoroutine(self._check(name))
        checking.addErrback(self._failed, name).addBoth(self._ended, name)

    def _failed(self, failure: Any, name: str) -> None:
        if not failure.check(CancelledError):
            _log.failure("fleet: node {node} could not be checked", failure, node=name)

    def _ended(self, _: object, name: str) -> None:
        self._checking.pop(name, None)

    async def _check(self, name: str) -> None:
        """Try until everything is in place. Stop if the node or Redis is away: a check begins when they are back."""
        pause = PAUSE
        while True:
            node, started = self._started[name]
            if not node.watch.running or node.watch.state == DOWN:
                return
            if not (self._fleet.running and self._fleet.core.together):
                self._unchecked.add(name)
                return
            in_place = False
            try:
                in_place = await self._restore(node, started)
            except RedisFailure as error:
                _log.warn("fleet: node {node} is checked later: {reason}", node=name, reason=error)
            if not in_place:
                await deferLater(self._reactor, pause)
                pause = min(2 * pause, MAX_PAUSE)
            elif self._started[name] == (node, started):
                return

    async def _restore(self, node: Node, started: float) -> bool:
        """Set again what is wanted of a node, unless another gateway does.

        @param started: when the node was started, in seconds of the stream's time.
        @return: whether everything is in place there.
        @raise RedisFailure: Redis does not answer.
        """
        redis, leases = self._fleet.redis, self._leases
        if await self._in_place(node, started):
            return True
        lease = f"{self._fleet.keys.prefix}restore:{node.name}"
        got, number = await leases.acquire(lease)
        if not got:
            return False
        owner = leases.owner(number)
        keeping = leases.keep(lease, owner)
        try:
            if await self._in_place(node, started):
                return True  # another gateway has just done it
            # If the node is restarted from now on, it will not have everything.
            begun = f"{self._fleet.now_ms() / 1000:.3f}"
            if not await self._set_again(node):
                return False
            await redis.call("HSET", self._stood, node.name, self._signed(node.name, begun), deadline=leases.deadline())
            return True
        finally:
            keeping.cancel()
            leases.release(lease, owner)

    async def _in_place(self, node: Node, started: float) -> bool:
        known = await self._fleet.redis.call("HGET", self._stood, node.name, deadline=self._leases.deadline())
        begun = "" if known is None else known.decode(errors="replace").partition(" ")[0]
        return known == self._signed(node.name, begun) and float(begun) >= started

    def _signed(self, name: str, begun: str) -> bytes:
        """What says in Redis that everything stands on a node: when it was begun to be set, and the HMAC of that."""
        return f"{begun} {self._fleet.seals.seal('stood', f'{name} {begun}'.encode()).hex()}".encode()

    async def _set_again(self, node: Node) -> bool:
        """Set everything again, including what changes meanwhile.

        @return: whether the node has answered all calls, be it with faults.
        """
        set_so_far: dict[str, Call] = {}
        number = failed = 0
        try:
            while due := [key for key, call in self._wanted.of(node.name).items() if set_so_far.get(key) != call]:
                for key in due:
                    call = self._wanted.of(node.name).get(key)
                    again = None if call is None else call.at(self._fleet.now_ms())
                    if call is not None:
                        set_so_far[key] = call
                    if call is None or again is None:
                        continue  # it has been removed meanwhile, or has expired
                    try:
                        answer = await node.call(again.method, again.params.encode(), SECONDS, RestoringCall(key, call))
                    except Overtaken:
                        continue
                    number += answer.fault is None
                    if answer.fault is not None:
                        failed += 1
                        message = "fleet: {method} {params} could not be set again on {node}: {fault}"
                        shown = again.params[:200]
                        _log.warn(message, method=again.method, params=shown, node=node.name, fault=answer.fault)
                await deferLater(self._reactor, SETTLE)
        except Fault as fault:
            _log.warn(
                "fleet: node {node}: what is wanted has not been set again yet: {fault}", node=node.name, fault=fault
            )
            return False
        if number or failed:
            self._outcomes[node.name] = time.time(), number, failed
            message = "fleet: node {node} was started: {number} settings were set again, {failed} could not be"
            _log.info(message, node=node.name, number=number, failed=failed)
        return True
