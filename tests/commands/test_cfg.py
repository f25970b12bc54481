"""The commands cfg.*: the recorded replies of Kamailio, and what differs from it."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from jsonrpcs_tx.catalogue.compatibility import V5_6, V6_1, Compatibility
from jsonrpcs_tx.commands.cfg import Cfg
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.registry import Registry
from jsonrpcs_tx.state import variables
from jsonrpcs_tx.state.variables import MOST_INSTANCES, Variable, VariableError, Variables
from tests.support import DATA

Call = Callable[..., Any]
GROUP_SYNTAX = (400, 'Wrong group syntax. Use either "group", or "group[id]"')
INSTANCE_SYNTAX = (400, 'Wrong group syntax. Use "group[id]"')
INVALID = (500, "Invalid Parameters")
NOT_SET = (400, "Failed to set the variable")


class Service(SimpleNamespace):
    """A dispatcher with the commands, and their variables, including those that Kamailio was asked about.

    @ivar log: the changes that the program was told of.
    """

    def __init__(self, compatibility: Compatibility = V6_1) -> None:
        self.log: list[tuple[str, Any, Any]] = []
        self.variables = Variables()
        self.variables.add("core", [Variable("debug", 2)])
        self.foo = self.variables.add(
            "foo",
            [
                Variable("bar", 10, "bars of foo", least=-100, most=100),
                Variable("title", "abc", "a title"),
                Variable("ratio", 0.5, least=0, most=1000),
            ],
            self.changed,
        )
        self._dispatcher = Dispatcher(Registry(Cfg(self.variables, compatibility)), Clock())

    def changed(self, name: str, old: Any, new: Any) -> None:
        if new == 13:
            raise VariableError("13 is bad luck")
        if new == 14:
            raise Fault(503, "Come Back Later")
        if new == 15:
            raise RuntimeError("secret")
        self.log.append((name, old, new))

    def dispatch(self, document: bytes) -> Reply:
        reply = self._dispatcher.dispatch(document, Origin("test"))
        assert isinstance(reply, Reply)
        return reply

    def call(self, method: str, *params: object) -> Any:
        """The result, or the code and the text of the fault."""
        request = {"jsonrpc": "2.0", "method": "cfg." + method, "params": params, "id": 1}
        reply = json.loads(self.dispatch(json.dumps(request).encode()).body)
        return reply["result"] if "result" in reply else (reply["error"]["code"], reply["error"]["message"])


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def call(service: Service) -> Call:
    return service.call


def shape(value: Any) -> Any:
    """The JSON types of a value: of an object whose keys are free the keys' and one value's."""
    if isinstance(value, list):
        return [shape(member) for member in value[:1]]
    return type(value).__name__


def test_conformance() -> None:
    """Each recorded request is answered as its kind demands."""
    service = Service(V5_6)
    for step in json.loads((DATA / "cfg.json").read_text())["steps"]:
        reply = service.dispatch(step["request"].encode())
        if step["kind"] == "exact":
            assert reply.body.decode() == step["dgram"], step["request"]
            assert (reply.code, reply.text) == (step["http"]["status"], step["http"]["reason"]), step["request"]
        elif step["kind"] == "volatile":
            ours, theirs = json.loads(reply.body), json.loads(step["dgram"])
            assert ours.get("error") == theirs.get("error")
            assert shape(ours.get("result")) == shape(theirs.get("result"))
        else:
            assert step["kind"] in ("invalid", "extension")
            assert json.loads(reply.body)["error"] == {"code": 500, "message": "Invalid Parameters"}


SIDE_CHECKS = [
    ("list", ["foo"], ["foo: bar", "foo: title", "foo: ratio"]),
    ("list", [""], ["core: debug", "foo: bar", "foo: title", "foo: ratio"]),
    ("list", ["nope"], []),
    ("list", ["Foo"], []),
    ("list", ["foo[1]"], []),
    ("get", ["foo", ""], {"bar": 10, "title": "abc", "ratio": 0.5}),
    ("get", ["foo"], {"bar": 10, "title": "abc", "ratio": 0.5}),
    ("get", ["nope"], {}),
    ("get", [""], {}),
    ("get", ["nope[1]"], {}),
    ("get", ["foo[9]"], (400, "Failed to get the variable")),
    ("get", ["nope[1]", "bar"], (400, "Failed to get the variable")),
    ("get", ["foo[9]", "bar"], (400, "Failed to get the variable")),
    ("get", ["foo[+9]", "bar"], (400, "Failed to get the variable")),
    ("get", ["FOO", "bar"], (400, "Failed to get the variable")),
    ("get", ["foo", "BAR"], (400, "Failed to get the variable")),
    ("get", ["foo[", "bar"], (400, "Failed to get the variable")),
    ("get", ["foo[1]x", "bar"], (400, "Failed to get the variable")),
    ("get", ["foo[1][2]", "bar"], (400, "Failed to get the variable")),
    ("get", ["foo[x]", "bar"], GROUP_SYNTAX),
    ("get", ["foo[]", "bar"], GROUP_SYNTAX),
    ("get", ["foo[ 1]", "bar"], GROUP_SYNTAX),
    ("get", ["foo[-1]", "bar"], GROUP_SYNTAX),
    ("get", ["foo[4294967296]", "bar"], GROUP_SYNTAX),
    ("get", ["[1]", "bar"], GROUP_SYNTAX),
    ("get", ["foo]", "bar"], GROUP_SYNTAX),
    ("get", [5, 5], (500, "Failed to get the parameters")),
    ("get", ["foo", 5], (500, "Failed to get the parameters")),
    ("get", ["foo", None], (500, "Failed to get the parameters")),
    ("help", ["foo[9]", "bar"], (400, "Failed to get the variable description")),
    ("help", ["foo[x]", "bar"], (400, "Failed to get the variable description")),
    ("help", ["nope", "bar"], (400, "Failed to get the variable description")),
    ("set", ["foo[x]", "bar", 1], GROUP_SYNTAX),
    ("set", ["foo[9]", "bar", 1], NOT_SET),
    ("set", ["nope", "bar", 1], NOT_SET),
    ("set", ["foo", "", 1], NOT_SET),
    ("set_delayed", ["foo", "nope", 1], NOT_SET),
    ("set_delayed_int", ["foo[x]", "nope", 1], GROUP_SYNTAX),
    ("set_delayed_string", ["foo", "bar", "x"], NOT_SET),
    ("sets", ["foo", "bar", ""], NOT_SET),
    ("sets", ["foo", "bar", "7 "], NOT_SET),
    ("sets", ["foo", "bar", "0x10"], NOT_SET),
    ("reset", ["foo[x]"], GROUP_SYNTAX),
    ("del", ["foo", "bar"], INSTANCE_SYNTAX),
    ("del", ["foo[x]", "bar"], INSTANCE_SYNTAX),
    ("del", ["foo[9]", "bar"], (400, "Failed to delete the value")),
    ("del", ["nope[1]", "bar"], (400, "Failed to delete the value")),
    ("del_delayed", ["foo", "bar"], INSTANCE_SYNTAX),
    ("del_delayed", ["nope[1]", "bar"], (400, "Failed to delete the value")),
    ("add_group_inst", ["foo"], INSTANCE_SYNTAX),
    ("add_group_inst", [""], INSTANCE_SYNTAX),
    ("add_group_inst", ["foo[x]"], INSTANCE_SYNTAX),
    ("add_group_inst", ["foo[4294967296]"], INSTANCE_SYNTAX),
    ("add_group_inst", ["nope[1]"], (400, "Failed to add the group instance")),
    ("del_group_inst", ["foo"], INSTANCE_SYNTAX),
    ("del_group_inst", ["foo[9]"], (400, "Failed to delete the group instance")),
    ("del_group_inst", ["nope[1]"], (400, "Failed to delete the group instance")),
]


@pytest.mark.parametrize(("method", "params", "reply"), SIDE_CHECKS)
def test_as_the_reference(call: Call, method: str, params: list[Any], reply: Any) -> None:
    """Missing and invalid names, groups and instances are answered as the real Kamailio does."""
    assert call(method, *params) == reply


@pytest.mark.parametrize(
    ("method", "params", "value"),
    [
        ("seti", ["title", 5], "5"),
        ("set", ["title", 5], "5"),
        ("set", ["title", True], "1"),
        ("set", ["title", "new"], "new"),
        ("set", ["title", 1.5], "1.5"),
        ("set", ["bar", 2.0], 2),
        ("seti", ["bar", True], 1),
        ("set_now_string", ["bar", "6"], 6),
        ("sets", ["bar", " 7"], 7),
        ("sets", ["bar", "-7"], -7),
        ("sets", ["bar", "+8"], 8),
        ("sets", ["title", ""], ""),
        ("set", ["ratio", 1], 1.0),
        ("set", ["ratio", 2.5], 2.5),
        ("sets", ["ratio", "2.25"], 2.25),
    ],
)
def test_set(call: Call, method: str, params: list[Any], value: Any) -> None:
    """A number sets a string to its text, and text by cfg.sets a number to what it spells."""
    assert call(method, "foo", *params) == {}
    got = call("get", "foo", params[0])
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("set", ["foo", "bar", "11"]),
        ("set", ["foo", "bar", 7.9]),
        ("set", ["foo", "title", None]),
        ("set", ["foo", "bar"]),
        ("set", []),
        ("set", [1, 2, 3]),
        ("seti", ["foo", "title", "y"]),
        ("seti", ["foo", "bar", None]),
        ("sets", ["foo", "bar", 5]),
        ("sets", ["foo", "title"]),
        ("set_delayed", ["foo", "bar", "11"]),
        ("set_delayed_int", ["foo", "bar", "x"]),
        ("set_delayed_string", ["foo", "title", 1]),
        ("list", [5]),
        ("help", ["foo"]),
        ("reset", []),
        ("reset", [5]),
        ("del", ["foo[1]"]),
        ("del_delayed", []),
        ("add_group_inst", []),
        ("del_group_inst", [5]),
    ],
)
def test_invalid(call: Call, method: str, params: list[Any]) -> None:
    """What does not fit is refused and changes nothing, where the reference says yes and does whatever it can."""
    before = call("get", "foo")
    assert call(method, *params) == INVALID
    assert (call("get", "foo"), call("diff")) == (before, {})


@pytest.mark.parametrize("method", ["set", "seti", "set_now_int", "set_delayed", "set_delayed_int"])
def test_out_of_range(call: Call, method: str) -> None:
    """A number out of range is refused with the reference's text, and what is allowed; nothing is cut off."""
    code, text = call(method, "foo", "bar", 3_000_000_000)
    assert code == 400
    assert text == "Failed to set the variable: bar: must be an integer from -100 to 100, not 3000000000"
    assert (call("get", "foo", "bar"), call("diff")) == (10, {})


def test_spelled_number_out_of_range(call: Call) -> None:
    """So is one that text spells."""
    assert call("sets", "foo", "bar", "101")[1].startswith("Failed to set the variable: bar: must be an integer")


@pytest.mark.parametrize("digits", [25, 4300, 5000])
@pytest.mark.parametrize("name", ["bar", "title", "ratio"])
def test_very_long_numbers(service: Service, name: str, digits: int) -> None:
    """A number of thousands of digits is taken exactly or refused, without an internal error."""
    number = "9" * digits
    for method in ("set", "seti"):
        document = f'{{"jsonrpc":"2.0","method":"cfg.{method}","params":["foo","{name}",{number}],"id":1}}'
        reply = json.loads(service.dispatch(document.encode()).body)
        if "result" in reply:
            assert service.foo[name] == number
        else:
            assert reply["error"]["code"] in (400, 500)


def test_help(call: Call, service: Service) -> None:
    """A variable has a description and a type; before version 6 the type alone is told."""
    assert call("help", "foo", "bar") == {"desc": "bars of foo", "type": "integer"}
    assert call("help", "foo", "title") == {"desc": "a title", "type": "string"}
    assert call("help", "foo", "ratio") == {"desc": "", "type": "double"}
    older = Cfg(service.variables, V5_6)
    assert older.help("foo", "bar") == "(parameter type is integer)"


def test_diff(call: Call) -> None:
    """A delayed change is shown as the reference does, with the number of the instance; several as a list."""
    call("set_delayed", "foo", "bar", 31)
    call("set_delayed", "foo", "bar", 32)
    bar = {"group name": "foo", "variable name": "bar", "old value": 10, "new value": 32}
    assert call("diff") == bar
    call("add_group_inst", "foo[1]")
    call("set_delayed_string", "foo[1]", "title", "new")
    title = {"group name": "foo", "group id": 1, "variable name": "title", "old value": "abc", "new value": "new"}
    assert call("diff") == [bar, title]
    assert list(call("diff")[1]) == list(title)
    assert call("commit") == {}
    assert call("diff") == {}
    assert call("get", "foo") == {"bar": 32, "title": "abc", "ratio": 0.5}
    assert call("get", "foo[1]") == {"bar": 32, "title": "new", "ratio": 0.5}


def test_set_while_delayed(call: Call) -> None:
    """A value that is set at once leaves the delayed change of it as it was."""
    call("set_delayed", "foo", "bar", 31)
    call("set", "foo", "bar", 40)
    assert call("diff")["old value"] == 40
    call("commit")
    assert call("get", "foo", "bar") == 31


def test_instances(call: Call) -> None:
    """An instance has the values of its group, but for those that are set in it, until they are deleted."""
    assert call("add_group_inst", "foo[1]") == {}
    call("set", "foo", "bar", 20)
    assert call("get", "foo[1]", "bar") == 20
    call("set", "foo[1]", "bar", 77)
    call("set", "foo", "bar", 30)
    assert call("get", "foo[01]", "bar") == 77
    assert call("add_group_inst", "foo[1]") == {}
    assert call("get", "foo[1]", "bar") == 77
    assert call("del", "foo[1]", "bar") == {}
    assert call("del", "foo[1]", "bar") == {}
    assert call("get", "foo[1]", "bar") == 30
    assert call("del", "foo[1]", "nope") == (400, "Failed to delete the value")
    assert call("del_group_inst", "foo[1]") == {}
    assert call("del_group_inst", "foo[1]") == (400, "Failed to delete the group instance")


def test_delete_delayed(call: Call) -> None:
    """A commit can also delete a value of an instance."""
    call("add_group_inst", "foo[1]")
    call("set", "foo[1]", "bar", 77)
    assert call("del_delayed", "foo[1]", "bar") == {}
    assert call("diff") == {
        "group name": "foo",
        "group id": 1,
        "variable name": "bar",
        "old value": 77,
        "new value": 10,
    }
    assert call("get", "foo[1]", "bar") == 77
    assert call("commit") == {}
    assert call("get", "foo[1]", "bar") == 10


def test_no_instance_to_commit(call: Call) -> None:
    """No commit can fail for an instance that is not there: a change of it is refused, or dropped with it.

    The reference takes it, and then fails to commit until it is told to roll back.
    """
    for method, value in (("set_delayed", 1), ("set_delayed_int", 1), ("set_delayed_string", "1")):
        assert call(method, "foo[9]", "bar", value) == NOT_SET
    assert call("del_delayed", "foo[9]", "bar") == (400, "Failed to delete the value")
    call("add_group_inst", "foo[1]")
    call("set_delayed", "foo[1]", "bar", 5)
    call("set_delayed", "foo", "bar", 6)
    call("del_group_inst", "foo[1]")
    assert call("diff") == {"group name": "foo", "variable name": "bar", "old value": 10, "new value": 6}
    assert call("commit") == {}


def test_reset(call: Call) -> None:
    """reset sets a group to its defaults, and an instance to the values of its group; on both the reference dies."""
    call("set", "foo", "bar", 20)
    call("set", "foo", "title", "new")
    call("add_group_inst", "foo[1]")
    call("set", "foo[1]", "bar", 30)
    assert call("reset", "foo[1]") == {}
    assert call("get", "foo[1]", "bar") == 20
    assert call("reset", "foo") == {}
    assert call("get", "foo") == {"bar": 10, "title": "abc", "ratio": 0.5}


@pytest.mark.parametrize("group", ["nope", "foo[9]", ""])
def test_reset_of_nothing(call: Call, group: str) -> None:
    """reset of a group that is not there has failed; the reference says that it has not."""
    assert call("reset", group) == (500, "Reset failed")


@pytest.mark.parametrize(
    ("value", "code", "reason"),
    [(13, 400, ": 13 is bad luck"), (14, 503, "Come Back Later"), (15, -32603, "Internal Error")],
)
def test_program_refuses(service: Service, call: Call, value: int, code: int, reason: str) -> None:
    """A program refuses a change with a reason or a fault; so does a bug, which the client is not told of."""
    before = call("get", "foo")
    text = reason if code != 400 else "Failed to set the variable" + reason
    assert call("seti", "foo", "bar", value) == (code, text)
    call("set_delayed", "foo", "title", "new")
    call("set_delayed", "foo", "bar", value)
    text = reason if code != 400 else "Failed to commit the changes" + reason
    assert call("commit") == (code, text)
    assert call("get", "foo") == before
    assert len(call("diff")) == 2
    assert service.log == [("title", "abc", "new"), ("title", "new", "abc")]
    assert call("rollback") == {}
    assert call("diff") == {}


def test_most_instances(call: Call, service: Service) -> None:
    """A client makes so many instances of a group and no more, so that they do not fill the memory."""
    for number in range(MOST_INSTANCES):
        assert call("add_group_inst", f"foo[{number}]") == {}
    assert call("add_group_inst", "foo[0]") == {}
    code, text = call("add_group_inst", f"foo[{MOST_INSTANCES}]")
    assert code == 400
    assert text.endswith("instance 1000 of group foo: at most 1000 instances are allowed")
    assert len(service.foo.instances) == MOST_INSTANCES


def test_most_delayed_changes(call: Call, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many changes are delayed, which bounds what a commit has to do; one of them may still be replaced."""
    monkeypatch.setattr(variables, "MOST_DELAYED", 2)
    call("add_group_inst", "foo[1]")
    for name, value in (("bar", 1), ("title", "new"), ("bar", 2)):
        assert call("set_delayed", "foo", name, value) == {}
    for request in (("set_delayed", "foo", "ratio", 1), ("del_delayed", "foo[1]", "bar")):
        code, text = call(*request)
        assert code == 400
        assert text.endswith("at most 2 delayed changes are allowed; commit or drop some first")
    assert call("commit") == {}
    assert (service.foo["bar"], service.foo["title"], service.foo["ratio"]) == (2, "new", 0.5)


NAMES = st.sampled_from(["foo", "foo[1]", "foo[x]", "nope", "core", "bar", "title", "ratio", "debug", ""])
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(), NAMES
)
METHODS = st.sampled_from(sorted(Registry(Cfg(Service().variables, V6_1))))


@given(st.lists(st.tuples(METHODS, st.lists(st.one_of(NAMES, VALUES), max_size=3)), max_size=20))
def test_whatever_comes(requests: list[tuple[str, list[Any]]]) -> None:
    """No sequence of requests brings out a bug, or a value that a variable does not take."""
    service = Service()
    service.changed = lambda name, old, new: None  # type: ignore[method-assign] # nothing follows a change here
    for method, params in requests:
        reply = service.call(method.removeprefix("cfg."), *params)
        assert not isinstance(reply, tuple) or reply[0] in (400, 500, 503)
    for values in [*service.variables.values(), *service.foo.instances.values()]:
        for name in values:
            values.variable(name).check(values[name])
