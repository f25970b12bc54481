"""``twistd jsonrpcs``: the options, made from the settings, and the service for them."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.python import usage

from jsonrpcs_tx import compose
from jsonrpcs_tx.config import modparams
from jsonrpcs_tx.config.files import ConfigError, read_toml
from jsonrpcs_tx.config.settings import Field, Settings, fields, from_values
from jsonrpcs_tx.errors import SettingError, StartError
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.service import JsonRpcService
from jsonrpcs_tx.state.memory import give_back_large_blocks

_log = make_logger(__name__)


class Refusal(SystemExit, Exception):
    """Ends twistd with one line instead of a traceback. It is also an Exception, so that a daemon's parent is told."""


class Options(usage.Options):
    """The options of C{twistd jsonrpcs}: one for each setting, and the files that settings are read from.

    An option takes precedence over C{--config}, which takes precedence over C{--modparams}.

    @ivar settings: the settings, once the options are parsed.
    @ivar own: what was given otherwise than by C{--modparams}.
    @ivar taken: what was taken from the file of C{--modparams}; None without one.
    """

    synopsis = "[options]"
    longdesc = "A JSON-RPC management server that speaks what Kamailio's jsonrpcs module speaks."
    optParameters = [
        ["config", "c", None, "TOML file with settings: dgram_socket = [...]"],
        ["modparams", None, None, 'kamailio.cfg to read settings from: its lines modparam("jsonrpcs", ...)'],
    ]

    settings: Settings
    taken: modparams.Taken | None

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Any] = {}
        self.own: dict[str, Any] = {}
        self.taken = None

    def postOptions(self) -> None:
        defaults = {field.name: field.daemon for field in fields() if field.daemon != field.default}
        try:
            self.own = (read_toml(self["config"]) if self["config"] is not None else {}) | self.given
            if self["modparams"] is not None:
                self.taken = _take(self["modparams"], self.own, defaults)
                defaults = {**defaults, **modparams.DEFAULTS, **self.taken.values}
            self.settings = from_values(defaults | self.own)
        except (SettingError, ConfigError) as error:
            raise self.refusal(error) from None

    def refusal(self, error: Exception) -> Refusal:
        """What to end with because of an error; it says where in a kamailio.cfg the setting is that is wrong."""
        place = ""
        if isinstance(error, SettingError) and self.taken is not None and error.name not in self.own:
            place = self.taken.place(error.name, error.value)
        return Refusal(f"jsonrpcs: {place}{error}")


def _take(path: str, own: Mapping[str, Any], defaults: Mapping[str, Any]) -> modparams.Taken:
    """What a kamailio.cfg says.

    @param own: settings that are given otherwise; they say how to read it, and which families are loaded.
    @param defaults: settings without it.
    """
    how = from_values({name: value for name, value in own.items() if name.startswith("modparams_")})
    taken = modparams.read_modparams(path, how.modparams_version, how.modparams_define, how.modparams_modules)
    load = own.get("load", taken.values.get("load", defaults["load"]))
    return taken.of_families(from_values({"load": load}).load)


def _option(field: Field) -> Any:
    """The method by which usage.Options takes an option."""
    if field.kind.flag:

        def take_flag(self: Options) -> None:
            self.given[field.name] = True

        method: Any = take_flag
    elif field.kind.several:

        def take_one_more(self: Options, value: str) -> None:
            self.given.setdefault(field.name, []).append(value)

        method = take_one_more
    else:

        def take(self: Options, value: str) -> None:
            self.given[field.name] = value

        method = take
    method.__doc__ = f"{field.help} [default: {field.kind.show(field.daemon)}]"
    return method


for _field in fields():
    setattr(Options, f"opt_{_field.name}", _option(_field))

Options.opt_A = Options.opt_modparams_define  # type: ignore[attr-defined] # made above


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except StartError as error:
        raise Refusal(f"jsonrpcs: {error}") from None


class _DaemonService(MultiService):
    """Ends with one line where the start fails, and has the server read its files again at SIGHUP."""

    server: JsonRpcService

    def privilegedStartService(self) -> None:
        with _one_line():
            super().privilegedStartService()

    def startService(self) -> None:
        with _one_line():
            super().startService()
        signal.signal(signal.SIGHUP, lambda number, frame: self.server.reactor.callFromThread(self.server.reloads.run))


def makeService(options: Options) -> IService:
    """The service of C{twistd jsonrpcs}. Modules of commands are looked for in the working directory, too."""
    give_back_large_blocks()
    parent = _DaemonService()
    if options.settings.commands and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        server = compose.makeService(options.settings)
    except (SettingError, StartError, ValueError, TypeError) as error:
        raise options.refusal(error) from None
    if options.taken is not None:
        _log_taken(options.taken)
    parent.server = server
    server.setServiceParent(parent)
    return parent


def _log_taken(taken: modparams.Taken) -> None:
    _log.info("took {count} settings from {path}", count=len(taken.parameters), path=taken.path)
    for one in taken.unknown:
        message = "{path}: line {line}: ignored {name}, an unknown parameter of {module}"
        _log.warn(message, path=one.path, line=one.line, name=one.name, module=one.module)
