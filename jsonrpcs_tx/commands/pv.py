"""The commands ``pv.*``: variables that the program shares with its operators, as Kamailio's pv module gives them."""

from typing import Any, Final

from jsonrpcs_tx.rpc.binding import MISSING
from jsonrpcs_tx.rpc.faults import Fault, InvalidParams
from jsonrpcs_tx.rpc.registry import command
from jsonrpcs_tx.state.shared import SharedVariables
from jsonrpcs_tx.state.sharing import after

_PARAMETERS: Final = "(Parameters: varname type value)"


class Pv:
    def __init__(self, shared: SharedVariables) -> None:
        self._shared = shared

    @command("pv.shvGet", changes=False, faults=[Fault(404, "Variable not found")])
    def get(self, name: str | int | float = MISSING) -> dict[str, Any]:
        """Returns a shared variable, or all."""
        if not isinstance(name, str):
            # Kamailio gives an object whose members all have the same name, so JSON readers see only the last one.
            return {"items": [self._show(one) for one in sorted(self._shared)]}
        if name not in self._shared:
            raise Fault(404, "Variable not found")
        return self._show(name)

    @command(
        "pv.shvSet",
        faults=[
            Fault(404, "Variable not found"),
            Fault(500, "Missing parameter"),
            Fault(500, "Missing integer parameter value"),
            Fault(500, "Unknown parameter type (Types: int or str)"),
        ],
    )
    def set(
        self,
        name: str | int | float = MISSING,
        kind: str | int | float = MISSING,
        value: str | int | float = MISSING,
    ) -> str:
        """Sets a shared variable that exists: its type is int or str."""
        if not isinstance(name, str):
            raise Fault(500, f"Missing parameter varname {_PARAMETERS}")
        if not isinstance(kind, str):
            raise Fault(500, f"Missing parameter type {_PARAMETERS}")
        try:
            done = self._shared.set(name, _read(kind, value))
        except KeyError:
            raise Fault(404, "Variable not found") from None
        except ValueError as error:
            raise InvalidParams(str(error)) from None
        return after(done, lambda _: "Ok. Variable set to new value.")

    def _show(self, name: str) -> dict[str, Any]:
        value = self._shared[name]
        return {"name": name, "type": "int" if isinstance(value, int) else "string", "value": value}


def _read(kind: str, value: str | int | float) -> int | str:
    """The value for a variable of a type.

    @raise Fault: it is missing or of another type, or there is no such type.
    @raise InvalidParams: it is not a whole number.
    """
    if kind == "int":
        if value is MISSING:
            raise Fault(500, f"Missing integer parameter value {_PARAMETERS}")
        if isinstance(value, str) or value != int(value):
            raise InvalidParams("value must be a whole number")
        return int(value)
    if kind == "str":
        if not isinstance(value, str) or value is MISSING:
            raise Fault(500, f"Missing parameter value {_PARAMETERS}")
        return value
    raise Fault(500, "Unknown parameter type (Types: int or str)")
