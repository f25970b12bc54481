"""The beginning of a connection to Redis: it connects, logs in, and finds out what kind of server this is."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from jsonrpcs_tx.client import deferredtls
from jsonrpcs_tx.client.deferredstreams import tcp_endpoint
from jsonrpcs_tx.redis.connection import Connection, reason_of
from jsonrpcs_tx.redis.errors import RedisAway, RedisError
from jsonrpcs_tx.redis.locations import Address, Login, RedisLocation

NAME: Final = "jsonrpcs_tx"
"""What C{CLIENT LIST} shows of us."""


async def connect(
    reactor: Any, location: RedisLocation, address: Address, lost: Callable[[str], object], deadline: float
) -> Connection:
    """Connect to a server, without logging in.

    @param address: one of the location's, or the one that its Sentinels name.
    @param lost: see L{Connection}.
    @param deadline: in the reactor's seconds.
    @raise RedisAway: there is no connection by then.
    """
    factory = Factory.forProtocol(lambda: Connection(reactor, lost))
    factory.noisy = False
    seconds = max(0.0, deadline - reactor.seconds())
    connecting = _endpoint(reactor, location, address).connect(factory)
    late = reactor.callLater(seconds, connecting.cancel)
    try:
        connection: Connection = await connecting
    except (CancelledError, ConnectingCancelledError):
        if reactor.seconds() < deadline:
            raise CancelledError from None
        raise RedisAway(f"{address}: no connection in time") from None
    except Exception:
        raise RedisAway(f"{address}: {reason_of(Failure())}") from None
    finally:
        if late.active():
            late.cancel()
    return connection


async def log_in(connection: Connection, login: Login, deadline: float) -> None:
    """Log in, if there is a password.

    @param deadline: in the reactor's seconds.
    @raise RedisAway: the server refuses the login.
    @raise RedisFailure: the server has not answered.
    """
    if login.password is not None:
        user = [login.user] if login.user else []
        try:
            await connection.call(("AUTH", *user, login.password), deadline)
        except RedisError as error:
            if error.code == "WRONGPASS":
                raise RedisAway("the user or the password is wrong, or the user is disabled") from None
            raise RedisAway(f"AUTH: {error.code}") from None  # the text may contain the password


async def greet(connection: Connection, location: RedisLocation, deadline: float) -> Mapping[str, str]:
    """Log in, choose the database, and check the server.

    @param deadline: in the reactor's seconds.
    @return: the reply to INFO, by name.
    @raise RedisAway: the server cannot be used: it is a replica, is loading its data, or refuses a
        command.
    @raise RedisFailure: the server has not answered.
    """
    await log_in(connection, location.login, deadline)
    try:
        if location.db:
            await connection.call(("SELECT", location.db), deadline)
        info = _fields(await connection.call(("INFO",), deadline))
        await connection.call(("PING",), deadline)
    except RedisError as error:
        raise RedisAway(error.reason) from None
    if info.get("redis_mode") == "sentinel":
        raise RedisAway("it is a Sentinel; allowed: redis+sentinel://, or the master itself")
    if info.get("loading") != "0":
        raise RedisAway("it is loading its data")
    if info.get("role") != "master":
        raise RedisAway(f"it is a replica of {info.get('master_host')}:{info.get('master_port')}, not a master")
    if not info.get("run_id"):
        raise RedisAway("its reply to INFO has no run_id")
    return info


def _fields(reply: object) -> dict[str, str]:
    """@raise RedisAway: it is not a reply to INFO."""
    if not isinstance(reply, bytes):
        raise RedisAway("its reply to INFO is not text")
    lines = reply.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def _endpoint(reactor: Any, location: RedisLocation, address: Address) -> Any:
    if address.path:
        return UNIXClientEndpoint(reactor, address.path)
    plain = tcp_endpoint(address.host, address.port, reactor)
    if location.tls is None:
        return plain
    return wrapClientTLS(deferredtls.options(location.tls_target(address)), plain)
