"""What is counted of requests and replies is the same, whenever and however a reply comes."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jsonrpcs_tx import Dispatcher, Registry, command
from jsonrpcs_tx.rpc.dispatcher import Origin, Reply

REQUEST = b'{"jsonrpc":"2.0","method":"%s","id":1}'
DOCUMENTS = [
    (b"now", REQUEST % b"now"),
    (b"later", REQUEST % b"later"),
    (b"missing", REQUEST % b"missing"),
    (b"failing", REQUEST % b"failing"),
    (b"broken", b"{"),
    (b"batch", b"[%s,%s]" % (REQUEST % b"now", REQUEST % b"now")),
    (b"later batch", b"[%s,%s]" % (REQUEST % b"now", REQUEST % b"later")),
]


@pytest.mark.parametrize("pretty_format", [False, True])
@pytest.mark.parametrize(("name", "document"), DOCUMENTS)
def test_counted_once(name: bytes, document: bytes, pretty_format: bool) -> None:
    """One reply and its bytes, and each request, however long the answer takes."""
    waiting: list[Deferred[Any]] = []

    @command("now")
    def now() -> int:
        return 1

    @command("later")
    def later() -> Deferred[Any]:
        waiting.append(Deferred())
        return waiting[-1]

    @command("failing")
    def failing() -> None:
        raise ValueError

    dispatcher = Dispatcher(Registry(now, later, failing), Clock(), pretty_format=pretty_format)
    answered: list[Reply] = []
    reply = dispatcher.dispatch(document, Origin("own", asynchronous=True))
    if isinstance(reply, Deferred):
        assert dispatcher.traffic("own").replies.value == 0
        reply.addCallback(answered.append)
        waiting.pop().callback(1)
    else:
        answered.append(reply)
    traffic = dispatcher.traffic("own")
    requests = 2 if b"batch" in name else 1
    assert (traffic.requests.value, traffic.replies.value) == (requests, 1)
    counted = dispatcher.counters.get("core", "rcv_requests")
    assert counted is not None
    assert counted.read() == requests
    assert (traffic.bytes_received.value, traffic.bytes_sent.value) == (len(document), len(answered[0].body))
