"""Variables that a program and its operators share, as Kamailio's C{$shv(name)}: an integer or a string each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from twisted.internet.defer import Deferred

from jsonrpcs_tx.state.sharing import Shareable

MOST_LENGTH = 1_000_000
"""Characters that a string may have."""


class SharedVariables(Shareable, Mapping[str, int | str]):
    """The variables by name. The program defines them; operators see and set those that exist.

    They do that with C{pv.shvGet} and C{pv.shvSet}::

        service.shared.define("maintenance", 0)
        if service.shared["maintenance"]: ...

    Where servers share them, setting one returns a Deferred that fires with None once that is done; see L{Shareable}.
    """

    OPERATIONS: ClassVar[dict[str, int]] = {"set": 2, "replace": 1}

    def __init__(self) -> None:
        self._values: dict[str, int | str] = {}

    def define(self, name: str, value: int | str = 0) -> None:
        """Define a variable with its first value.

        @raise ValueError: the name is taken, or the value is not allowed.
        """
        if name in self._values:
            raise ValueError(f"shared variable {name}: there is one of that name already; set it, or remove it first")
        self._values[name] = _checked(name, value)

    def set(self, name: str, value: int | str) -> Deferred[None] | None:
        """Set a variable that exists; it may change from an integer to a string, and back.

        @raise KeyError: there is none of that name.
        @raise ValueError: the value is not allowed.
        """
        if name not in self._values:
            raise KeyError(name)
        checked = _checked(name, value)
        if self.share is not None:
            return self.share.submit("set", name, checked)
        self._values[name] = checked
        return None

    def contents(self) -> dict[str, int | str]:
        """The value of each."""
        return dict(self._values)

    def replace(self, contents: dict[str, int | str]) -> None:
        """Set those that exist here to what L{contents} has returned.

        @raise ValueError: a value is not allowed; then nothing is changed.
        """
        self._values |= {name: _checked(name, value) for name, value in contents.items() if name in self._values}

    def touches(self, operation: str, arguments: Sequence[Any]) -> str | None:
        """The name of the variable that a change is about."""
        return arguments[0] if operation == "set" else None

    def remove(self, name: str) -> None:
        """Remove a variable.

        @raise KeyError: there is none of that name.
        """
        del self._values[name]

    def __getitem__(self, name: str) -> int | str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def read_definition(text: str) -> tuple[str, int | str]:
    """The name and the first value of C{NAME=i:NUMBER} or C{NAME=s:TEXT}, as the setting C{shvset} has it."""
    name, _, value = text.partition("=")
    kind, _, spelled = value.partition(":")
    return name, int(spelled) if kind == "i" else spelled


def _checked(name: str, value: int | str) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"shared variable {name}: must be an integer or a string, not {value!r:.60}")
    if isinstance(value, str) and len(value) > MOST_LENGTH:
        raise ValueError(f"shared variable {name}: at most {MOST_LENGTH} characters are allowed, not {len(value)}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"shared variable {name}: must be an integer of 64 bits, not {value!r:.60}")
    return value
