"""Commands that only a real Kamailio has: the log says so, once."""

from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent

from jsonrpcs_tx import Dispatcher, Origin, Registry
from tests.support.logs import observed


def test_told_once() -> None:
    """A command of another module is answered as unknown, and the log says once whose it is."""
    dispatcher = Dispatcher(Registry(), Clock())
    document = b'{"jsonrpc":"2.0","method":"%s","id":1}'
    events: list[LogEvent] = []
    with observed(events.append):
        for method in (b"tm.stats", b"tm.stats", b"no.such", b"core.sleepy"):
            reply = dispatcher.dispatch(document % method, Origin("test"))
            assert reply.text == "Method Not Found"  # type: ignore[union-attr] # it comes at once
    assert [line for line in map(formatEvent, events) if "Kamailio" in line] == [
        "test calls tm.stats, a command of Kamailio's module tm; only a real Kamailio has it"
    ]
