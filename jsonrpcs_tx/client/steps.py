"""Procedures of several exchanges, shared by both clients: generators that do no I/O.

Such a generator yields a step to do, and is sent its outcome. A client runs it, blocking or with Deferreds.
"""

from collections.abc import Callable, Generator

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import Any, TypeAlias, TypeVar

    S = TypeVar("S")
    Steps: TypeAlias = Generator[S, Any, Any]
    """Yields a step, is sent its outcome, and returns the outcome of all."""


def run(steps: "Steps[S]", do: "Callable[[S], Any]") -> "Any":
    """Run steps, blocking for each.

    @param do: does a step, and returns its outcome.
    """
    try:
        step = next(steps)
        while True:
            step = steps.send(do(step))
    except StopIteration as end:
        return end.value
