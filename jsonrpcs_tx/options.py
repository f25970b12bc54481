"""``twistd jsonrpcs``: the options, made from the settings, and the service for them."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import attrs
from twisted.application.service import IService, MultiService
from twisted.python import usage

from jsonrpcs_tx import compose
from jsonrpcs_tx.config.files import ConfigError, read_modparams, read_toml
from jsonrpcs_tx.config.settings import Field, Settings, fields, from_values
from jsonrpcs_tx.errors import SettingError, StartError
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.owners import User
from jsonrpcs_tx.service import JsonRpcService
from jsonrpcs_tx.state.memory import give_back_large_blocks

_log = make_logger(__name__)


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
            self.settings = self._in_its_directory(from_values(values | self.given))
        except (SettingError, ConfigError) as error:
            raise Refusal(f"jsonrpcs: {error}") from None

    def _in_its_directory(self, settings: Settings) -> Settings:
        """The settings for a process that changes to another directory at its start (C{twistd --rundir}), before which
        files are read.
        """
        twistd: Mapping[str, Any] = self.parent or {}
        directory = twistd.get("rundir", ".")
        if os.path.samefile(directory, "."):
            return settings
        return attrs.evolve(settings, run_dir=os.path.abspath(os.path.join(directory, settings.run_dir)))


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


@attrs.frozen
class _TwistdFiles:
    """The files that twistd makes by itself, as root if root starts it.

    @ivar log: the path of the log; empty: it goes elsewhere.
    @ivar pid: the path of the file with the id of the process; empty: there is none.
    """

    log: str = ""
    pid: str = ""

    @classmethod
    def of(cls, twistd: Mapping[str, Any]) -> "_TwistdFiles":
        """@param twistd: its options."""
        log = twistd.get("logfile") or ("" if twistd.get("nodaemon") else "twistd.log")
        if log == "-" or twistd.get("syslog"):
            log = ""
        return cls(log and os.path.abspath(log), twistd.get("pidfile") or "")

    def check(self, user: User) -> None:
        """@raise StartError: the user that the process becomes will not be able to open the log again."""
        reason = user.obstacle(self.log, os.F_OK) if self.log else None
        if reason is None and os.path.isfile(self.log) and os.stat(self.log).st_uid != os.geteuid():
            reason = user.obstacle(self.log, os.R_OK | os.W_OK)  # it cannot be handed over
        if reason is not None:
            raise StartError("logfile", self.log, reason, "a file that this user can read and write")

    def hand_over(self, user: User) -> None:
        """Give the files to the user that the process becomes."""
        for path in filter(None, (self.log, self.pid)):
            with suppress(OSError):
                user.take(path)
        if os.path.isfile(self.pid):
            reason = user.obstacle_to_removal(self.pid)
            if reason is not None:
                _log.warn("{path} stays behind at the stop: {reason}", path=self.pid, reason=reason)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except StartError as error:
        raise Refusal(f"jsonrpcs: {error}") from None


class _DaemonService(MultiService):
    """Ends with one line where the start fails, and has the server read its files again at SIGHUP."""

    server: JsonRpcService
    own_files: _TwistdFiles

    def privilegedStartService(self) -> None:
        with _one_line():
            if self.server.user is not None:
                self.own_files.hand_over(self.server.user)
            super().privilegedStartService()

    def startService(self) -> None:
        with _one_line():
            super().startService()
        signal.signal(signal.SIGHUP, lambda number, frame: self.server.reactor.callFromThread(self.server.reloads.run))


def makeService(options: Options) -> IService:
    """The service of C{twistd jsonrpcs}. Modules of commands are looked for in the working directory, too."""
    give_back_large_blocks()
    twistd: Mapping[str, Any] = options.parent or {}
    parent = _DaemonService()
    parent.own_files = _TwistdFiles.of(twistd)
    if options.settings.commands and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        server = compose.makeService(options.settings, uid=twistd.get("uid"), gid=twistd.get("gid"))
        if server.user is not None:
            parent.own_files.check(server.user)
    except (SettingError, StartError, ValueError, TypeError) as error:
        raise Refusal(f"jsonrpcs: {error}") from None
    parent.server = server
    server.setServiceParent(parent)
    return parent
