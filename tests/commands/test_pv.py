"""Shared variables: pv.shvGet and pv.shvSet, and what a program does with them."""

import json
from typing import Any

import pytest
from twisted.internet.task import Clock

from jsonrpcs_tx import Settings, makeService
from jsonrpcs_tx.state.shared import MOST_LENGTH, SharedVariables

SERVICE_SETTINGS = Settings(load=["pv"], shvset=["number=i:5", "text=s:a=b:c"])


class Shared:
    """A server with variables."""

    def __init__(self) -> None:
        self.service = makeService(SERVICE_SETTINGS, Clock())

    def __call__(self, method: str, *params: object) -> Any:
        document = {"jsonrpc": "2.0", "method": "pv." + method, "params": params, "id": 1}
        reply = json.loads(self.service.jsonrpc_exec(json.dumps(document)).body)
        return reply["result"] if "result" in reply else (reply["error"]["code"], reply["error"]["message"])


def test_get() -> None:
    """One variable by name, or all."""
    call = Shared()
    number = {"name": "number", "type": "int", "value": 5}
    text = {"name": "text", "type": "string", "value": "a=b:c"}
    assert call("shvGet", "number") == number
    assert call("shvGet", "text") == text
    assert call("shvGet", "no") == (404, "Variable not found")
    assert call("shvGet") == call("shvGet", 5) == {"items": [number, text]}


def test_set() -> None:
    """A variable is set to an integer or a string, whatever it was, and the program sees it."""
    call = Shared()
    assert call("shvSet", "number", "int", 7) == "Ok. Variable set to new value."
    assert call.service.shared["number"] == 7
    assert call("shvSet", "number", "str", "x") == "Ok. Variable set to new value."
    assert dict(call.service.shared) == {"number": "x", "text": "a=b:c"}
    call.service.shared.set("text", 1)
    assert call("shvGet", "text") == {"name": "text", "type": "int", "value": 1}


PARAMETERS = "(Parameters: varname type value)"


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ([], 500, f"Missing parameter varname {PARAMETERS}"),
        ([5], 500, f"Missing parameter varname {PARAMETERS}"),
        (["number"], 500, f"Missing parameter type {PARAMETERS}"),
        (["number", 1], 500, f"Missing parameter type {PARAMETERS}"),
        (["number", "int"], 500, f"Missing integer parameter value {PARAMETERS}"),
        (["number", "str"], 500, f"Missing parameter value {PARAMETERS}"),
        (["number", "str", 5], 500, f"Missing parameter value {PARAMETERS}"),
        (["number", "x", 7], 500, "Unknown parameter type (Types: int or str)"),
        (["new", "int", 7], 404, "Variable not found"),
        (["number", "int", "x"], 500, "Invalid Parameters: value must be a whole number"),
        (["number", "int", 1.5], 500, "Invalid Parameters: value must be a whole number"),
        (["number", "int", 2**63], 500, None),
        (["number", "str", "x" * (MOST_LENGTH + 1)], 500, None),
    ],
)
def test_refused(params: list[Any], code: int, message: str | None) -> None:
    """Nothing is set that is not right; what Kamailio says of it is said here."""
    call = Shared()
    answer = call("shvSet", *params)
    assert answer[0] == code
    assert message in (None, answer[1])
    assert dict(call.service.shared) == {"number": 5, "text": "a=b:c"}


def test_program() -> None:
    """A program defines variables, once each, and removes them."""
    shared = SharedVariables()
    shared.define("a")
    assert (shared["a"], len(shared), list(shared)) == (0, 1, ["a"])
    with pytest.raises(ValueError, match="shared variable a: there is one"):
        shared.define("a", 1)
    with pytest.raises(ValueError, match="must be an integer or a string"):
        shared.define("b", True)
    with pytest.raises(KeyError):
        shared.set("b", 1)
    shared.remove("a")
    assert not shared
