"""Variables: groups of typed values that a running program reads and operators change, like Kamailio's cfg framework.

A program declares a group, and reads it like a dict::

    shop = service.variables.add("shop", [Variable("limit", 10, "most items in an order", least=1, most=100)], changed)
    shop["limit"]
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Final

import attrs
from msgspec import UNSET, UnsetType
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jsonrpcs_tx.errors import JsonRpcsError
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.state.places import place_outside
from jsonrpcs_tx.state.sharing import Shareable
from jsonrpcs_tx.state.strings import is_utf8

_log = make_logger(__name__)

Value = int | float | str
"""What a variable holds. A float is any finite number."""

LEAST: Final = -(2**63)
MOST: Final = 2**63 - 1

MOST_ID: Final = 2**32 - 1
"""The highest number of an instance; the lowest is 0."""

MOST_INSTANCES: Final = 1000
"""The most instances that a group has."""

MOST_DELAYED: Final = 5000
"""The most changes that are delayed at the same time."""

Changed = Callable[[str, Any, Any], object]
"""Takes the name of a variable, its old and its new value."""


class UnknownVariable(JsonRpcsError, KeyError):
    """There is no such group, instance or variable; the message says which."""

    def __str__(self) -> str:
        return str(self.args[0])


class VariableError(JsonRpcsError, ValueError):
    """A variable does not accept a value; the message says what is allowed."""


_Stored = Value | UnsetType
"""A value, or UNSET where an instance has no value of its own."""


def _as_tuple(values: Iterable[Value]) -> tuple[Value, ...]:
    return tuple(values)  # mypy cannot tell what tuple itself would accept as the converter


@attrs.frozen
class Variable:
    """The definition of a variable. The type of its default is the type of its values: int, float or str.

    @ivar name: its name in the group.
    @ivar default: its value at first, and after a reset.
    @ivar help: what it does.
    @ivar least: the lowest number that it accepts.
    @ivar most: the highest one.
    @ivar allowed: the values that it accepts; empty: all numbers of the range, or all strings that can be written in
        UTF-8.
    @ivar get: reads the value, each time, from where it is kept outside the group, so that there is only one copy;
        None: the group holds the value.
    @ivar set: writes it there; given together with C{get}. It may raise L{VariableError} to refuse a value.
    """

    name: str
    default: Value
    help: str = ""
    least: float = attrs.field(default=LEAST, kw_only=True)
    most: float = attrs.field(default=MOST, kw_only=True)
    allowed: Sequence[Value] = attrs.field(default=(), converter=_as_tuple, kw_only=True)
    get: Callable[[], Value] | None = attrs.field(default=None, kw_only=True)
    set: Callable[[Any], object] | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """@raise ValueError: the name or the default is not allowed, or only one of C{get} and C{set} is given."""
        _check_name(self.name)
        if self.kind not in (int, float, str):
            raise ValueError(
                f"variable {self.name}: the default must be an int, a float or a str, not {self.default!r:.60}"
            )
        if (self.get is None) != (self.set is None):
            raise ValueError(f"variable {self.name}: get and set must be given together, or neither")
        self.check(self.default)

    @classmethod
    def of_attribute(cls, owner: Any, name: str, help: str = "", **limits: Any) -> "Variable":
        """A variable that is an attribute of an object, under the same name; its value now is the default.

        @param limits: C{least}, C{most} and C{allowed}.
        @raise ValueError: the value now is not allowed.
        """

        def get() -> Value:
            return getattr(owner, name)  # type: ignore[no-any-return] # its owner knows its type

        return cls(name, get(), help, get=get, set=lambda value: setattr(owner, name, value), **limits)

    @property
    def kind(self) -> type[Value]:
        """The type of its values."""
        return type(self.default)

    def check(self, value: Any) -> Value:
        """A value as the variable holds it: an int becomes a float if that is its type.

        @raise VariableError: the variable does not accept it.
        """
        if self.kind is str:
            fits = isinstance(value, str) and is_utf8(value)
        else:
            fits = type(value) in (int, self.kind) and self.least <= value <= self.most
        if not fits or (self.allowed and value not in self.allowed):
            raise VariableError(f"{self.name}: must be {self.wanted}, not {value!r:.60}")
        return self.kind(value)

    @property
    def wanted(self) -> str:
        """What values it accepts, in words."""
        if self.allowed:
            return " or ".join(map(repr, self.allowed))
        if self.kind is str:
            return "a string that UTF-8 can write"
        return f"{'an integer' if self.kind is int else 'a number'} from {self.least} to {self.most}"


class Values(Mapping[str, Value]):
    """Values of variables by name: of a L{Group}, or of an L{Instance} of one.

    @ivar variables: the definitions of the variables, by name.
    """

    def __init__(self, variables: Mapping[str, Variable]) -> None:
        self.variables = variables

    def set(self, name: str, value: Value) -> Deferred[None] | None:
        """Set a variable.

        @raise UnknownVariable: there is no variable of that name.
        @raise VariableError: it does not take the value. After this and any other error that C{changed} or the
            variable's C{set} raises, the old value is still there.
        """
        return self._change([(name, self.variable(name).check(value))])

    def reset(self) -> Deferred[None] | None:
        """Set all variables to their defaults; those of an instance to the values of its group.

        @raise Exception: whatever C{changed} or a C{set} raises; then nothing is changed.
        """
        return self._change([(name, self._default(name)) for name in self])

    def _change(self, values: Iterable[tuple[str, _Stored]]) -> Deferred[None] | None:
        """Make changes, all or none."""
        raise NotImplementedError

    def variable(self, name: str) -> Variable:
        """The definition of a variable.

        @raise UnknownVariable: there is no variable of that name.
        """
        found = self.variables.get(name)
        if found is None:
            raise UnknownVariable(f"there is no variable {name!r:.60}")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def __len__(self) -> int:
        return len(self.variables)

    def _default(self, name: str) -> _Stored:
        raise NotImplementedError

    def _store(self, name: str, value: _Stored) -> _Stored:
        """Put a value in place, and return what was there."""
        raise NotImplementedError

    def _tell(self, name: str, old: Value, new: Value) -> None:
        """Tell the program that a value has changed."""


class Group(Values, Shareable):
    """The variables of one part of a program, with their values. Made by L{Variables.add}.

    Where it is shared, what changes it or one of its instances returns a Deferred that fires with None once that is
    done; see L{Shareable}.

    @ivar name: its name.
    @ivar instances: its instances, by number; see L{Instance}.
    @ivar instance_gone: called with the number of an instance that has been removed.
    """

    OPERATIONS: ClassVar[dict[str, int]] = {"assign": 1, "make_instance": 1, "delete_instance": 1, "replace": 1}

    def __init__(self, name: str, variables: Iterable[Variable], changed: Changed | None = None) -> None:
        """@raise ValueError: the name is not allowed, or two variables have the same."""
        _check_name(name)
        found: dict[str, Variable] = {}
        for variable in variables:
            if variable.name in found:
                raise ValueError(f"group {name}: there are two variables {variable.name}")
            found[variable.name] = variable
        super().__init__(MappingProxyType(found))
        self.name = name
        self.instances: dict[int, Instance] = {}
        self.instance_gone: Callable[[int], object] = bool
        self._changed = changed
        self._values: dict[str, Value] = {v.name: v.default for v in found.values() if v.get is None}

    def __getitem__(self, name: str) -> Value:
        value = self._values.get(name, UNSET)
        if value is not UNSET:
            return value
        get = self.variable(name).get
        assert get is not None  # else the group would hold the value
        return get()

    def _change(self, values: Iterable[tuple[str, _Stored]]) -> Deferred[None] | None:
        return self.assign([[None, name, value] for name, value in values])

    def assign(self, values: Iterable[Sequence[Any]]) -> Deferred[None] | None:
        """Set variables of the group and of its instances, all or none.

        @param values: for each the number of the instance, None for the group; the name; and the value, None to remove
            the instance's own.
        @raise UnknownVariable, VariableError, Exception: see L{Values.set}; then nothing is changed.
        """
        changes: list[tuple[Values, str, _Stored]] = []
        shared: list[list[Any]] = []
        for id, name, value in values:
            where: Values = self if id is None else self.instance(id)
            variable = where.variable(name)
            own = value is None or value is UNSET
            if own and id is None:
                raise VariableError(f"{name}: must be {variable.wanted}, not None")
            stored = UNSET if own else variable.check(value)
            changes.append((where, name, stored))
            shared.append([id, name, None if own else stored])
        if self.share is not None:
            return self.share.submit("assign", shared)
        _apply(changes)
        return None

    def contents(self) -> dict[str, Any]:
        """The values of the group, and those of each instance of its own, by number."""
        instances = [[id, one.own()] for id, one in sorted(self.instances.items())]
        return {"values": dict(self), "instances": instances}

    def replace(self, contents: dict[str, Any]) -> None:
        """Set all values to what L{contents} has returned; variables that are not in it, or not here, are left as they
        are.

        @raise VariableError, Exception: see L{Values.set}.
        """
        known = [[None, name, value] for name, value in contents["values"].items() if name in self.variables]
        wanted = dict(contents["instances"])
        for id in [id for id in self.instances if id not in wanted]:
            self.delete_instance(id)
        for id, values in wanted.items():
            self.add_instance(id)
            known += [[id, name, values.get(name)] for name in self.variables]
        self.assign(known)

    def touches(self, operation: str, arguments: Sequence[Any]) -> str | None:
        """The variable that a change is about, or the instance."""
        if operation == "assign":
            return f"{arguments[0][0][0]} {arguments[0][0][1]}" if len(arguments[0]) == 1 else None
        return None

    def add_instance(self, id: int) -> "Instance":
        """Make an instance, or return the existing one. Where the group is shared, use L{Variables.add_instance}.

        @param id: its number, 0 to L{MOST_ID}.
        @raise VariableError: the number is not allowed, or there are L{MOST_INSTANCES} others.
        """
        if not 0 <= id <= MOST_ID:
            raise VariableError(f"instance {id!r:.60} of group {self.name}: the number must be from 0 to {MOST_ID}")
        if len(self.instances) >= MOST_INSTANCES and id not in self.instances:
            raise VariableError(f"instance {id} of group {self.name}: at most {MOST_INSTANCES} instances are allowed")
        return self.instances.setdefault(id, Instance(self, id))

    def make_instance(self, id: int) -> Deferred[None] | None:
        """Make an instance unless it exists; see L{add_instance}."""
        if self.share is not None:
            if not 0 <= id <= MOST_ID:
                raise VariableError(f"instance {id!r:.60} of group {self.name}: the number must be from 0 to {MOST_ID}")
            return self.share.submit("make_instance", id)
        self.add_instance(id)
        return None

    def delete_instance(self, id: int) -> Deferred[None] | None:
        """Remove an instance.

        @raise UnknownVariable: it does not exist.
        """
        self.instance(id)
        if self.share is not None:
            return self.share.submit("delete_instance", id)
        del self.instances[id]
        self.instance_gone(id)
        return None

    def instance(self, id: int) -> "Instance":
        """The instance with a number.

        @raise UnknownVariable: it does not exist.
        """
        found = self.instances.get(id)
        if found is None:
            raise UnknownVariable(f"group {self.name} has no instance {id!r:.60}")
        return found

    def _default(self, name: str) -> Value:
        return self.variables[name].default

    def _store(self, name: str, value: _Stored) -> Value:
        assert value is not UNSET  # only an instance can lack one
        old = self[name]
        put = self.variables[name].set
        if put is None:
            self._values[name] = value
        else:
            put(value)
        return old

    def _tell(self, name: str, old: Value, new: Value) -> None:
        if self._changed is not None:
            self._changed(name, old, new)


class Instance(Values):
    """Its own values for some variables of a group; for the others, the values of the group. It holds them itself,
    whatever a variable's C{get} and C{set} are, and C{changed} is not called: read an instance when it is needed.
    """

    def __init__(self, group: Group, id: int) -> None:
        super().__init__(group.variables)
        self._group = group
        self._id = id
        self._values: dict[str, Value] = {}

    def __getitem__(self, name: str) -> Value:
        value = self._values.get(name, UNSET)
        return self._group[name] if value is UNSET else value

    def delete(self, name: str) -> Deferred[None] | None:
        """Remove the instance's own value of a variable, if it has one.

        @raise UnknownVariable: there is no variable of that name.
        """
        return self._change([(self.variable(name).name, UNSET)])

    def own(self) -> dict[str, Value]:
        """Its own values."""
        return dict(self._values)

    def _change(self, values: Iterable[tuple[str, _Stored]]) -> Deferred[None] | None:
        return self._group.assign([[self._id, name, value] for name, value in values])

    def _default(self, name: str) -> _Stored:
        return UNSET

    def _store(self, name: str, value: _Stored) -> _Stored:
        old = self._values.pop(name, UNSET)
        if value is not UNSET:
            self._values[name] = value
        return old


@attrs.frozen
class Change:
    """A delayed change.

    @ivar group: the name of the group.
    @ivar id: the number of the instance; None: the change is to the group itself.
    @ivar name: the name of the variable.
    @ivar old: its value now.
    @ivar new: its value once the change is committed.
    """

    group: str
    id: int | None
    name: str
    old: Value
    new: Value


class Variables(Mapping[str, Group]):
    """All groups by name, in the order in which they were added, and the delayed changes."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}
        self._places: dict[str, str] = {}
        self._delayed: dict[tuple[str, int | None, str], _Stored] = {}

    def add(
        self, name: str, variables: Iterable[Variable], changed: Changed | None = None, replace: bool = False
    ) -> Group:
        """Add a group.

        @param name: of the group; without blanks, colons and brackets.
        @param changed: called with name, old and new value after each change of one of the variables, and once all of
            a commit or a reset are in place. What it raises undoes the change; then it is called again, with the values
            swapped, for the changes that it was told of. It refuses a change by a L{VariableError}, or by a
            L{jsonrpcs_tx.rpc.faults.Fault}, which is the answer to a client's request; anything else is a bug.
        @param replace: it replaces a group of that name, see L{remove}.
        @raise ValueError: a name is not allowed, or is taken, and the message says by whom.
        """
        group = Group(name, variables, changed)
        if name in self._groups:
            if not replace:
                raise ValueError(f"group {name}: registered before by {self._places[name]}")
            self._drop_delayed(name)
        group.instance_gone = partial(self._drop_delayed, name)
        self._groups[name] = group
        self._places[name] = place_outside(__name__)
        return group

    def remove(self, name: str) -> None:
        """Remove a group with its instances and delayed changes. The program may go on using what it holds of it.

        @raise UnknownVariable: there is no such group.
        """
        self.find(name)
        del self._groups[name], self._places[name]
        self._drop_delayed(name)

    def find(self, group: str, id: int | None = None) -> Values:
        """A group, or an instance of it.

        @param id: the number of the instance; None: the group itself.
        @raise UnknownVariable: there is no such group, or no such instance.
        """
        return self[group] if id is None else self[group].instance(id)

    def add_instance(self, group: str, id: int) -> Deferred[None] | None:
        """Make an instance of a group, unless it exists.

        @param id: its number, 0 to L{MOST_ID}.
        @raise UnknownVariable: there is no such group.
        @raise VariableError: see L{Group.add_instance}.
        """
        return self[group].make_instance(id)

    def delete_instance(self, group: str, id: int) -> Deferred[None] | None:
        """Remove an instance of a group, and its delayed changes.

        @raise UnknownVariable: there is no such group, or no such instance.
        """
        return self[group].delete_instance(id)

    def _drop_delayed(self, *key: object) -> None:
        """Drop the delayed changes of a group, or of an instance of it."""
        for delayed in [delayed for delayed in self._delayed if delayed[: len(key)] == key]:
            del self._delayed[delayed]

    def set_delayed(self, group: str, id: int | None, name: str, value: Value) -> None:
        """Schedule a change, in place of an earlier one of the same variable.

        @raise UnknownVariable: there is no such group, instance or variable.
        @raise VariableError: the variable does not take the value, or there are L{MOST_DELAYED} other delayed changes.
        """
        self._delay(group, id, name, self.find(group, id).variable(name).check(value))

    def delete_delayed(self, group: str, id: int, name: str) -> None:
        """Schedule the removal of an instance's own value of a variable, in place of an earlier change of it.

        @raise UnknownVariable: there is no such group, instance or variable.
        @raise VariableError: there are L{MOST_DELAYED} other delayed changes.
        """
        self.find(group, id).variable(name)
        self._delay(group, id, name, UNSET)

    def _delay(self, group: str, id: int | None, name: str, value: _Stored) -> None:
        if len(self._delayed) >= MOST_DELAYED and (group, id, name) not in self._delayed:
            raise VariableError(
                f"{name}: at most {MOST_DELAYED} delayed changes are allowed; commit or drop some first"
            )
        self._delayed[group, id, name] = value

    def commit(self) -> Deferred[None] | None:
        """Make the delayed changes, all or none.

        @return: None; where a group is shared, a Deferred that fires with None. If that fails, the changes stay
            scheduled as well.
        @raise VariableError: changes of a shared group are to be committed together with changes of another group.
        @raise Exception: whatever C{changed} or a variable's C{set} raises; then no value is changed, and the changes
            stay scheduled.
        """
        delayed = self._delayed
        names = {group for group, _, _ in delayed}
        shared = [name for name in names if self[name].share is not None]
        if shared and len(names) > 1:
            raise VariableError(
                f"group {shared[0]} is shared: its changes must be committed without those of other groups"
            )
        self._delayed = {}
        try:
            if shared:
                done = self[shared[0]].assign([[id, name, value] for (_, id, name), value in delayed.items()])
                assert done is not None  # it is shared
                return done.addErrback(self._not_committed, delayed)
            _apply([(self.find(group, id), name, value) for (group, id, name), value in delayed.items()])
        except BaseException:
            self._delayed = {**delayed, **self._delayed}
            raise
        return None

    def _not_committed(self, failure: Failure, delayed: dict[tuple[str, int | None, str], _Stored]) -> Failure:
        self._delayed = {**delayed, **self._delayed}
        return failure

    def rollback(self) -> None:
        """Drop the delayed changes."""
        self._delayed = {}

    def diff(self) -> list[Change]:
        """The delayed changes, in their order."""
        return [
            Change(group, id, name, self.find(group, id)[name], self[group][name] if value is UNSET else value)
            for (group, id, name), value in self._delayed.items()
        ]

    def __getitem__(self, name: str) -> Group:
        found = self._groups.get(name)
        if found is None:
            raise UnknownVariable(f"there is no group {name!r:.60}")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)


def _apply(changes: Iterable[tuple[Values, str, _Stored]]) -> None:
    """Make changes, all or none: first all values are set, then the program is told of each."""
    stored: list[tuple[Values, str, _Stored]] = []
    differences: list[tuple[Values, str, Value, Value]] = []
    told: list[tuple[Values, str, Value, Value]] = []
    try:
        for values, name, value in changes:
            before = values[name]
            stored.append((values, name, values._store(name, value)))
            if values[name] != before:
                differences.append((values, name, before, values[name]))
        for values, name, old, new in differences:
            values._tell(name, old, new)
            told.append((values, name, old, new))
    except BaseException:
        for values, name, former in reversed(stored):
            _undo(name, values._store, name, former)
        for values, name, old, new in reversed(told):
            _undo(name, values._tell, name, new, old)
        raise


def _undo(name: str, step: Callable[..., object], *arguments: object) -> None:
    """Undo one step. A failure must not prevent the other steps."""
    try:
        step(*arguments)
    except Exception:
        _log.failure("variable {variable}: a change could not be undone", variable=name)


def _check_name(name: str) -> None:
    if not name or not name.isprintable() or set(name) & set(" :[]"):
        raise ValueError(f"name {name!r:.60}: must be printable text without blanks, ':', '[' and ']'")
