"""Clients of Redis in the test's reactor, and the case that has them."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor as twisted_reactor
from twisted.trial.unittest import TestCase

from jsonrpcs_tx.log import throttle
from jsonrpcs_tx.redis.client import Redis
from jsonrpcs_tx.redis.errors import RedisFailure
from jsonrpcs_tx.redis.locations import RedisLocation
from jsonrpcs_tx.redis.resp import Word
from tests.support import PATIENCE
from tests.support.reactor import until
from tests.support.redisserver import RedisServer

reactor: Any = twisted_reactor


class Client(Redis):
    """A client that records when Redis comes and goes.

    @ivar came: the C{run_id} at each time that it was up.
    @ivar went: the reason at each time that it went away.
    """

    def __init__(self, location: str) -> None:
        self.came: list[str] = []
        self.went: list[str] = []
        where = RedisLocation.parse(location)
        super().__init__(reactor, where, when_up=self.came.append, when_away=self.went.append)

    async def do(self, *words: Word, seconds: float = PATIENCE) -> Any:
        """Make a call."""
        return await self.call(*words, deadline=reactor.seconds() + seconds)

    async def is_up(self) -> None:
        """Wait until Redis is up."""
        await until(lambda: self.up)

    async def failure(self, *words: Word, seconds: float = PATIENCE) -> RedisFailure:
        """Make a call that must fail."""
        try:
            reply = await self.do(*words, seconds=seconds)
        except RedisFailure as error:
            return error
        raise AssertionError(f"it has not failed: {reply!r}")


class RedisCase(TestCase):
    """A case with servers and clients, which are stopped at its end.

    @ivar directory: with a short path, for Unix sockets.
    """

    def setUp(self) -> None:
        throttle.clear()  # trial does not call the fixture that does it
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)

    def server(self, name: str = "redis", **options: str) -> RedisServer:
        """Start a server in a directory of its own; see L{RedisServer}."""
        server = RedisServer(self.directory / name, **options)
        self.addCleanup(server.kill)
        return server

    def start(self, location: str) -> Client:
        """A client that begins to connect."""
        client = Client(location)
        self.addCleanup(client.stop)
        client.start()
        return client

    async def connect(self, location: str) -> Client:
        """A client that is up."""
        client = self.start(location)
        await client.is_up()
        return client
