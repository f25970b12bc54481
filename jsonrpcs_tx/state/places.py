"""Who has registered something: the place in the program, for messages."""

import inspect
from types import FrameType


def place_outside(module: str) -> str:
    """The innermost place on the call stack outside a module: another module, with file and line.

    @param module: the dotted name of the module that asks.
    """
    frame: FrameType | None = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") in (module, __name__):
        frame = frame.f_back
    if frame is None:
        return "an unknown place"
    return f"{frame.f_globals.get('__name__')} ({frame.f_code.co_filename}:{frame.f_lineno})"
