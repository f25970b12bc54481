"""The log of ``twistd jsonrpcs``, in place of twistd's own: its file, or another destination."""

import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from twisted.logger import ILogObserver, LogLevel
from twisted.python.failure import Failure

from jsonrpcs_tx.appendfile import AppendFile
from jsonrpcs_tx.errors import NotAllowed, SettingError, StartError
from jsonrpcs_tx.journal import SOCKET as JOURNAL
from jsonrpcs_tx.journal import Journal
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.logs import syslog
from jsonrpcs_tx.logs.entries import Entry
from jsonrpcs_tx.logs.formats import journal_fields, json_line, syslog_lines, text_line
from jsonrpcs_tx.logs.observer import Observer
from jsonrpcs_tx.safefiles import check_links, open_log

_log = make_logger(__name__)

Writer: TypeAlias = Callable[[Entry], object]
"""Writes an entry, or raises OSError."""

IDENTIFIER: Final = "jsonrpcs"
"""Of the program, for syslog and the journal, unless twistd's C{--prefix} gives another."""

FILE: Final = "twistd.log"
"""The default log of a daemon, in its working directory."""

_OPTION: Final = "twistd --logfile"
_LINES: Final = {"text": text_line, "json": json_line}
_SYSTEM: Final = {"journald": JOURNAL, "syslog": syslog.SOCKET}


class DaemonLog:
    """The log of a process of twistd.

    @param log_format: the setting.
    @param twistd: twistd's own options: C{logfile}, C{nodaemon}, C{debug}, C{syslog} and C{prefix}.
        C{--syslog} is another way to say C{log_format = "syslog"}.
    @raise SettingError: the format does not go with one of these options.
    @ivar path: of the file that the log goes to; C{-}: standard output; empty: neither.
    @ivar file: the file, once it is open.
    """

    def __init__(self, log_format: str, twistd: Mapping[str, Any]) -> None:
        if twistd["syslog"]:
            if log_format in ("json", "journald"):
                raise SettingError("log_format", log_format, "syslog with twistd's --syslog")
            log_format = "syslog"
        if twistd["logfile"] and log_format not in _LINES:
            raise SettingError("log_format", log_format, f"{' or '.join(_LINES)} with twistd's --logfile")
        self._twistd = twistd
        self._format = log_format
        self._in_foreground = twistd["nodaemon"] or twistd["debug"]
        usual = "-" if self._in_foreground else FILE
        self.path: str = (twistd["logfile"] or usual) if log_format in _LINES else ""
        self.file: AppendFile | None = None

    def check(self) -> None:
        """Check that the log has a destination, without opening it.

        @raise StartError: it has no destination.
        """
        if self.path == "-" and not self._in_foreground:
            allowed = "a file, or -n to stay in the foreground"
            raise StartError(_OPTION, self.path, "a daemon has no standard output", allowed)
        if self.path not in ("", "-"):
            try:
                check_links(self.path)
            except NotAllowed as error:
                raise StartError(_OPTION, os.path.abspath(self.path), error.reason, error.allowed) from None
        if not self.path:
            path = _SYSTEM[self._format]
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                try:
                    probe.connect(path)
                except OSError as error:
                    raise StartError("log_format", path, error.strerror, f"{self._format} where it runs") from None

    def observer(self) -> ILogObserver:
        """Open the log, and make the observer that writes it, which twistd starts with its first line. From then on,
        an error that nothing handles is one entry as well, before it ends the process.

        @raise StartError: the file cannot be opened.
        """
        write = self._write_lines() if self.path else self._write_entries()
        sys.excepthook = _log_last_error
        return Observer(write)

    def _write_lines(self) -> Writer:
        line = _LINES[self._format]
        if self.path == "-":
            output = -1 if sys.__stdout__ is None else sys.__stdout__.fileno()  # twistd puts the log in its place
            return lambda entry: _write_all(output, line(entry))
        try:
            file = self.file = AppendFile(self.path, opener=open_log)
        except NotAllowed as error:
            raise StartError(_OPTION, os.path.abspath(self.path), error.reason, error.allowed) from None
        except OSError as error:
            path = os.path.abspath(self.path)
            raise StartError(_OPTION, path, error.strerror, "a path that the process can write") from None
        return lambda entry: file.write(line(entry))

    def _write_entries(self) -> Writer:
        prefix = self._twistd["prefix"]
        identifier = IDENTIFIER if prefix == "twisted" else prefix  # which is twistd's default
        if self._format == "journald":
            journal = Journal()
            return lambda entry: journal.send(journal_fields(entry, identifier))
        daemon = syslog.Syslog()

        def write(entry: Entry) -> None:
            for line in syslog_lines(entry, identifier):
                daemon.send(line)

        return write


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _log_last_error(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    _log.failure("the server ends because of an error in it", Failure(error, kind, traceback), LogLevel.critical)
