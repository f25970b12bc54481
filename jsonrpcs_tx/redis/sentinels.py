"""Sentinels, which know where the master is (U{https://redis.io/docs/latest/develop/reference/sentinel-clients/})."""

from typing import Any, Final

from jsonrpcs_tx.redis.errors import RedisAway, RedisError, RedisFailure
from jsonrpcs_tx.redis.greeting import connect, log_in
from jsonrpcs_tx.redis.locations import Address, RedisLocation

SECONDS: Final = 1.0
"""Seconds after which the next Sentinel is asked."""


class Sentinels:
    """The Sentinels of a location. One that does not answer is asked last the next time."""

    def __init__(self, reactor: Any, location: RedisLocation) -> None:
        self._reactor = reactor
        self._location = location
        self._addresses = list(location.addresses)

    async def master(self) -> Address:
        """Ask one Sentinel after the other.

        @return: where the master is, by the first Sentinel that knows it.
        @raise RedisAway: no Sentinel knows it.
        """
        reasons: list[str] = []
        for address in list(self._addresses):
            try:
                return await self._ask(address)
            except RedisFailure as error:
                shown = error.reason.removeprefix(f"{address}: ")
                reasons.append(f"Sentinel {address}: {shown}")
            self._addresses.remove(address)
            self._addresses.append(address)
        raise RedisAway("; ".join(reasons))

    async def _ask(self, address: Address) -> Address:
        deadline = self._reactor.seconds() + SECONDS
        name = self._location.master
        connection = await connect(self._reactor, self._location, address, lambda reason: None, deadline)
        try:
            await log_in(connection, self._location.sentinel_login, deadline)
            reply = await connection.call(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name), deadline)
        except RedisError as error:
            raise RedisAway(error.reason) from None
        finally:
            connection.give_up("the Sentinel has been asked")
        if reply is None:
            raise RedisAway(f"it does not know a master {name}")
        return _address(reply)


def _address(reply: object) -> Address:
    """@raise RedisAway: it is not an address."""
    if isinstance(reply, list) and len(reply) == 2:
        host, port = reply
        if isinstance(host, bytes) and isinstance(port, bytes) and port.isdigit() and 0 < int(port[:6]) < 65536:
            name = host.decode("ascii", "replace")
            if name.isprintable() and name.isascii() and 0 < len(name) < 256:
                return Address(name, int(port))
    raise RedisAway("its answer is not an address")
