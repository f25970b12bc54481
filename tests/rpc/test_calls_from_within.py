"""Calls of commands from within the program: Python values in and out."""

import datetime
import enum
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from jsonrpcs_tx import Call, Fault, InvalidParams, Settings, command, current_call, makeService
from jsonrpcs_tx.rpc.current import command_of
from jsonrpcs_tx.service import JsonRpcService
from tests.support.logs import logged


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Item:
    name: str
    price: Decimal
    colour: Colour = Colour.RED


class Shop:
    def __init__(self) -> None:
        self.later: list[Deferred[Any]] = []
        self.service: JsonRpcService

    @command("shop.add")
    def add(self, item: str, price: float, count: int = 1) -> str:
        return f"{count} x {item} at {price}"

    @command("shop.put")
    def put(self, item: Item, when: datetime.date, where: Path, code: bytes, names: set[str]) -> list[Any]:
        return [item, when, where, code, names]

    @command("shop.wait", timeout=5)
    async def wait(self) -> object:
        self.later.append(Deferred())
        return await self.later[-1]

    @command("shop.refuse")
    def refuse(self, code: int) -> None:
        if code == 0:
            raise InvalidParams("code is above 0")
        if code == 1:
            raise KeyError("one")
        raise Fault(code, "Refused", {"code": code})

    @command("shop.who")
    def who(self, call: Call) -> list[Any]:
        within = current_call()
        return [call.transport, call.method, call.params, call.id, call.is_notification, call.address, within is call]

    @command("shop.nested")
    def nested(self) -> list[Any]:
        mine = current_call()
        assert mine is not None
        inner = now(self.service.call("shop.seen"))
        return [mine.method, inner, current_call() is not None and mine.method]

    @command("shop.seen")
    def seen(self) -> list[Any]:
        import sys

        call = current_call()
        return [call and call.method, command_of(sys._getframe())]


def now(later: Deferred[Any]) -> Any:
    """What a Deferred has fired with, or what it has failed with."""
    outcomes: list[Any] = []
    later.addBoth(outcomes.append)
    if not outcomes:
        raise AssertionError("it has not fired")
    return outcomes[0].value if isinstance(outcomes[0], Failure) else outcomes[0]


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture(params=["kamailio", "jsonrpc2"])
def service(request: pytest.FixtureRequest, shop: Shop) -> JsonRpcService:
    shop.service = makeService(Settings(dialect=request.param), Clock(), [shop])
    return shop.service


def count(service: JsonRpcService, group: str, name: str) -> int:
    counter = service.counters.get(group, name)
    assert counter is not None
    return counter.read()


def test_by_place_and_by_name(service: JsonRpcService) -> None:
    """Parameters are bound by place, or by name in every dialect; not both."""
    assert now(service.call("shop.add", "apple", 0.5)) == "1 x apple at 0.5"
    assert now(service.call("shop.add", count=2, price=1, item="pear")) == "2 x pear at 1.0"
    with pytest.raises(TypeError, match=r"call of shop\.add: parameters by position and by name; allowed: one"):
        service.call("shop.add", "apple", price=1)
    assert (count(service, "core", "rcv_requests"), count(service, "exec", "replies")) == (2, 2)


def test_values_as_they_are(service: JsonRpcService) -> None:
    """Values go in as what they are in Python, and the result comes out as the command returns it."""
    values = [Item("apple", Decimal("0.5")), datetime.date(2024, 2, 29), Path("/x"), b"\x00", {"a"}]
    assert now(service.call("shop.put", *values)) == values


def test_values_are_copies(service: JsonRpcService) -> None:
    """A command can do nothing to what the program has given it."""

    @command("take")
    def take(names: list[str]) -> None:
        names.clear()

    service.registry.add(take)
    given = ["a"]
    now(service.call("take", given))
    assert given == ["a"]


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        (["apple"], "parameter price is missing; allowed: double"),
        (["apple", "x"], "parameter price is 'x'; allowed: double"),
        (["apple", 1, 1, 1], "parameter 4 is one too many; allowed: item, price, count"),
        ({"item": "apple", "prise": 1}, "parameter prise is not known; allowed: item, price, count"),
        (["apple", object()], "a value of type builtins.object: JSON cannot express it"),
    ],
)
def test_parameters_that_do_not_fit(service: JsonRpcService, params: Any, reason: str) -> None:
    """A fault says in every dialect which parameter does not fit and why."""
    fault = now(service.call("shop.add", **params) if isinstance(params, dict) else service.call("shop.add", *params))
    error = service.dispatcher.dialect.invalid_params
    assert isinstance(fault, Fault)
    assert (fault.code, fault.text) == (error.code, f"{error.text}: {reason}")
    assert isinstance(fault.__cause__, InvalidParams)
    assert count(service, "jsonrpc", "invalid_params") == 1


def test_faults(service: JsonRpcService) -> None:
    """A command's fault is raised with its data; anything else as what clients are told, with its cause."""
    dialect = service.dispatcher.dialect
    fault = now(service.call("shop.refuse", 480))
    assert (fault.code, fault.text, fault.data) == (480, "Refused", {"code": 480})
    invalid = now(service.call("shop.refuse", 0))
    assert invalid.text == f"{dialect.invalid_params.text}: code is above 0"
    with logged() as lines:
        failed = now(service.call("shop.refuse", 1))
    assert (failed.code, failed.text) == (-32603, dialect.internal_error.text)
    assert isinstance(failed.__cause__, KeyError)
    assert [line for line in lines if "command shop.refuse failed" in line]
    unknown = now(service.call("no.such"))
    error = dialect.method_not_found
    assert (unknown.code, unknown.text) == (error.code, f"{error.text}: no.such")
    assert count(service, "core", "err_requests") == 4


def test_rules_for_exec() -> None:
    """Rules for C{exec} hold, now and when they change."""
    service = makeService(Settings(rule=["exec deny shop.refuse"]), Clock(), [Shop()])
    assert now(service.call("shop.add", "apple", 1)) == "1 x apple at 1.0"
    fault = now(service.call("shop.refuse", 480))
    assert (fault.code, fault.text) == (403, "Forbidden")
    service.change(rule=["exec deny shop.add"])
    assert now(service.call("shop.add", "apple", 1)).code == 403


def test_asynchronous(service: JsonRpcService, shop: Shop) -> None:
    """An asynchronous command is awaited, up to its time limit; cancelling the call cancels it."""
    answered, late, left = (service.call("shop.wait") for _ in range(3))
    result = object()
    shop.later[0].callback(result)
    assert now(answered) is result
    left.cancel()
    assert isinstance(now(shop.later[2]), CancelledError) or shop.later[2].called
    assert now(left).text == "Command Cancelled"
    assert isinstance(service.reactor, Clock)
    service.reactor.advance(5)
    assert now(late).code == 504
    assert service.reactor.getDelayedCalls() == []


def test_around(service: JsonRpcService) -> None:
    """Functions around every call are around these as well."""

    def twice(call: Call, proceed: Callable[[], Any]) -> Any:
        return [call.params, proceed()]

    service.around(twice)
    assert now(service.call("shop.add", "apple", 1)) == [["apple", 1], "1 x apple at 1.0"]


def test_who_calls(service: JsonRpcService) -> None:
    """The command knows that the program calls; within another command it is a call of its own."""
    assert now(service.call("shop.who")) == ["exec", "shop.who", [], None, False, None, True]
    reply = service.jsonrpc_exec('{"jsonrpc":"2.0","method":"shop.nested","id":1}')
    assert b'["shop.nested",["shop.seen","shop.seen"],"shop.nested"]' in reply.body
    assert current_call() is None


def test_awaited_in_a_coroutine(service: JsonRpcService) -> None:
    """It is awaited in a coroutine of Twisted's."""

    async def program() -> str:
        with pytest.raises(Fault, match="481"):
            await service.call("shop.refuse", 481)
        result: str = await service.call("shop.add", "apple", 1)
        return result

    assert now(Deferred.fromCoroutine(program())) == "1 x apple at 1.0"
    assert now(maybeDeferred(service.call, "shop.who"))[0] == "exec"
