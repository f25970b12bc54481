"""``twistd jsonrpcs``: the options, made from the settings, and the service for them."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.python import usage

from jsonrpcs_tx import compose
from jsonrpcs_tx.config.files import ConfigError, read_modparams, read_toml
from jsonrpcs_tx.config.settings import Field, Settings, fields, from_values
from jsonrpcs_tx.errors import SettingError, StartError
from jsonrpcs_tx.service import JsonRpcService
from jsonrpcs_tx.state.memory import give_back_large_blocks


class Refusal(SystemExit, Exception):
    """Ends twistd with one line instead of a traceback. It is also an Exception, so that a daemon's parent is told."""


class Options(usage.Options):
    """The options of C{twistd jsonrpcs}: one for each setting, and the files that settings are read from.

    An option takes precedence over C{--config}, which takes precedence over C{--modparams}.

    @ivar settings: the settings, once the options are parsed.
    """

    synopsis = "[options]"
    longdesc = "A JSON-RPC management server that speaks what Kamailio's jsonrpcs module speaks."
    optParameters = [
        ["config", "c", None, "TOML file with settings: dgram_socket = [...]"],
        ["modparams", None, None, 'kamailio.cfg to read settings from: its lines modparam("jsonrpcs", ...)'],
    ]

    settings: Settings

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Any] = {}

    def postOptions(self) -> None:
        values = {field.name: field.daemon for field in fields() if field.daemon != field.default}
        try:
            if self["modparams"] is not None:
                values |= read_modparams(self["modparams"])
            if self["config"] is not None:
                values |= read_toml(self["config"])
            self.settings = from_values(values | self.given)
        except (SettingError, ConfigError) as error:
            raise Refusal(f"jsonrpcs: {error}") from None


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
    """The service of C{twistd jsonrpcs}. Modules of commands are also looked for in the working directory."""
    give_back_large_blocks()
    parent = _DaemonService()
    if options.settings.commands and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        server = compose.makeService(options.settings)
    except (SettingError, StartError, ValueError, TypeError) as error:
        raise Refusal(f"jsonrpcs: {error}") from None
    parent.server = server
    server.setServiceParent(parent)
    return parent
