"""The call in progress, as the call stack and the context tell it."""

import inspect
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

from twisted.internet import defer
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import ReactorBase

from jsonrpcs_tx.rpc.call import CURRENT, Call, run_in
from jsonrpcs_tx.rpc.coroutines import RESUME
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.rpc.envelope import Request
from jsonrpcs_tx.rpc.runner import Runner

_ANSWER: Final = Dispatcher.answer.__code__
_CALL: Final = Dispatcher.call.__code__
_RUN: Final = (run_in.__code__, Runner.run.__code__, Runner.wait_in.__code__)
"""The functions that run others in the context of a call."""

_RESUME: Final = (defer._inlineCallbacks.__code__, *RESUME)  # noqa: SLF001 # frames tell nothing else
"""The functions that resume a coroutine, in the context in which that began: Twisted's and ours."""

_REACTOR: Final = (ReactorBase.runUntilCurrent.__code__, AsyncioSelectorReactor._readOrWrite.__code__)  # noqa: SLF001
"""The functions of the reactor that call what was asked of it. Under asyncio they run in the context of any call."""


def current_call() -> Call | None:
    """The call on whose behalf the calling code runs; None outside of one, and once the call is answered.

    It is known in whatever a command calls, after each C{await} of an C{async def}, and in the coroutines that it
    begins; not in threads, nor in what the reactor calls by itself, such as timers. A command that returns a Deferred
    has to say so in its annotation; otherwise its call may be known only until it returns.
    """
    call = CURRENT.get()
    for frame in _stack(inspect.currentframe()):
        if frame.f_code in _REACTOR:
            return None
        if frame.f_code in _RUN or (frame.f_code in _RESUME and call is not None):
            break
        if frame.f_code is _ANSWER:
            known = frame.f_locals
            if known.get("command") is not None and known.get("call") is None:  # a plain command
                known["self"].follow_calls()
                call = Call(known["request"], known["origin"])
            break
    return None if call is None or call.is_over else call


def command_of(frame: FrameType | None) -> str | None:
    """The command on whose behalf a frame of the call stack runs, as the client has named it; None if there is no such
    frame.
    """
    for one in _stack(frame):
        if one.f_code is _ANSWER:
            request: Any = one.f_locals["request"]
            return request.method if type(request) is Request else "invalid request"
        if one.f_code is _CALL:
            return str(one.f_locals["method"])
    return None


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
