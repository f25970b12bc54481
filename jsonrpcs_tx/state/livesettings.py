"""Settings that clients can change: the variables of the groups C{core} and C{jsonrpcs} of cfg.*."""

from collections.abc import Callable
from typing import Any

from jsonrpcs_tx import log
from jsonrpcs_tx.config.settings import Field, Settings, fields
from jsonrpcs_tx.errors import SettingError
from jsonrpcs_tx.state.variables import Variable, VariableError, Variables


def add_variables(variables: Variables, settings: Callable[[], Settings], change: Callable[..., None]) -> None:
    """Make variables of the live settings, with the log level, which is that of the whole process, in C{core}.

    @param settings: returns the current settings.
    @param change: sets a setting, given by its name; raises SettingError.
    """
    level = Variable(
        "debug",
        log.debug(),
        "debug level",
        least=log.LEAST_DEBUG,
        most=log.MOST_DEBUG,
        get=log.debug,
        set=lambda debug: change(debug=debug),
    )
    variables.add("core", [level])
    live = [field for field in fields() if field.variable and field.name != "debug"]
    variables.add("jsonrpcs", [_variable(field, settings, change) for field in live])


def _variable(field: Field, settings: Callable[[], Settings], change: Callable[..., None]) -> Variable:
    def get() -> Any:
        return getattr(settings(), field.name)

    def put(value: Any) -> None:
        try:
            change(**{field.name: value})
        except SettingError as error:
            raise VariableError(f"{field.name}: {value!r:.60} is not allowed; allowed: {error.allowed}") from None

    return Variable(field.name, get(), field.help, get=get, set=put)
