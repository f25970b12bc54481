"""Values that the built-in commands do not allow, in both dialects."""

import json
from typing import Any

import pytest
from twisted.internet.task import Clock

from jsonrpcs_tx import Origin, Reply, Settings, makeService

TABLE = "t=>size=4;"
UNLIMITED = 10**12


@pytest.mark.parametrize(
    ("method", "params", "text"),
    [
        ("core.sleep", [-1], "Invalid Parameters: seconds must be 0 to 86400"),
        ("core.kill", [1000], "Invalid Parameters: there is no such signal"),
        ("corex.debug", [99], "Invalid Parameters: debug must be -5 to 9"),
        ("dispatcher.add", ["x", "sip:x"], "Invalid Parameters"),
        ("cfg.set", ["jsonrpcs", "async_limit", "x"], "Invalid Parameters"),
        ("htable.setex", ["t", "k", "soon"], "Invalid Parameters"),
        ("htable.setex", ["t", "k", UNLIMITED], "Invalid Parameters: expiry 1000000000000: must be at most"),
        ("htable.seti", ["t", "k", 2**70], "Invalid Parameters: value 1180591620717411303424: must be text, or"),
    ],
)
@pytest.mark.parametrize("dialect", ["kamailio", "jsonrpc2"])
def test_invalid_value(dialect: str, method: str, params: list[Any], text: str) -> None:
    """The dialect says how a value that a command refuses is answered: 500, or -32602; both tell the reason."""
    service = makeService(Settings(transport=0, load="all", dialect=dialect, htable=[TABLE]), Clock())

    def call(method: str, params: list[Any]) -> Any:
        document = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
        reply = service.dispatcher.dispatch(json.dumps(document).encode(), Origin("http", asynchronous=True))
        assert isinstance(reply, Reply)
        return json.loads(reply.body)

    assert "result" in call("htable.sets", ["t", "k", "v"])
    error = call(method, params)["error"]
    if dialect == "jsonrpc2":
        told = error.pop("data", None)
        assert error == {"code": -32602, "message": "Invalid params"}
        assert ("Invalid Parameters" if told is None else f"Invalid Parameters: {told['reason']}").startswith(text)
    else:
        assert error["code"] == 500
        assert error["message"].startswith(text)
