"""Variables: what they take, who is told of a change, and changes that are made all or none."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx import log
from jsonrpcs_tx.state.variables import (
    MOST,
    MOST_ID,
    Change,
    Group,
    UnknownVariable,
    Value,
    Variable,
    VariableError,
    Variables,
)

NAMES = ("limit", "count", "title")


class Program:
    """One that has variables, notes what it is told, and refuses the value 13.

    @ivar seen: the whole group at each change.
    """

    def __init__(self) -> None:
        self.told: list[tuple[str, Any, Any]] = []
        self.seen: list[dict[str, Value]] = []
        self.variables = Variables()
        self.group = self.variables.add(
            "shop",
            [Variable("limit", 10, "most items in an order"), Variable("count", 1), Variable("title", "abc")],
            changed=self.changed,
        )

    def changed(self, name: str, old: Any, new: Any) -> None:
        if new == 13:
            raise VariableError("13 is bad luck")
        self.told.append((name, old, new))
        self.seen.append(dict(self.group))


@pytest.fixture
def program() -> Program:
    return Program()


@pytest.mark.parametrize(
    ("variable", "good", "bad"),
    [
        (Variable("v", 5, least=1, most=9), [1, 9], [0, 10, 5.0, "5", True, None, [5]]),
        (Variable("v", 5), [MOST, -MOST], [MOST + 1, -MOST - 2]),
        (Variable("v", 4, allowed=(1, 2, 4)), [1, 2], [3, True]),
        (Variable("v", 0.5, least=0, most=1), [0.25, 1.0], [1.5, float("nan"), float("inf"), "0.5", True]),
        (Variable("v", "a"), ["", "é", "a\nb"], [5, None, b"a", "\ud800"]),
        (Variable("v", "a", allowed=("a", "b")), ["b"], ["c", ""]),
    ],
)
def test_check(variable: Variable, good: list[Any], bad: list[Any]) -> None:
    """A variable takes values of its type in its range, and refuses all else by its name."""
    group = Variables().add("g", [variable])
    for value in good:
        group.set("v", value)
        assert group["v"] == value
    for value in bad:
        with pytest.raises(VariableError, match=r"^v: must be "):
            group.set("v", value)
        assert group["v"] == good[-1]


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        (Variable("v", 5, least=1, most=9), 10, "v: must be an integer from 1 to 9, not 10"),
        (Variable("v", 0.5, least=0, most=1), 2, "v: must be a number from 0 to 1, not 2"),
        (Variable("v", "a", allowed=("a", "b")), "c", "v: must be 'a' or 'b', not 'c'"),
        (Variable("v", "a"), 5, "v: must be a string that UTF-8 can write, not 5"),
    ],
)
def test_error_text(variable: Variable, value: Any, text: str) -> None:
    """The error says which variable it was, what is allowed, and what came."""
    with pytest.raises(VariableError) as caught:
        variable.check(value)
    assert str(caught.value) == text


def test_whole_float() -> None:
    """An integer that a float variable takes becomes a float."""
    group = Variables().add("g", [Variable("v", 0.5)])
    group.set("v", 2)
    assert type(group["v"]) is float


@pytest.mark.parametrize(
    "arguments",
    [
        {"default": 0, "least": 1},
        {"default": "c", "allowed": ("a", "b")},
        {"default": True},
        {"default": None},
        {"default": 1, "get": lambda: 1},
        {"default": 1, "set": print},
        {"name": "", "default": 1},
        {"name": "a b", "default": 1},
    ],
)
def test_bad_variable(arguments: dict[str, Any]) -> None:
    """A variable with a default that it does not take, half a binding, or no name cannot be made."""
    with pytest.raises(ValueError, match=r"must be|default|get and set"):
        Variable(**{"name": "v", **arguments})


def test_names_are_taken_once() -> None:
    """Neither a group nor a variable has the name of another."""
    variables = Variables()
    first = variables.add("g", [Variable("v", 1)])
    with pytest.raises(ValueError, match=r"group g: registered before by .*test_variables \(.*\.py:\d+\)"):
        variables.add("g", [])
    with pytest.raises(ValueError, match="two variables v"):
        variables.add("h", [Variable("v", 1), Variable("v", 2)])
    for name in ("", "a b", "a:b", "a[1]"):
        with pytest.raises(ValueError, match="must be printable text without"):
            variables.add(name, [])
    assert dict(variables) == {"g": first}


def test_unknown(program: Program) -> None:
    """What is not there is a KeyError with a plain message, so that get and in work."""
    with pytest.raises(UnknownVariable) as caught:
        program.group.set("nope", 1)
    assert str(caught.value) == "there is no variable 'nope'"
    with pytest.raises(UnknownVariable, match="there is no group 'nope'"):
        program.variables.set_delayed("nope", None, "limit", 1)
    with pytest.raises(UnknownVariable, match="group shop has no instance 1"):
        program.variables.find("shop", 1)
    assert program.group.get("nope") is None
    assert "nope" not in program.group
    assert "nope" not in program.variables


def test_told(program: Program) -> None:
    """The program is told of a change once it is made, and only if the value differs."""
    program.group.set("limit", 20)
    program.group.set("limit", 20)
    assert program.told == [("limit", 10, 20)]
    assert program.seen[0]["limit"] == 20


def test_refused(program: Program) -> None:
    """A change that the program refuses is undone."""
    with pytest.raises(VariableError, match="bad luck"):
        program.group.set("limit", 13)
    assert program.group["limit"] == 10
    assert program.told == []


def test_commit(program: Program) -> None:
    """A commit makes all changes before it tells of the first."""
    for name, value in (("title", "new"), ("limit", 20)):
        program.variables.set_delayed("shop", None, name, value)
    assert program.told == []
    assert program.variables.diff() == [
        Change("shop", None, "title", "abc", "new"),
        Change("shop", None, "limit", 10, 20),
    ]
    program.variables.commit()
    assert program.told == [("title", "abc", "new"), ("limit", 10, 20)]
    assert program.seen == [{"limit": 20, "count": 1, "title": "new"}] * 2
    assert program.variables.diff() == []
    program.variables.commit()
    assert len(program.told) == 2


def test_commit_refused(program: Program) -> None:
    """A refused commit changes nothing, the program is told so, and the changes are still to be committed."""
    other = program.variables.add("other", [Variable("v", 1)])
    for group, name, value in (("other", "v", 2), ("shop", "count", 5), ("shop", "limit", 13), ("shop", "title", "n")):
        program.variables.set_delayed(group, None, name, value)
    with pytest.raises(VariableError):
        program.variables.commit()
    assert (other["v"], dict(program.group)) == (1, {"limit": 10, "count": 1, "title": "abc"})
    assert program.told == [("count", 1, 5), ("count", 5, 1)]
    assert program.seen[-1] == dict(program.group)
    assert len(program.variables.diff()) == 4
    program.variables.set_delayed("shop", None, "limit", 14)
    program.variables.commit()
    assert (other["v"], dict(program.group)) == (2, {"limit": 14, "count": 5, "title": "n"})


def test_delayed_while_committing(program: Program) -> None:
    """A change that the program notes while it is told of a commit is kept for the next."""
    variables = Variables()

    def changed(name: str, old: Any, new: Any) -> None:
        variables.set_delayed("g", None, "v", new + 1)

    group = variables.add("g", [Variable("v", 1)], changed)
    variables.set_delayed("g", None, "v", 2)
    variables.commit()
    assert group["v"] == 2
    assert variables.diff() == [Change("g", None, "v", 2, 3)]


def test_rollback(program: Program) -> None:
    """A rollback drops all changes."""
    program.variables.set_delayed("shop", None, "limit", 20)
    program.variables.rollback()
    program.variables.commit()
    assert program.group["limit"] == 10


def test_reset(program: Program) -> None:
    """A reset sets all to their defaults, or nothing if that is refused."""
    program.group.set("limit", 20)
    program.group.set("title", "new")
    program.told.clear()
    program.group.reset()
    assert program.told == [("limit", 20, 10), ("title", "new", "abc")]

    refusing = Variables().add("g", [Variable("a", 1), Variable("b", 2)], _refuse_twos)
    refusing.set("a", 5)
    refusing.set("b", 6)
    with pytest.raises(VariableError):
        refusing.reset()
    assert dict(refusing) == {"a": 5, "b": 6}


def _refuse_twos(name: str, old: Any, new: Any) -> None:
    if new == 2:
        raise VariableError("2")


def test_undoing_fails(program: Program) -> None:
    """What raises while changes are undone does not keep the others from being undone."""
    calls: list[str] = []

    def changed(name: str, old: Any, new: Any) -> None:
        calls.append(name)
        if name == "c" or old > new:
            raise VariableError(name)

    variables = Variables()
    group = variables.add("g", [Variable(name, 0) for name in "abc"], changed)
    for name in group:
        variables.set_delayed("g", None, name, 1)
    with pytest.raises(VariableError, match=r"^c$"):
        variables.commit()
    assert dict(group) == {"a": 0, "b": 0, "c": 0}
    assert calls == ["a", "b", "c", "b", "a"]


def test_attribute() -> None:
    """A variable of an attribute is that attribute, whoever changes it."""
    limits = SimpleNamespace(timeout=2000, size=1.5)
    group = Variables().add(
        "g",
        [
            Variable.of_attribute(limits, "timeout", "milliseconds", least=1, most=10_000),
            Variable.of_attribute(limits, "size", least=0, most=9),
        ],
    )
    group.set("timeout", 3000)
    assert limits.timeout == 3000
    limits.timeout = 4000
    assert group["timeout"] == 4000
    with pytest.raises(VariableError):
        group.set("timeout", 0)
    assert limits.timeout == 4000
    group.reset()
    assert vars(limits) == {"timeout": 2000, "size": 1.5}
    assert [variable.kind for variable in group.variables.values()] == [int, float]


def test_getter_and_setter() -> None:
    """A variable of a getter and a setter is what these say: the log level is one for all who change it."""
    level = log.debug()
    group = Variables().add(
        "core",
        [Variable("debug", level, least=log.LEAST_DEBUG, most=log.MOST_DEBUG, get=log.debug, set=log.set_debug)],
    )
    try:
        group.set("debug", 3)
        assert log.debug() == 3
        log.set_debug(0)
        assert group["debug"] == 0
    finally:
        group.reset()
    assert log.debug() == level


def test_adding_does_not_set() -> None:
    """Adding a group calls no setter."""
    calls: list[Any] = []
    group = Variables().add("g", [Variable("v", 1, get=lambda: 7, set=calls.append)])
    assert group["v"] == 7
    assert calls == []


def test_setter_refuses() -> None:
    """A commit that a setter refuses leaves those before it as they were, inside and outside of the group."""
    limits = SimpleNamespace(a=1)

    def refuse(value: object) -> None:
        raise VariableError("never")

    variables = Variables()
    group = variables.add(
        "g",
        [
            Variable("inside", 1),
            Variable.of_attribute(limits, "a"),
            Variable("never", 1, get=lambda: 1, set=refuse),
        ],
    )
    for name in group:
        variables.set_delayed("g", None, name, 5)
    with pytest.raises(VariableError, match="never"):
        variables.commit()
    assert dict(group) == {"inside": 1, "a": 1, "never": 1}
    assert limits.a == 1


def test_instance(program: Program) -> None:
    """An instance has the group's values but for its own, and the program is not told of these."""
    instance = program.group.add_instance(7)
    assert program.group.add_instance(7) is instance
    assert program.variables.find("shop", 7) is instance
    instance.set("limit", 77)
    program.group.set("title", "new")
    assert dict(instance) == {"limit": 77, "count": 1, "title": "new"}
    assert program.group["limit"] == 10
    assert program.told == [("title", "abc", "new")]
    with pytest.raises(VariableError):
        instance.set("limit", "x")
    instance.delete("limit")
    instance.delete("limit")
    assert instance["limit"] == 10
    with pytest.raises(UnknownVariable):
        instance.delete("nope")
    instance.set("limit", 5)
    instance.reset()
    assert dict(instance) == dict(program.group)


def test_instance_of_what_lives_elsewhere() -> None:
    """An instance holds its value of a variable that lives elsewhere, and leaves it there as it is."""
    limits = SimpleNamespace(a=1)
    group = Variables().add("g", [Variable.of_attribute(limits, "a")])
    instance = group.add_instance(1)
    instance.set("a", 5)
    assert (limits.a, instance["a"]) == (1, 5)
    instance.delete("a")
    limits.a = 2
    assert instance["a"] == 2


@pytest.mark.parametrize("id", [-1, MOST_ID + 1])
def test_instance_number(program: Program, id: int) -> None:
    """An instance has a number of 32 bits."""
    with pytest.raises(ValueError, match="the number must be from 0 to 4294967295"):
        program.group.add_instance(id)
    assert program.group.instances == {}


def test_delete_instance(program: Program) -> None:
    """With an instance go its delayed changes, and no others."""
    program.group.add_instance(1)
    program.group.add_instance(2)
    for id in (None, 1, 2):
        program.variables.set_delayed("shop", id, "limit", 5)
    program.variables.delete_delayed("shop", 1, "title")
    program.variables.delete_instance("shop", 1)
    assert [change.id for change in program.variables.diff()] == [None, 2]
    with pytest.raises(UnknownVariable):
        program.variables.delete_instance("shop", 1)


CHANGES = st.lists(st.tuples(st.sampled_from(NAMES[:2]), st.integers(8, 14)), max_size=8)


@given(CHANGES)
def test_all_or_none(changes: list[tuple[str, int]]) -> None:
    """Whatever the changes, a commit makes all or none, and the program knows the values from what it was told."""
    program = Program()
    before = dict(program.group)
    for name, value in changes:
        program.variables.set_delayed("shop", None, name, value)
    wanted = {**before, **dict(changes)}
    try:
        program.variables.commit()
    except VariableError:
        assert 13 in wanted.values()
        wanted = before
    assert dict(program.group) == wanted
    known = dict(before)
    for name, old, new in program.told:
        assert known[name] == old
        known[name] = new
    assert known == wanted


def test_group_is_usable_alone() -> None:
    """A group needs nothing else around it."""
    assert Group("g", [Variable("v", 1)])["v"] == 1


def test_removed_group() -> None:
    """A group that is removed is gone with its delayed changes; the program may go on to use what it holds."""
    program = Program()
    program.group.add_instance(3)
    program.variables.set_delayed("shop", None, "limit", 5)
    program.variables.set_delayed("shop", 3, "limit", 6)
    program.variables.remove("shop")
    assert not program.variables
    assert not program.variables.diff()
    program.variables.commit()
    assert program.group["limit"] == 10
    with pytest.raises(UnknownVariable, match="there is no group 'shop'"):
        program.variables.remove("shop")
    program.variables.add("shop", [Variable("limit", 1)])


def test_replaced_group() -> None:
    """A group that replaces another begins with its own defaults, and without the delayed changes of the other."""
    program = Program()
    program.variables.set_delayed("shop", None, "limit", 5)
    group = program.variables.add("shop", [Variable("limit", "none")], replace=True)
    assert (program.variables["shop"], program.variables.diff()) == (group, [])
    group.set("limit", "some")
    assert program.group["limit"] == 10
