"""The settings as parameters of Kamailio's modules: modparam.*."""

import json
from typing import Any

import pytest
from twisted.internet.task import Clock

from jsonrpcs_tx import Settings, makeService
from jsonrpcs_tx.config.settings import fields


class Settled:
    """A server with some settings."""

    def __init__(self) -> None:
        self.service = makeService(Settings(load=["modparam"], http_timeout=30, htable=["a=>size=4;", "b"]), Clock())

    def __call__(self, method: str, *params: object) -> Any:
        document = {"jsonrpc": "2.0", "method": "modparam." + method, "params": params, "id": 1}
        reply = json.loads(self.service.jsonrpc_exec(json.dumps(document)).body)
        return reply["result"] if "result" in reply else (reply["error"]["code"], reply["error"]["message"])


def test_list() -> None:
    """All settings are listed, or those of a module, with their types."""
    call = Settled()
    everything = call("list")
    assert [one["name"] for one in everything] == [field.name for field in fields()]
    (table,) = [one for one in call("list", "htable") if one["name"] == "htable"]
    assert table == {"module": "htable", "name": "htable", "type": "string", "value": "a=>size=4; b"}
    assert {one["module"] for one in call("list", "dispatcher")} == {"dispatcher"}
    assert call("list", "tm") == (404, "Module Not Found")


def test_get_and_set() -> None:
    """Numbers and strings are read by their type; what is live can be set."""
    call = Settled()
    assert call("getn", "jsonrpcs", "async_limit")["value"] == 1000
    assert call("gets", "jsonrpcs", "dialect")["value"] == "kamailio"
    assert call("setn", "jsonrpcs", "async_limit", 5) == "Ok. Parameter set to new value."
    assert call("getn", "jsonrpcs", "async_limit")["value"] == call.service.settings.async_limit == 5


@pytest.mark.parametrize(
    ("method", "params", "code", "text"),
    [
        ("getn", ["tm", "x"], 404, "Module Not Found"),
        ("getn", ["jsonrpcs", "x"], 404, "Parameter Not Found"),
        ("getn", ["jsonrpcs", "dialect"], 488, "Parameter Is Not A Number"),
        ("gets", ["jsonrpcs", "transport"], 488, "Parameter Is Not A String"),
        ("setn", ["jsonrpcs", "dialect", 1], 488, "Parameter Is Not A Number"),
        ("setn", ["jsonrpcs", "transport", 1], 488, "Parameter Cannot Be Changed At Run Time"),
        (
            "setn",
            ["jsonrpcs", "async_limit", -1],
            500,
            "Invalid Parameters: async_limit: -1 is not allowed; allowed: 1 to 100000",
        ),
        ("setn", ["jsonrpcs", "async_limit", "x"], 500, "Invalid Parameters"),
    ],
)
def test_refused(method: str, params: list[Any], code: int, text: str) -> None:
    """What is not there, or of another type, is refused with words."""
    assert Settled()(method, *params) == (code, text)
