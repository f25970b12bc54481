"""The commands ``cfg.*``: variables, as Kamailio's cfg_rpc module gives them."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jsonrpcs_tx.catalogue.compatibility import Compatibility
from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.faults import Fault, InvalidParams
from jsonrpcs_tx.rpc.registry import command
from jsonrpcs_tx.state.sharing import after
from jsonrpcs_tx.state.variables import MOST_ID, Change, UnknownVariable, Value, Variable, VariableError, Variables

_GET_USAGE: Final = Error(500, "Failed to get the parameters")
_GET: Final = "Failed to get the variable"
_SET: Final = "Failed to set the variable"
_DELETE: Final = "Failed to delete the value"
_HELP: Final = "Failed to get the variable description"
_COMMIT: Final = "Failed to commit the changes"
_RESET: Final = "Reset failed"
_ADD_INSTANCE: Final = "Failed to add the group instance"
_DELETE_INSTANCE: Final = "Failed to delete the group instance"
_INSTANCE: Final = Error(400, 'Wrong group syntax. Use "group[id]"')
_GROUP: Final = Error(400, 'Wrong group syntax. Use either "group", or "group[id]"')
_SET_FAULTS: Final = (Fault(400, _SET), _GROUP)

_TYPES: Final = {int: "integer", float: "double", str: "string"}
_INTEGER: Final = re.compile(r"\s*[+-]?[0-9]{1,20}", re.ASCII)
_DOUBLE: Final = re.compile(r"\s*[+-]?[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)

_Done = dict[str, Any]
"""The reply of a command without a result: an empty struct."""


class Cfg:
    """A group is named C{group}, or C{group[id]} for an instance of it. What changes a group that servers share returns
    a Deferred.
    """

    def __init__(self, variables: Variables, compatibility: Compatibility) -> None:
        self._variables = variables
        self._compatibility = compatibility

    @command("cfg.list", changes=False)
    def list_variables(self, group: str = "") -> list[str]:
        """Lists the variables, all or those of a group, each as group: name."""
        found = (known for known in self._variables.values() if group in ("", known.name))
        return [f"{known.name}: {name}" for known in found for name in known]

    @command("cfg.help", changes=False, faults=[Fault(400, _HELP)])
    def help(self, group: str, name: str) -> str | dict[str, str]:
        """Returns what a variable does, and its type."""
        with _failing(_HELP):
            variable = self._variables[group].variable(name)
        if self._compatibility.help_as_record:
            return {"desc": variable.help, "type": _TYPES[variable.kind]}
        # The description is the first of two lines, which gets lost over JSON-RPC.
        return f"(parameter type is {_TYPES[variable.kind]})"

    @command("cfg.get", usage=_GET_USAGE, changes=False, faults=[Fault(400, _GET), _GROUP])
    def get(self, group: str, name: str = "") -> Value | dict[str, Value]:
        """Returns a variable, or all of a group by name; nothing if there is no such group."""
        group, id = _parse_group(group)
        if not name and group not in self._variables:
            return {}
        with _failing(_GET):
            values = self._variables.find(group, id)
            return values[name] if name else dict(values)

    @command("cfg.set", faults=_SET_FAULTS)
    def set(self, group: str, name: str, value: int | float | str) -> _Done:
        """Sets a variable."""
        return self._set(group, name, value)

    @command("cfg.seti", faults=_SET_FAULTS)
    @command("cfg.set_now_int", faults=_SET_FAULTS)
    def set_int(self, group: str, name: str, value: int) -> _Done:
        """Sets a variable to an integer."""
        return self._set(group, name, value)

    @command("cfg.sets", faults=_SET_FAULTS)
    @command("cfg.set_now_string", faults=_SET_FAULTS)
    def set_string(self, group: str, name: str, value: str) -> _Done:
        """Sets a variable to a string, or to the number that it spells."""
        return self._set(group, name, value, spelled=True)

    @command("cfg.set_delayed", faults=_SET_FAULTS)
    def set_delayed(self, group: str, name: str, value: int | float | str) -> _Done:
        """Schedules a variable to be set by cfg.commit."""
        return self._set(group, name, value, delayed=True)

    @command("cfg.set_delayed_int", faults=_SET_FAULTS)
    def set_delayed_int(self, group: str, name: str, value: int) -> _Done:
        """Schedules a variable to be set to an integer by cfg.commit."""
        return self._set(group, name, value, delayed=True)

    @command("cfg.set_delayed_string", faults=_SET_FAULTS)
    def set_delayed_string(self, group: str, name: str, value: str) -> _Done:
        """Schedules a variable to be set by cfg.commit to a string, or to the number that it spells."""
        return self._set(group, name, value, spelled=True, delayed=True)

    @command("cfg.commit", faults=[Fault(400, _COMMIT)])
    def commit(self) -> _Done:
        """Makes the scheduled changes, all or none."""
        return _made(_COMMIT, self._variables.commit)

    @command("cfg.rollback")
    def rollback(self) -> _Done:
        """Drops the scheduled changes."""
        self._variables.rollback()
        return {}

    @command("cfg.diff", changes=False)
    def diff(self) -> dict[str, Any] | list[dict[str, Any]]:
        """Returns the scheduled change; if there are several, all in a list."""
        changes = [_member(change) for change in self._variables.diff()]
        # Kamailio gives the last one in any case.
        if len(changes) > 1:
            return changes
        return changes[0] if changes else {}

    @command("cfg.reset", faults=[Fault(500, _RESET), _GROUP])
    def reset(self, group: str) -> _Done:
        """Sets the variables of a group to their defaults, those of an instance to the values of its group."""
        group, id = _parse_group(group)
        return _made(_RESET, lambda: self._variables.find(group, id).reset(), 500)

    @command("cfg.del", faults=[Fault(400, _DELETE), _INSTANCE])
    def delete(self, group: str, name: str) -> _Done:
        """Removes the value of a variable from an instance of a group, which then has that of the group."""
        group, id = _parse_instance(group)
        return _made(_DELETE, lambda: self._variables[group].instance(id).delete(name))

    @command("cfg.del_delayed", faults=[Fault(400, _DELETE), _INSTANCE])
    def delete_delayed(self, group: str, name: str) -> _Done:
        """Schedules the value of a variable to be removed from an instance of a group by cfg.commit."""
        group, id = _parse_instance(group)
        with _failing(_DELETE):
            self._variables.delete_delayed(group, id, name)
        return {}

    @command("cfg.add_group_inst", faults=[Fault(400, _ADD_INSTANCE), _INSTANCE])
    def add_group_instance(self, group: str) -> _Done:
        """Makes an instance of a group, unless it exists."""
        group, id = _parse_instance(group)
        return _made(_ADD_INSTANCE, lambda: self._variables.add_instance(group, id))

    @command("cfg.del_group_inst", faults=[Fault(400, _DELETE_INSTANCE), _INSTANCE])
    def delete_group_instance(self, group: str) -> _Done:
        """Removes an instance of a group, and its scheduled changes."""
        group, id = _parse_instance(group)
        return _made(_DELETE_INSTANCE, lambda: self._variables.delete_instance(group, id))

    def _set(self, group: str, name: str, value: Any, spelled: bool = False, delayed: bool = False) -> _Done:
        group, id = _parse_group(group)
        with _failing(_SET):
            values = self._variables.find(group, id)
            variable = values.variable(name)
            converted = _read(variable, value) if spelled else _convert(variable, value)
        if delayed:
            return _made(_SET, lambda: self._variables.set_delayed(group, id, name, converted))
        return _made(_SET, lambda: values.set(name, converted))


@contextmanager
def _failing(text: str, code: int = 400) -> Iterator[None]:
    """Answer a failure with Kamailio's text, and the reason if a value is at fault."""
    try:
        yield
    except UnknownVariable:
        raise Fault(code, text) from None
    except VariableError as error:
        raise Fault(code, f"{text}: {error}") from None


def _made(text: str, change: Callable[[], object], code: int = 400) -> _Done:
    """Make a change.

    @return: the reply; where servers share what is changed, a Deferred of it.
    @raise Fault: see L{_failing}.
    """

    def failed(failure: Failure) -> NoReturn:
        with _failing(text, code):
            failure.raiseException()

    with _failing(text, code):
        done = change()
    if isinstance(done, Deferred):
        done.addErrback(failed)
    return after(done, lambda _: {})


def _convert(variable: Variable, value: Value) -> Value:
    """Convert a number to text for a string, as in Kamailio, and a whole one to an integer; text is not a number."""
    if isinstance(value, float) and value.is_integer() and variable.kind is not float:
        value = int(value)
    if variable.kind is str:
        return str(value)
    if isinstance(value, str) or (variable.kind is int and isinstance(value, float)):
        raise InvalidParams
    return value


def _read(variable: Variable, text: str) -> Value:
    """The value that text spells; blanks before a number are ignored, as in Kamailio."""
    if variable.kind is str:
        return text
    if not (_INTEGER if variable.kind is int else _DOUBLE).fullmatch(text):
        raise Fault(400, _SET)
    return variable.kind(text)


def _member(change: Change) -> dict[str, Any]:
    return {
        "group name": change.group,
        **({} if change.id is None else {"group id": change.id}),
        "variable name": change.name,
        "old value": change.old,
        "new value": change.new,
    }


def _parse_instance(text: str) -> tuple[str, int]:
    """The name and the number of C{group[id]}."""
    match = re.fullmatch(r"(.+)\[\+?([0-9]{1,20})\]", text, re.ASCII | re.DOTALL)
    if match is None or int(match[2]) > MOST_ID:
        raise Fault(_INSTANCE.code, _INSTANCE.text)
    return match[1], int(match[2])


def _parse_group(text: str) -> tuple[str, int | None]:
    """The name, and for an instance its number, of C{group} or C{group[id]}."""
    if not text.endswith("]"):
        return text, None
    try:
        return _parse_instance(text)
    except Fault:
        raise Fault(_GROUP.code, _GROUP.text) from None
