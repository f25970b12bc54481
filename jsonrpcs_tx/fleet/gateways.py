"""The gateways of a fleet before the same servers: their changes take turns, and what they have set is set again.

A gateway that changes a module of a node holds the lease for that. If the gateway dies, the lease ends by itself a few
seconds later. Each lease has a higher number than all before it. These numbers order what is wanted of the node.
"""

from collections.abc import Collection, Hashable
from functools import partial
from hashlib import sha256
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from jsonrpcs_tx.fleet.entries import Forged, UnknownVersion
from jsonrpcs_tx.fleet.fleet import Fleet
from jsonrpcs_tx.fleet.leases import NOT_SHARED, Leases
from jsonrpcs_tx.fleet.restoring import Overtaken, Restoring, RestoringCall
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

MAX_PAUSE: Final = 0.1
"""Seconds at most between two attempts to get a lease."""

MAX_SHARED: Final = 100_000
"""Bytes of the largest answer that is shared."""

_ANSWER: Final = "answer"
"""What the HMAC of a shared answer is for."""


class _SharedAnswer(msgspec.Struct, array_like=True):
    """An answer as it is kept for others, signed.

    @ivar run: the key that it is kept under.
    @ivar number: of the lease with which the change was made.
    """

    run: str
    number: int
    result: bytes


class Gateways(Peers):
    """The other gateways of a fleet.

    @param fleet: the node of the fleet that this gateway is.
    @param wanted: what is wanted of the servers behind the gateways.
    @param names: what is remembered, see L{effects}.
    @param reactor: the reactor to use.
    """

    def __init__(self, fleet: Fleet, wanted: Wanted, names: Collection[str], reactor: Any) -> None:
        self._fleet = fleet
        self._wanted = wanted
        self._names = names
        self._reactor = reactor
        self._leases = Leases(fleet, lambda: wanted.last, reactor)
        self._restoring = Restoring(fleet, wanted, self._leases, reactor)
        fleet.joined = self._restoring.joined
        fleet.leaving = self._leave

    def send(
        self, node: Node, method: str, params: bytes, seconds: float, client: Hashable, send: Send
    ) -> Deferred[Answer]:
        """Send a change when this gateway has the lease. While it is apart, only its own changes take turns."""
        kind = kind_of(method)
        if not self._fleet.core.together:
            return send(method, params, seconds)
        return Deferred.fromCoroutine(self._take_turn(node, kind, method, params, seconds, client, send))

    def came(self, node: Node) -> None:
        """Set again what is wanted, unless that is known to be in place."""
        if self._names:
            self._restoring.came(node)

    def told(self, node: Node) -> dict[str, Any]:
        """How many settings are wanted of a node, when they were last set again, how many were set, and how many could
        not be.
        """
        if not self._names:
            return {}
        when, number, failed = self._restoring.outcome(node.name)
        text = None if when is None else utc(when)
        return {"wanted": self._wanted.count(node.name), "set_again": text, "set": number, "not_set": failed}

    def _leave(self) -> None:
        self._restoring.close()
        self._leases.close()

    async def _take_turn(
        self, node: Node, kind: Kind, method: str, params: bytes, seconds: float, client: Hashable, send: Send
    ) -> Answer:
        end = self._reactor.seconds() + seconds
        lease = f"{self._fleet.keys.prefix}lease:{node.name}:{kind.module}"
        run = f"{self._fleet.keys.prefix}run:{node.name}:{method}:{sha256(params).hexdigest()[:32]}"
        try:
            got = await self._get_lease(node, kind, lease, run, end)
        except RedisFailure as error:
            message = "fleet: a change of {node} takes no turn with other gateways: {reason}"
            _log.warn(message, node=node.name, reason=error)
            return await send(method, params, self._left(end))
        if isinstance(got, Answer):
            return got
        owner = self._leases.owner(got)
        keeping = self._leases.keep(lease, owner)
        answer = remembered = None
        try:
            if isinstance(client, RestoringCall):
                await self._check_wanted(node, client)
            answer = await send(method, params, self._left(end))
            if answer.result is not None and not isinstance(client, RestoringCall):
                remembered = self._remember(node, kind, method, params, got)
        finally:
            kept = b""
            if kind.shared and answer is not None and answer.result is not None and len(answer.result) <= MAX_SHARED:
                shared = msgspec.msgpack.encode(_SharedAnswer(run, got, answer.result))
                kept = self._fleet.seals.wrap(_ANSWER, shared)
            give_back = partial(self._give_back, keeping, lease, owner, run, got, kept)
            if remembered is None:
                give_back()
            else:  # the next gateway must know what is wanted before it has the lease
                remembered.addBoth(give_back)
        return answer

    def _left(self, end: float) -> float:
        """The seconds that are left until the end of a call; above 0."""
        return max(0.001, end - float(self._reactor.seconds()))

    async def _get_lease(self, node: Node, kind: Kind, lease: str, run: str, end: float) -> int | Answer:
        """The number of the lease; or the answer to the same reload, if another gateway has made it since.

        @raise Fault: another gateway holds the lease for longer than the call may take.
        """
        asked = await self._leases.last_number() if kind.shared else NOT_SHARED
        pause = 0.002
        while True:
            state, value = await self._leases.acquire(lease, run, asked)
            if state == 1:
                return int(value)
            if state == 2:
                answer = self._shared(run, asked, value)
                if answer is not None:
                    return answer
                asked = NOT_SHARED
                continue
            if self._reactor.seconds() + pause >= end:
                raise not_asked(node.name, "Is Being Changed By Another Gateway")
            await deferLater(self._reactor, pause)
            pause = min(2 * pause, MAX_PAUSE)

    def _shared(self, run: str, asked: int, kept: bytes) -> Answer | None:
        """The answer that is kept for others; None: none of a gateway, to a run that began later.

        @param run: the key that it is kept under.
        @param asked: the number of the last lease when the answer was asked for.
        """
        try:
            shared = msgspec.msgpack.decode(self._fleet.seals.unwrap(_ANSWER, kept), type=_SharedAnswer)
        except (Forged, UnknownVersion, msgspec.MsgspecError) as error:
            _log.warn("fleet: a shared answer is ignored: {reason}", reason=error)
            return None
        return Answer(shared.result) if shared.run == run and shared.number > asked else None

    async def _check_wanted(self, node: Node, call: RestoringCall) -> None:
        """Check that what is to be set again is still wanted, now that nobody else can change it.

        @raise Overtaken: it is not wanted any more.
        """
        try:
            await self._fleet.catch_up()
        except RedisFailure as error:
            _log.debug("fleet: {reason}", reason=error)
        if not self._restoring.still_wanted(node.name, call):
            raise Overtaken

    def _give_back(
        self, keeping: Deferred[None], lease: str, owner: str, run: str, number: int, answer: bytes, _: object = None
    ) -> None:
        keeping.cancel()
        self._leases.release(lease, owner, run, number, answer)

    def _remember(self, node: Node, kind: Kind, method: str, params: bytes, fence: int) -> "Deferred[Any] | None":
        """Remember what a call has set.

        @param fence: the number of the lease.
        @return: fires when it is in the stream, and remembered here; None: there is nothing to wait for.
        """
        found = effects(method, params, self._fleet.now_ms(), self._names)
        if not found:
            return None
        done = self._wanted.want(node.name, kind.module, fence, msgspec.to_builtins(found))
        return done.addErrback(self._not_remembered, node) if isinstance(done, Deferred) else None

    def _not_remembered(self, failure: Any, node: Node) -> None:
        failure.trap(Fault)
        _log.warn("fleet: what was set on {node} is not remembered: {reason}", node=node.name, reason=failure.value)
