"""Settings that can be changed while the server runs: the variables of the groups C{core} and C{jsonrpcs} of cfg.*."""

from typing import TYPE_CHECKING, Any, Final

from jsonrpcs_tx import log
from jsonrpcs_tx.settings import Field, SettingError, fields
from jsonrpcs_tx.variables import Variable, VariableError

if TYPE_CHECKING:
    from jsonrpcs_tx.service import JsonRpcService

LIVE: Final = (
    "dgram_timeout",
    "fifo_timeout",
    "fifo_max_request",
    "http_max_body",
    "http_timeout",
    "max_connections",
    "async_timeout",
    "async_limit",
    "debug",
    "async_limit_client",
)
"""The settings that can be changed while the server runs."""


def add_variables(service: "JsonRpcService") -> None:
    """Make variables of the settings of L{LIVE}; of the log level, which counts for the whole process, in C{core}."""
    level = Variable("debug", log.debug(), least=log.LEAST_DEBUG, most=log.MOST_DEBUG, get=log.debug, set=log.set_debug)
    service.variables.add("core", [level])
    names = set(LIVE) - {"debug"}
    service.variables.add("jsonrpcs", [_variable(service, field) for field in fields() if field.name in names])


def _variable(service: "JsonRpcService", field: Field) -> Variable:
    def get() -> Any:
        return getattr(service.settings, field.name)

    def put(value: Any) -> None:
        try:
            service.change(**{field.name: value})
        except SettingError as error:
            raise VariableError(f"{field.name}: allowed is {error.allowed}, not {value!r:.60}") from None

    return Variable(field.name, get(), field.help, get=get, set=put)
