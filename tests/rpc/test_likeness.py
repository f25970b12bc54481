"""Functions that are found to be alike have the same signatures, so that these are read once."""

import inspect
import itertools
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import attrs
import pytest

from jsonrpcs_tx.rpc.call import Call
from jsonrpcs_tx.rpc.likeness import likeness_of
from jsonrpcs_tx.rpc.registry import Registry, command

KINDS = ("def", "async def")
PARAMETERS = (
    *("", "a", "b", "a, b", "a, /", "*a", "a=1", "a=True", "a=1.0", "a=0.0", "a=-0.0", "a='1'", "a=None"),
    *("a: int", "a: str", "a: int = 1", "a: bool = True", "a: list[int]", "a: list[bool]", "a: list[list[int]]"),
    *("a: int, b: str = 'x'", "a: str, b: int = 1", "a, b: int", "a: int, b", "*a: int", "*a: str", "call: Call"),
    *("a: First", "a: Second", "a: None", "a, *b", "a: dict[str, int]"),
)
RETURNS = ("", "-> int", "-> str", "-> bytes", "-> list[bytes]", "-> None")
UNLIKE = ("a: 'int'", "a: Literal[1]", "a: int | str", "a: Annotated[int, 1]", "a=()", "a=b''", "a: Any")


@attrs.frozen
class First:
    """Equal to all that has its name."""

    value: int


Second = type("First", (First,), {})


def made(kind: str, parameters: str, returned: str, of: str = "function") -> Callable[..., Any]:
    """A function that is written so."""
    names: dict[str, Any] = {
        "Annotated": Annotated,
        "Any": Any,
        "Call": Call,
        "First": First,
        "Literal": Literal,
        "Second": Second,
    }
    if of == "function":
        exec(f"{kind} made({parameters}) {returned}: pass", names)
        return names["made"]  # type: ignore[no-any-return] # it is one
    exec(f"class Made:\n    {kind} made(self, {parameters}) {returned}: pass", names)
    return names["Made"]().made  # type: ignore[no-any-return] # it is one


def test_alike() -> None:
    """Two functions are alike if and only if they are written in the same way."""
    written = list(itertools.product(KINDS, PARAMETERS, RETURNS, ("function", "method")))
    likenesses: dict[object, object] = {}
    for one in written:
        likeness = likeness_of(made(*one))
        assert likeness is not None
        assert likeness_of(made(*one)) == likeness
        assert likenesses.setdefault(likeness, one) == one
    assert len(likenesses) == len(written)


@pytest.mark.parametrize("parameters", UNLIKE)
def test_unlike(parameters: str) -> None:
    """A function with an annotation or a default that is not plain is like no other."""
    assert likeness_of(made("def", parameters, "")) is None


def test_not_plain() -> None:
    """So is what is not just a function, or says that it is another."""

    def wrapper() -> None:
        """Is another."""

    wrapper.__signature__ = inspect.signature(made)  # type: ignore[attr-defined] # any function may have it
    for one in (wrapper, print, Registry, itertools.count(), Call.__repr__.__get__):
        assert likeness_of(one) is None  # type: ignore[arg-type] # not all can be called


def test_commands_keep_their_own() -> None:
    """Commands with the same signature keep their own functions, help, options and secrets."""

    @command("a.one", secret=["text"])
    def one(text: str) -> str:
        """One."""
        return f"one {text}"

    @command("a.two", interval=1)
    def two(text: str) -> str:
        """Two."""
        return f"two {text}"

    @command("a.three")
    async def three(text: str) -> str:
        """Three."""
        return f"three {text}"

    table = Registry(one, two, three).table
    assert [table[name].help for name in table] == ["One.", "Two.", "Three."]
    assert [table[name].function for name in table] == [one, two, three]
    assert [table[name].concealment.hides("text") for name in table] == [True, False, False]
    assert [table[name].plain for name in table] == [True, False, False]
    assert [table[name].asynchronous for name in table] == [False, False, True]


def test_errors_of_each() -> None:
    """A function that cannot be a command is refused each time, by its own name."""
    for name in ("a.one", "a.two"):

        @command(name)
        def refused(**values: int) -> Awaitable[int]:
            raise NotImplementedError

        with pytest.raises(TypeError, match=rf"command {name}: .*refused .*: parameter \*\*values"):
            Registry(refused)
