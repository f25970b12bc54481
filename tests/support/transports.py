"""What the tests of a transport within the process start from."""

import re
import time

import pytest
from twisted.application.service import Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, formatEvent
from twisted.trial.unittest import TestCase

from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.log import debug, set_debug, throttle
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.rpc.registry import Registry, command
from jsonrpcs_tx.state.counters import Counters
from tests.support import PATIENCE
from tests.support.files import make_directory
from tests.support.logs import observed


class Commands:
    """Commands that show what came through.

    @ivar calls: what C{test.echo} was called with.
    @ivar seconds: how long it takes.
    """

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.seconds = 0.0

    @command("test.echo")
    def echo(self, value: str | int) -> str | int:
        """Returns what it is given."""
        self.calls.append(value)
        if self.seconds:
            time.sleep(self.seconds)
        return value

    @command("test.big")
    def big(self, size: int) -> str:
        """Returns a string of a size."""
        return ("0123456789" * (size // 10 + 1))[:size]


class TransportCase(TestCase):
    """A directory, a dispatcher with L{Commands}, and the log."""

    def setUp(self) -> None:
        throttle.clear()  # trial has no fixtures
        self.directory = make_directory(self)
        self.commands = Commands()
        self.counters = Counters()
        self.dispatcher = Dispatcher(Registry(self.commands), reactor, counters=self.counters)
        self.log: list[str] = []
        self._awaited: list[tuple[str, Deferred[str]]] = []
        self.addCleanup(set_debug, debug())
        set_debug(2)
        self.enterContext(observed(self._observe))

    def logged(self, pattern: str) -> Deferred[str]:
        """@return: a Deferred that fires with the first line that matches, now or later."""
        found: Deferred[str] = Deferred()
        self._awaited.append((pattern, found))
        self._look()
        return found.addTimeout(PATIENCE, reactor)

    async def turns(self) -> None:
        """Let the reactor read what is there."""
        for _ in range(2):
            await deferLater(reactor, 0)

    def _observe(self, event: LogEvent) -> None:
        if event["log_namespace"].startswith("jsonrpcs_tx"):
            self.log.append(formatEvent(event))
            self._look()

    def _look(self) -> None:
        for pattern, found in self._awaited[:]:
            line = next((line for line in self.log if re.search(pattern, line)), None)
            if line is not None:
                self._awaited.remove((pattern, found))
                reactor.callLater(0, found.callback, line)


def start_error(service: Service) -> StartError:
    """Why a service does not start."""
    with pytest.raises(StartError) as refusal:
        service.startService()
    return refusal.value
