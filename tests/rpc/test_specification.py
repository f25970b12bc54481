"""The examples of the JSON-RPC 2.0 specification, section 7, in dialect jsonrpc2."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock

from jsonrpcs_tx import Dispatcher, Origin, Registry, Reply, command
from jsonrpcs_tx.rpc.envelope import JSONRPC2
from tests.support import Server

EXAMPLES = {
    "positional parameters": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
        '{"jsonrpc": "2.0", "result": 19, "id": 1}',
    ),
    "positional parameters, the other way round": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
        '{"jsonrpc": "2.0", "result": -19, "id": 2}',
    ),
    "named parameters": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
        '{"jsonrpc": "2.0", "result": 19, "id": 3}',
    ),
    "named parameters, the other way round": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
        '{"jsonrpc": "2.0", "result": 19, "id": 4}',
    ),
    "a notification": ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
    "a notification of a method that is not there": ('{"jsonrpc": "2.0", "method": "foobar"}', None),
    "a method that is not there": (
        '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
        '{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}',
    ),
    "invalid JSON": (
        '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
        '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
    ),
    "an invalid request": (
        '{"jsonrpc": "2.0", "method": 1, "params": "bar"}',
        '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}',
    ),
    "a batch of invalid JSON": (
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"]',
        '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
    ),
    "an empty array": (
        "[]",
        '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}',
    ),
    "an invalid batch, not empty": (
        "[1]",
        '[{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}]',
    ),
    "an invalid batch": (
        "[1,2,3]",
        '[{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},'
        ' {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},'
        ' {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}]',
    ),
    "a batch": (
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},'
        ' {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},'
        ' {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},'
        ' {"foo": "boo"},'
        ' {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},'
        ' {"jsonrpc": "2.0", "method": "get_data", "id": "9"}]',
        '[{"jsonrpc": "2.0", "result": 7, "id": "1"},'
        ' {"jsonrpc": "2.0", "result": 19, "id": "2"},'
        ' {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},'
        ' {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "5"},'
        ' {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}]',
    ),
    "a batch of notifications": (
        '[{"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},'
        ' {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}]',
        None,
    ),
}
"""Each example with its reply; None where there is none."""

notified: list[Any] = []


@command("subtract")
def subtract(minuend: int, subtrahend: int) -> int:
    """Returns a difference."""
    return minuend - subtrahend


@command("sum")
def add_up(*numbers: int) -> int:
    """Returns a sum."""
    return sum(numbers)


@command("update")
@command("notify_sum")
@command("notify_hello")
def update(*values: int) -> None:
    """Takes note."""
    notified.append(values)


@command("get_data")
def get_data() -> list[Any]:
    """Returns data."""
    return ["hello", 5]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with these commands."""
    with Server(tmp_path_factory.mktemp("s"), "--dialect=jsonrpc2", f"--commands={__name__}") as running:
        yield running


@pytest.mark.parametrize(("document", "wanted"), EXAMPLES.values(), ids=EXAMPLES.keys())
def test_in_process(document: str, wanted: str | None) -> None:
    """The dispatcher answers an example as the specification says, and runs notifications."""
    registry = Registry(subtract, add_up, update, get_data)
    notified.clear()
    reply = Dispatcher(registry, Clock(), dialect=JSONRPC2).dispatch(document.encode(), Origin("test"))
    assert isinstance(reply, Reply)
    assert (json.loads(reply.body) if reply.body else None) == (None if wanted is None else json.loads(wanted))
    assert len(notified) == document.count("notify_") + document.count("update")


@pytest.mark.slow
@pytest.mark.parametrize(("document", "wanted"), EXAMPLES.values(), ids=EXAMPLES.keys())
def test_over_http(server: Server, document: str, wanted: str | None) -> None:
    """Over HTTP every example gets status 200, with its reply or an empty body."""
    response = server.http(document.encode())
    assert response.status == 200
    assert response.body == b"" if wanted is None else json.loads(response.body) == json.loads(wanted)
