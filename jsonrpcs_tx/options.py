"""``twistd jsonrpcs``: the options, made from the settings, and the service for them."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver
from twisted.python import usage

from jsonrpcs_tx import compose
from jsonrpcs_tx.appendfile import AppendFile
from jsonrpcs_tx.config.files import ConfigError, read_modparams, read_toml
from jsonrpcs_tx.config.settings import Field, Settings, fields, from_values
from jsonrpcs_tx.errors import SettingError, StartError
from jsonrpcs_tx.logs.daemon import DaemonLog
from jsonrpcs_tx.service import JsonRpcService
from jsonrpcs_tx.state.memory import give_back_large_blocks


class Refusal(SystemExit, Exception):
    """Ends twistd with one line instead of a traceback. It is also an Exception, so that a daemon's parent is told."""


class Options(usage.Options):
    """The options of C{twistd jsonrpcs}: one for each setting, and the files that settings are read from.

    An option takes precedence over C{--config}, which takes precedence over C{--modparams}.

    @ivar settings: the settings, once the options are parsed.
    @ivar log: the log in place of twistd's; None where C{--logger} makes another, and outside twistd.
    """

    synopsis = "[options]"
    longdesc = "A JSON-RPC management server that speaks what Kamailio's jsonrpcs module speaks."
    optParameters = [
        ["config", "c", None, "TOML file with settings: dgram_socket = [...]"],
        ["modparams", None, None, 'kamailio.cfg to read settings from: its lines modparam("jsonrpcs", ...)'],
    ]

    settings: Settings
    log: DaemonLog | None = None

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
            if self.parent is not None and not self.parent["logger"]:
                self.log = DaemonLog(self.settings.log_format, self.parent)
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
    """Ends with one line where the start fails, and has twistd log as the settings say, from its first line on.

    @ivar observer: takes the log; None: twistd's own.
    """

    observer: ILogObserver | None = None

    def setServiceParent(self, parent: Any) -> None:
        if self.observer is not None:
            parent.setComponent(ILogObserver, self.observer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        with _one_line():
            super().privilegedStartService()

    def startService(self) -> None:
        with _one_line():
            super().startService()


def _reopen_log(server: JsonRpcService, file: AppendFile | None) -> None:
    """Have the server open its log again with its other files."""
    if file is not None:

        def reopen() -> str:
            file.reopen()
            return file.path

        server.reopens.add("logs", reopen)


def _take_signals(server: JsonRpcService) -> None:
    """Have the server open its files again at SIGUSR1, as logrotate asks for, and at SIGHUP also read files again. What
    comes before the reactor runs is done when it does.
    """

    def reopen(number: int, frame: FrameType | None) -> None:
        server.reactor.callFromThread(server.reopens.run)

    def reload(number: int, frame: FrameType | None) -> None:
        server.reactor.callFromThread(server.reopens.run)
        server.reactor.callFromThread(server.reloads.run)

    signal.signal(signal.SIGUSR1, reopen)
    signal.signal(signal.SIGHUP, reload)


def makeService(options: Options) -> IService:
    """The service of C{twistd jsonrpcs}. Modules of commands are looked for in the working directory, too."""
    give_back_large_blocks()
    parent = _DaemonService()
    if options.settings.commands and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        server = compose.makeService(options.settings)
        if options.log is not None:
            parent.observer = options.log.observer()
            _reopen_log(server, options.log.file)
    except (SettingError, StartError, ValueError, TypeError) as error:
        raise Refusal(f"jsonrpcs: {error}") from None
    server.setServiceParent(parent)
    _take_signals(server)  # before twistd writes its pid file, by which it gets them
    return parent
