"""Calls of many nodes, with nodes whose answers come when a test says so."""

import json
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jsonrpcs_tx.gateway import callees
from jsonrpcs_tx.gateway.callees import Many
from jsonrpcs_tx.reactor.slices import Slices
from jsonrpcs_tx.rpc.envelope import Envelope, Request
from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.rpc.replies import Reply

MEGABYTE = 1 << 20


def test_too_large_results_are_dropped_when_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the last node is awaited, no more is kept of the others than the reply may hold."""
    monkeypatch.setattr(callees, "MAX_OUTCOMES", MEGABYTE + 100)
    waiting: list[Deferred[Reply]] = []

    def answer(request: Request, origin: Origin) -> Deferred[Reply]:
        waiting.append(Deferred())
        return waiting[-1]

    members: Any = [
        SimpleNamespace(node=SimpleNamespace(name=f"n{number}"), origin=lambda origin: origin) for number in range(11)
    ]
    dispatcher: Any = SimpleNamespace(answer=answer)
    call: Any = SimpleNamespace(request=Request("2.0", "x", [], 1), origin=Origin("http"), deadline=9.0)
    replies: list[Reply] = []
    Many(members, dispatcher, Slices(Clock())).answer(call).addCallback(replies.append)
    tracemalloc.start()
    try:
        for place in range(9):
            waiting[place].callback(Reply(Envelope.result("x" * MEGABYTE, 1)))
        waiting[9].callback(Reply(Envelope.passed_on(b"error", b"{}", 1), 500, "y" * MEGABYTE, fault=True))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1.5 * MEGABYTE
    assert replies == []
    waiting[10].callback(Reply(Envelope.result(1, 1)))
    result = json.loads(replies[0].body)["result"]
    assert list(result) == [f"n{number}" for number in range(11)]
    assert result["n0"] == {"result": "x" * MEGABYTE}
    assert all(result[f"n{number}"]["error"]["message"].startswith("Not Shown") for number in range(1, 11))
