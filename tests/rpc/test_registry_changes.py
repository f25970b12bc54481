"""The table of commands while a server runs: removal, replacement, description and deprecation."""

import gc
import json
import weakref
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.commands.core import Core
from jsonrpcs_tx.rpc import deprecations
from jsonrpcs_tx.rpc.binding import MISSING, Text
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.registry import Registry, command

HTTP = Origin("http", asynchronous=True)


@command("fruit.count")
def count() -> int:
    """Counts."""
    return 1


@command("fruit.count")
def recount() -> int:
    """Counts again."""
    return 2


class Fruit:
    """Commands with state of their own."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.later: Deferred[int] = Deferred()

    @command("fruit.number")
    def get(self) -> int:
        return self.number

    @command("fruit.later")
    def wait(self) -> Deferred[int]:
        return self.later

    @command("fruit.rare", interval=10)
    def rare(self) -> int:
        return self.number

    @command("fruit.alone", lock="fruit")
    def alone(self) -> Deferred[int]:
        return self.later


class Served:
    def __init__(self, *sources: object) -> None:
        self.clock = Clock()
        self.registry = Registry(*sources)
        self.dispatcher = Dispatcher(self.registry, self.clock)

    def start(self, method: str, origin: Origin = HTTP) -> Any:
        return self.dispatcher.dispatch(json.dumps({"jsonrpc": "2.0", "method": method, "id": 1}).encode(), origin)

    def call(self, method: str, origin: Origin = HTTP) -> Any:
        reply = self.start(method, origin)
        assert type(reply) is Reply
        return outcome(reply)


def outcome(reply: Reply) -> Any:
    answer = json.loads(reply.body)
    return answer["result"] if "result" in answer else answer["error"]["message"]


def test_removed_command_is_not_found() -> None:
    """A command that is removed is not found from then on, by whatever it was removed."""
    fruit = Fruit(5)
    for what in ("fruit.number", "fruit.*", fruit):
        served = Served(fruit, count)
        assert served.call("fruit.number") == 5
        removed = served.registry.remove(what)
        assert "fruit.number" in removed
        assert served.call("fruit.number") == "Method Not Found"
        assert ("fruit.count" in served.registry) is (what != "fruit.*")
        served.registry.add(fruit if what == fruit else Fruit(6)) if what != "fruit.number" else None


def test_removal_of_a_method_or_function() -> None:
    """A function, or one method of an object, is removed alone."""
    fruit = Fruit()
    registry = Registry(fruit, count)
    assert registry.remove(count) == ["fruit.count"]
    assert registry.remove(fruit.get) == ["fruit.number"]
    assert sorted(registry) == ["fruit.alone", "fruit.later", "fruit.rare"]


def test_removal_of_what_is_not_there() -> None:
    """What is not there cannot be removed; the error says what it was."""
    registry = Registry(count)
    for what, named in (("fruit.peel", "fruit.peel"), ("nut.*", "nut"), (Fruit(), "Fruit"), (recount, "recount")):
        with pytest.raises(ValueError, match=named):
            registry.remove(what)
    assert list(registry) == ["fruit.count"]


def test_replaced_command() -> None:
    """A replaced command is the new one at once; without replace, its name stays taken, by whom the error says."""
    served = Served(count)
    with pytest.raises(ValueError, match=r"recount .*takes the name of .*\.count .*test_registry_changes\.py"):
        served.registry.add(recount)
    assert served.call("fruit.count") == 1
    served.registry.add(recount, replace=True)
    assert served.call("fruit.count") == 2
    assert served.registry["fruit.count"].help == "Counts again."


def test_replacement_within_a_source_is_refused() -> None:
    """Two commands of one source with the same name are an error even where older ones may be replaced."""

    class Twice:
        @command("fruit.count")
        def one(self) -> int:
            return 1

        @command("fruit.count")
        def two(self) -> int:
            return 2

    with pytest.raises(ValueError, match=r"Twice\.two"):
        Registry(count).add(Twice(), replace=True)


def test_command_in_progress_ends_well() -> None:
    """A command that is removed or replaced while in progress is answered as if nothing had happened."""
    old, new = Fruit(), Fruit()
    served = Served(old)
    replies: list[Reply] = []
    served.start("fruit.later").addCallback(replies.append)
    served.registry.add(new, replace=True)
    served.registry.remove("fruit.later")
    old.later.callback(7)
    assert [outcome(reply) for reply in replies] == [7]


def test_lock_is_held_over_a_replacement() -> None:
    """A lock that a replaced command holds is still held for the new one."""
    old, new = Fruit(), Fruit()
    served = Served(old)
    replies: list[Any] = []
    served.start("fruit.alone").addCallback(lambda reply: replies.append(("old", outcome(reply))))
    served.registry.add(new, replace=True)
    new.later.callback(2)
    gc.collect()
    served.start("fruit.alone").addCallback(lambda reply: replies.append(("new", outcome(reply))))
    assert replies == []
    old.later.callback(1)
    assert sorted(replies) == [("new", 2), ("old", 1)]


def test_interval_of_a_replaced_command() -> None:
    """The least interval of the old command is not that of the new one."""
    served = Served(Fruit(1))
    assert served.call("fruit.rare") == 1
    assert served.call("fruit.rare") == "Command Executed Too Fast"
    served.registry.add(Fruit(2), replace=True)
    assert served.call("fruit.rare") == 2
    assert served.call("fruit.rare") == "Command Executed Too Fast"


def test_removed_command_is_forgotten() -> None:
    """Nothing keeps a removed command, or what it belongs to, alive."""
    served = Served()
    fruit = Fruit(1)
    known = weakref.ref(fruit)
    served.registry.add(fruit)
    for method in ("fruit.number", "fruit.rare"):
        served.call(method)
    fruit.later.callback(1)
    served.start("fruit.alone")
    served.registry.remove(fruit)
    del fruit
    gc.collect()
    assert known() is None


def test_command_that_removes_itself() -> None:
    """A command may remove itself, also in the middle of a batch."""

    @command("fruit.last")
    def last() -> int:
        served.registry.remove("fruit.last")
        return 1

    served = Served(last)
    one = {"jsonrpc": "2.0", "method": "fruit.last", "id": 1}
    reply = served.dispatcher.dispatch(json.dumps([one, one]).encode(), HTTP)
    assert type(reply) is Reply
    assert [answer.get("result") for answer in json.loads(reply.body)] == [1, None]


def test_observers_and_retired_names() -> None:
    """Observers hear of every change; names of commands that any process may run are noted when they are not valid
    any more.
    """

    @command("fruit.free", stateless=True)
    def free() -> None:
        """Does nothing."""

    registry = Registry()
    changes: list[int] = []
    registry.observers.append(lambda: changes.append(len(registry)))
    registry.add(free)
    registry.add(count)
    registry.remove("fruit.count")
    assert registry.retired == set()
    registry.remove(free)
    registry.add(free)
    assert registry.retired == {"fruit.free"}
    assert changes == [1, 2, 1, 0, 1]


def test_description() -> None:
    """A command is described as plain data."""

    @command("fruit.sell", usage=None, deprecated="use fruit.trade", interval=1, lock="shop", timeout=5)
    async def sell(
        name: Text, /, price: float, count: "int | None" = 3, limit: int = MISSING, *others: str
    ) -> list[str]:
        """Sells
        fruit.

        And more.
        """
        return [name]

    (found,) = Registry(sell).describe()
    assert found == {
        "name": "fruit.sell",
        "family": "fruit",
        "help": "Sells fruit. Deprecated: use fruit.trade.",
        "deprecated": "use fruit.trade",
        "asynchronous": True,
        "changes": True,
        "stateless": False,
        "interval": 1,
        "lock": "shop",
        "timeout": 5,
        "result": "list[str]",
        "parameters": [
            {"name": "name", "type": "Text", "optional": False, "variadic": False, "positional": True},
            {"name": "price", "type": "float", "optional": False, "variadic": False, "positional": False},
            {
                "name": "count",
                "type": "int | None",
                "optional": True,
                "variadic": False,
                "positional": False,
                "default": 3,
            },
            {"name": "limit", "type": "int", "optional": True, "variadic": False, "positional": False},
            {"name": "others", "type": "str", "optional": True, "variadic": True, "positional": True},
        ],
    }


def test_description_without_annotations() -> None:
    """Without annotations a type is Any; a Deferred is described as what it fires with."""

    @command("plain")
    def plain(value):  # type: ignore[no-untyped-def] # commands may have no annotations
        return value

    @command("later")
    def later() -> Deferred[int]:
        return Deferred()

    described = {one["name"]: one for one in Registry(plain, later).describe()}
    assert (described["plain"]["family"], described["plain"]["result"]) == ("", "Any")
    assert described["plain"]["parameters"][0]["type"] == "Any"
    assert (described["later"]["result"], described["later"]["asynchronous"]) == ("int", True)


def test_description_is_json() -> None:
    """The description of a real family can be written as JSON, sorted by name."""

    class Server:
        settings: Any = None
        reactor = Clock()

    described = Registry(Core(Server())).describe()  # type: ignore[arg-type] # it is not asked
    assert [one["name"] for one in described] == sorted(one["name"] for one in described)
    json.dumps(described, allow_nan=False)


@command("fruit.old", deprecated="use fruit.count")
def old() -> int:
    """Counts as before."""
    return 1


def deprecated_calls(events: Any) -> list[str]:
    return [text for text in map(formatEvent, events) if "deprecated" in text]


def test_deprecated_command_is_logged_once_per_caller() -> None:
    """Each caller of a deprecated command appears once in the log, with what to use in its place."""
    served = Served(old)
    dispatcher = served.dispatcher
    with capturedLogs() as events:
        for _ in range(3):
            assert served.call("fruit.old", Origin("udp")) == 1
            assert served.call("fruit.old", dispatcher.origin("http", True)) == 1
    assert deprecated_calls(events) == [
        "udp calls fruit.old, which is deprecated: use fruit.count",
        "http calls fruit.old, which is deprecated: use fruit.count",
    ]


def test_deprecations_have_bounded_memory() -> None:
    """However many callers there are, few are remembered."""
    known = deprecations.Deprecations()
    for number in range(3 * deprecations.MAX_CALLERS):
        known.tell("fruit.old", "use fruit.count", Caller("http", f"192.0.2.{number}"))
    assert len(known) == deprecations.MAX_CALLERS


@pytest.mark.parametrize("wrong", ["", 1, True, b"x"])
def test_deprecated_is_a_text(wrong: Any) -> None:
    """What is not a text is refused."""
    with pytest.raises(TypeError, match=r"command a\.b: .*: deprecated: must be a string"):
        command("a.b", deprecated=wrong)(lambda: None)
