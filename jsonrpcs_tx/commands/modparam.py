"""The commands ``modparam.*``: the settings of the server, as parameters of Kamailio's modules."""

from collections.abc import Callable
from typing import Any, Final

from jsonrpcs_tx.config.settings import Field, Settings, fields
from jsonrpcs_tx.errors import SettingError
from jsonrpcs_tx.rpc.faults import Fault, InvalidParams
from jsonrpcs_tx.rpc.registry import command

_UNKNOWN: Final = (Fault(404, "Module Not Found"), Fault(404, "Parameter Not Found"))
"""The faults where a setting is not found."""


class Modparam:
    """
    @param settings: returns the current settings.
    @param change: sets one, given by its name; raises SettingError.
    """

    def __init__(self, settings: Callable[[], Settings], change: Callable[..., None]) -> None:
        self._settings = settings
        self._change = change

    @command("modparam.list", changes=False, faults=[Fault(404, "Module Not Found")])
    def list_parameters(self, module: str = "") -> list[dict[str, Any]]:
        """Lists the settings, all or those of a module, with type and value."""
        found = [field for field in fields() if module in ("", field.module)]
        if not found:
            raise Fault(404, "Module Not Found")
        return [self._show(field) for field in found]

    @command(
        "modparam.getn",
        changes=False,
        faults=[*_UNKNOWN, Fault(488, "Parameter Is Not A Number")],
    )
    def get_number(self, module: str, name: str) -> dict[str, Any]:
        """Returns a setting that is a number."""
        field = _find(module, name)
        if not isinstance(self._value(field), int):
            raise Fault(488, "Parameter Is Not A Number")
        return self._show(field)

    @command(
        "modparam.gets",
        changes=False,
        faults=[*_UNKNOWN, Fault(488, "Parameter Is Not A String")],
    )
    def get_string(self, module: str, name: str) -> dict[str, Any]:
        """Returns a setting that is a string."""
        field = _find(module, name)
        if not isinstance(self._value(field), str):
            raise Fault(488, "Parameter Is Not A String")
        return self._show(field)

    @command(
        "modparam.setn",
        faults=[
            *_UNKNOWN,
            Fault(488, "Parameter Is Not A Number"),
            Fault(488, "Parameter Cannot Be Changed At Run Time"),
        ],
    )
    def set_number(self, module: str, name: str, value: int) -> str:
        """Sets a setting that is a number and can be changed while the server runs."""
        field = _find(module, name)
        if not isinstance(self._value(field), int):
            raise Fault(488, "Parameter Is Not A Number")
        if not field.variable:
            raise Fault(488, "Parameter Cannot Be Changed At Run Time")
        try:
            self._change(**{name: value})
        except SettingError as error:
            raise InvalidParams(f"{name}: {value!r:.60} is not allowed; allowed: {error.allowed}") from None
        return "Ok. Parameter set to new value."

    def _value(self, field: Field) -> int | str:
        """A number, or the text as in settings files."""
        value = field.kind.public(getattr(self._settings(), field.name))
        if isinstance(value, int):
            return int(value)
        return " ".join(map(str, value)) if isinstance(value, tuple) else field.kind.show(value)

    def _show(self, field: Field) -> dict[str, Any]:
        value = self._value(field)
        kind = "int" if isinstance(value, int) else "string"
        return {"module": field.module, "name": field.name, "type": kind, "value": value}


def _find(module: str, name: str) -> Field:
    """@raise Fault: there is no such module, or no such setting in it."""
    found = [field for field in fields() if field.module == module]
    if not found:
        raise Fault(404, "Module Not Found")
    for field in found:
        if field.name == name:
            return field
    raise Fault(404, "Parameter Not Found")
