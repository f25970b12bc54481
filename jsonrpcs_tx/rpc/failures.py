"""How a failed command is reported: to a client as an error, and to the program as a fault."""

from typing import Final, NamedTuple

from msgspec import UNSET
from twisted.internet.defer import CancelledError

from jsonrpcs_tx.access.auditentries import CANCELLED, NO_ANSWER, NOT_SENT, TIMED_OUT
from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.log import make_logger, report
from jsonrpcs_tx.rpc.binding import Mismatch
from jsonrpcs_tx.rpc.coroutines import needs_asyncio
from jsonrpcs_tx.rpc.delayed import TimedOut
from jsonrpcs_tx.rpc.envelope import Dialect
from jsonrpcs_tx.rpc.errors import Error, error_of, explained, with_data
from jsonrpcs_tx.rpc.faults import Fault, InvalidParams, NodeFault
from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.rpc.registry import Command

_log = make_logger(__name__)

_ASYNCIO: Final = "use its reactor (twistd --reactor=asyncio)"
_CANCELLED: Final = Error(500, "Command Cancelled")
_GATEWAY_TIMEOUT: Final = 504


class Told(NamedTuple):
    """What a client is told.

    @ivar error: the error of the reply.
    @ivar kind: what it is counted as: the same without reasons and data.
    @ivar outcome: see L{jsonrpcs_tx.rpc.replies.Reply}.
    """

    error: Error
    kind: Error
    outcome: str = ""


def told(error: BaseException | None, command: Command, dialect: Dialect, caller: Caller | Origin) -> Told:
    """What a client is told when a command has raised something. The log has the rest.

    An exception that a command may raise again and again loses its traceback, which would grow each time.

    @param error: anything; perhaps a L{Fault} that is not valid.
    @param caller: who has called it, for the log.
    """
    try:
        if isinstance(error, Fault):
            error.__traceback__ = None
            return _of_fault(error, command)
        if isinstance(error, InvalidParams):
            error.__traceback__ = None
            return _of_invalid_params(error, command, dialect, caller)
        if isinstance(error, CancelledError):
            return Told(_CANCELLED, _CANCELLED, CANCELLED)
        assert error is not None
        report(_log, "{caller}: command {command} failed", error, caller=caller, command=command.name)
        if needs_asyncio(error):
            kind = Error(500, f"{command.name} awaits asyncio, whose loop does not run: {_ASYNCIO}")
            _log.error("{text}", text=kind.text)
            return Told(kind, kind)
    except BaseException as another:
        report(_log, "the fault of command {command} cannot be answered", another, command=command.name)
    return Told(dialect.internal_error, dialect.internal_error)


class Raised(NamedTuple):
    """What a call by the program raises.

    @ivar kind: what it is counted as.
    """

    fault: Fault
    kind: Error


def raised(error: BaseException | None, command: Command, dialect: Dialect, caller: Caller | Origin) -> Raised:
    """What a call by the program raises when its command has raised something.

    @param caller: who has called it, for the log.
    @return: a fault as it is; else one with the code and text that clients are told, with the reason why parameters are
        refused, and the exception as its cause.
    """
    answer = told(error, command, dialect, caller)
    if isinstance(error, Fault):
        return Raised(error, answer.kind)
    code, text, data = answer.kind.code, answer.kind.text, None
    if isinstance(error, InvalidParams) and error.reason:
        text, data = f"{text}: {error.reason}", error.data()
    fault = Fault(code, text, data)
    fault.__cause__ = error
    return Raised(fault, answer.kind)


def fault_of(error: Error, what: str = "") -> Raised:
    """What a call by the program raises for an error of the server's own.

    @param what: what it is about, for the text.
    """
    return Raised(Fault(error.code, f"{error.text}: {what}" if what else error.text), error)


def _of_invalid_params(invalid: InvalidParams, command: Command, dialect: Dialect, caller: Caller | Origin) -> Told:
    """Parameters that do not fit the command, or that it refuses."""
    _log.debug("{caller}: {command}: {reason}", caller=caller, command=command.name, reason=invalid.reason)
    error = dialect.invalid_params
    mismatch = isinstance(invalid, Mismatch)
    if isinstance(invalid, Mismatch) and invalid.usage and command.options.usage is not None:
        error = command.options.usage
    kind = Error(error.code, error.text)
    if dialect.reason_in_text:
        if invalid.reason and not mismatch:
            error = explained(error, invalid.reason)
    elif error.data is UNSET:
        error = with_data(error, invalid.data())
    return Told(error, kind)


def _of_fault(fault: Fault, command: Command) -> Told:
    """A fault, without data that JSON cannot express."""
    error = kind = error_of(fault)
    try:
        error = with_data(kind, getattr(fault, "data", None))
    except BaseException as another:
        report(_log, "the data of a fault of command {command} is left out", another, command=command.name)
    return Told(error, kind, outcome_of(fault))


def outcome_of(fault: object) -> str:
    """How a call that raised a fault has ended, see L{jsonrpcs_tx.rpc.replies.Reply}."""
    if isinstance(fault, NodeFault):
        return NOT_SENT if not fault.sent else TIMED_OUT if fault.code == _GATEWAY_TIMEOUT else NO_ANSWER
    return TIMED_OUT if isinstance(fault, TimedOut) else ""
