"""Why a request failed, as the client is told: the data of faults, and the reasons of binding errors."""

import asyncio
import copy
import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent

from jsonrpcs_tx import Fault, InvalidParams
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.envelope import DIALECTS, JSONRPC2, KAMAILIO, Dialect
from jsonrpcs_tx.rpc.registry import Registry, command
from tests.support.logs import observed

both = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


def reply(method: Callable[..., Any], params: object = (), dialect: Dialect = JSONRPC2) -> bytes:
    """The reply to a request with these params."""
    document = json.dumps({"jsonrpc": "2.0", "method": "m", "params": params, "id": 1})
    answered = Dispatcher(Registry(method), Clock(), dialect=dialect).dispatch(document.encode(), Origin("test"))
    assert isinstance(answered, Reply)
    return answered.body


def error(method: Callable[..., Any], params: object = (), dialect: Dialect = JSONRPC2) -> Any:
    return json.loads(reply(method, params, dialect))["error"]


def raising(error: BaseException) -> Callable[..., Any]:
    @command("m")
    def method() -> None:
        raise error

    return method


class Point(msgspec.Struct):
    x: int


class Extended(Fault):
    """Has data of its own making."""

    @property
    def data(self) -> Any:
        return {"from": "a subclass"}

    @data.setter
    def data(self, value: object) -> None: ...


@both
@pytest.mark.parametrize(
    ("fault", "data"),
    [
        (Fault(400, "No", {"known": ["a"], "n": 2**70}), b'{"known":["a"],"n":1180591620717411303424}'),
        (Fault(400, "No", Point(1)), b'{"x":1}'),
        (Fault(400, "No", 0), b"0"),
        (Fault(400, "No", ""), b'""'),
        (Fault(400, "No", data=[]), b"[]"),
        (Extended(400, "No"), b'{"from":"a subclass"}'),
    ],
)
def test_data(dialect: Dialect, fault: Fault, data: bytes) -> None:
    """The data of a fault is the member C{data} of the error, in both dialects."""
    expected = b'{"jsonrpc":"2.0","error":{"code":400,"message":"No","data":%b},"id":1}' % data
    assert reply(raising(fault), (), dialect) == expected


@both
def test_no_data(dialect: Dialect) -> None:
    """Without data the bytes are as ever."""
    expected = b'{"jsonrpc":"2.0","error":{"code":400,"message":"No"},"id":1}'
    assert reply(raising(Fault(400, "No")), (), dialect) == expected


@both
@pytest.mark.parametrize(
    ("data", "word"),
    [
        (object(), "builtins.object"),
        ({"a": [math.nan]}, "nan"),
        (b"x", "bytes"),
        ("\ud800", "surrogates"),
        (asyncio, "module"),
    ],
)
def test_unwritable_data(dialect: Dialect, data: object, word: str) -> None:
    """Data that JSON cannot express is left out, and logged as the internal error that it is; code and text stay."""
    events: list[LogEvent] = []
    with observed(events.append):
        assert error(raising(Fault(400, "No", data)), (), dialect) == {"code": 400, "message": "No"}
    (event,) = events
    assert formatEvent(event) == "the data of a fault of command m is left out"
    assert word in event["log_failure"].getErrorMessage()


def test_fault_is_a_value() -> None:
    """A fault is copied and pickled with its data."""
    for fault in (Fault(400, "No", [1]), Fault(400, "No")):
        for again in (copy.copy(fault), pickle.loads(pickle.dumps(fault))):
            assert (again.code, again.text, again.data) == (fault.code, fault.text, fault.data)


@command("m")
def kick(name: str, reason: str = "", times: int = 1) -> None:
    """Takes some parameters."""


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"name": "a", "reson": ""}, ("reson", "is not known", "name, reason, times")),
        ({}, ("name", "is missing", "string")),
        ([], ("name", "is missing", "string")),
        (["a", 5], ("reason", "is 5", "string")),
        (["a", None], ("reason", "is null", "string")),
        (["a", [[]]], ("reason", "is an array", "string")),
        (["a", "b", "c"], ("times", "is 'c'", "int")),
        (["a", "b", 2.5], ("times", "is 2.5", "int")),
        (["a", "b", 2, 3], ("4", "is one too many", "name, reason, times")),
    ],
)
def test_binding_error(params: object, told: tuple[str, str, str]) -> None:
    """In jsonrpc2 a client is told which parameter does not fit, why, and what is allowed; in kamailio only the log."""
    data = dict(zip(("parameter", "reason", "allowed"), told, strict=True))
    assert error(kick, params) == {"code": -32602, "message": "Invalid params", "data": data}
    if told[1] not in ("is not known", "is one too many") and params:
        expected = b'{"jsonrpc":"2.0","error":{"code":500,"message":"Invalid Parameters"},"id":1}'
        assert reply(kick, params, KAMAILIO) == expected


def test_number_of_many_digits() -> None:
    """A number that Python keeps as a Decimal is shown by its first digits, as any other number is."""
    document = b'{"jsonrpc":"2.0","method":"m","params":["a","b",1%b],"id":1}' % (5000 * b"0")
    answered = Dispatcher(Registry(kick), Clock(), dialect=JSONRPC2).dispatch(document, Origin("test"))
    assert isinstance(answered, Reply)
    data = {"parameter": "times", "reason": "is 1" + 39 * "0", "allowed": "int"}
    assert json.loads(answered.body)["error"]["data"] == data


def test_surplus() -> None:
    """Positional parameters beyond the last one are refused in jsonrpc2, and ignored in kamailio, as it does."""
    assert error(kick, ["a", "b", 1, "c"])["code"] == -32602
    assert b'"result":null' in reply(kick, ["a", "b", 1, "c"], KAMAILIO)
    assert b'"result":null' in reply(command("m")(lambda *names: None), ["a", "b", 1, "c"])
    (nothing, told) = (command("m")(lambda: None), {"parameter": "1", "reason": "is one too many", "allowed": "none"})
    assert error(nothing, [1])["data"] == told


def test_invalid_params_of_command() -> None:
    """The reason of an InvalidParams that a command raises is in the data, in jsonrpc2; in kamailio in the text."""
    method = raising(InvalidParams("count is 1 or more \udcff"))
    data = {"reason": "count is 1 or more ?"}
    assert error(method) == {"code": -32602, "message": "Invalid params", "data": data}
    text = "Invalid Parameters: count is 1 or more ?"
    assert error(method, (), KAMAILIO) == {"code": 500, "message": text}
    assert error(raising(InvalidParams())) == {"code": -32602, "message": "Invalid params"}


def test_usage_has_data() -> None:
    """A command's own fault for misuse goes out with its own data, or with what is wrong in jsonrpc2."""
    plain = command("m", usage=Fault(400, "Name Expected"))(lambda name: None)
    own = command("m", usage=Fault(400, "Name Expected", {"see": "help"}))(lambda name: None)
    allowed = "boolean or double or int or string"
    told = {"parameter": "name", "reason": "is missing", "allowed": allowed}
    assert error(plain) == {"code": 400, "message": "Name Expected", "data": told}
    assert error(plain, (), KAMAILIO) == {"code": 400, "message": "Name Expected"}
    for dialect in DIALECTS.values():
        assert error(own, (), dialect) == {"code": 400, "message": "Name Expected", "data": {"see": "help"}}


def test_hostile_names_are_cut() -> None:
    """What a client has sent comes back only in part, whatever it is."""
    for params in ({"x" * 100_000: 1}, {"name": "a", "times": "y" * 100_000}, {"name": "a", "times": 10**4000}):
        assert len(reply(kick, params)) < 300
