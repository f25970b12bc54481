"""The log of ``twistd jsonrpcs``, in place of the one that twistd makes: its file, or what else takes it."""

import os
import pwd
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from twisted.logger import ILogObserver, LogLevel
from twisted.python.failure import Failure

from jsonrpcs_tx.appendfile import AppendFile
from jsonrpcs_tx.errors import SettingError, StartError
from jsonrpcs_tx.journal import SOCKET as JOURNAL
from jsonrpcs_tx.journal import Journal
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.logs import syslog
from jsonrpcs_tx.logs.entries import Entry
from jsonrpcs_tx.logs.formats import journal_fields, json_line, syslog_lines, text_line
from jsonrpcs_tx.logs.observer import Observer

_log = make_logger(__name__)

Writer: TypeAlias = Callable[[Entry], object]
"""Writes an entry, or raises OSError."""

IDENTIFIER: Final = "jsonrpcs"
"""Of the program, for syslog and the journal, unless twistd's C{--prefix} gives another."""

_LINES: Final = {"text": text_line, "json": json_line}
_SYSTEM: Final = {"journald": JOURNAL, "syslog": syslog.SOCKET}


class DaemonLog:
    """The log of a process of twistd.

    @param log_format: the setting.
    @param twistd: twistd's own options: C{logfile}, C{nodaemon}, C{debug}, C{uid}, C{gid}, C{syslog} and C{prefix}.
        C{--syslog} is another way to say C{log_format = "syslog"}.
    @ivar file: the file that the observer appends to; None where it does not write to one.
    @raise SettingError: the format goes with one of these options no more than the options with each other.
    """

    def __init__(self, log_format: str, twistd: Mapping[str, Any]) -> None:
        self._twistd = twistd
        self.file: AppendFile | None = None
        if twistd["syslog"]:
            if log_format in ("json", "journald"):
                raise SettingError("log_format", log_format, "syslog with twistd's --syslog")
            log_format = "syslog"
        if twistd["logfile"] and log_format not in _LINES:
            raise SettingError("log_format", log_format, f"{' or '.join(_LINES)} with twistd's --logfile")
        self._format = log_format
        self._identifier = IDENTIFIER if twistd["prefix"] == "twisted" else twistd["prefix"]

    def observer(self) -> ILogObserver:
        """Open the log, and make the observer that writes it, which twistd starts with its first line. From then on,
        an error that nothing handles is one entry as well, before it ends the process.

        @raise StartError: the file cannot be opened, or nothing takes the entries.
        """
        write = self._write_lines() if self._format in _LINES else self._write_entries()
        sys.excepthook = _log_last_error
        return Observer(write)

    def _write_lines(self) -> Writer:
        line = _LINES[self._format]
        path, foreground = self._twistd["logfile"], self._twistd["nodaemon"] or self._twistd["debug"]
        if path == "-" and not foreground:
            raise StartError(
                "logfile", path, "a daemon has no standard output", "a file, or -n to run in the foreground"
            )
        if path == "-" or (foreground and not path):
            output = -1 if sys.__stdout__ is None else sys.__stdout__.fileno()  # twistd puts the log in its place
            return lambda entry: _write_all(output, line(entry))
        path = path or "twistd.log"
        try:
            is_new = not os.path.exists(path)
            file = self.file = AppendFile(path)
            if is_new:
                self._give_away(file.path)
        except OSError as error:
            raise StartError(
                "logfile", os.path.abspath(path), error.strerror, "a file that can be written to"
            ) from None
        return lambda entry: file.write(line(entry))

    def _give_away(self, path: str) -> None:
        """Have a file that was made before twistd changes its user belong to that user, who opens it again."""
        uid, gid = self._twistd["uid"], self._twistd["gid"]
        if uid is not None and gid is None:
            gid = pwd.getpwuid(uid).pw_gid  # as twistd does
        if (uid, gid) != (None, None):
            os.chown(path, -1 if uid is None else uid, -1 if gid is None else gid)

    def _write_entries(self) -> Writer:
        self._check_listener(_SYSTEM[self._format])
        name = self._identifier
        if self._format == "journald":
            journal = Journal()
            return lambda entry: journal.send(journal_fields(entry, name))
        daemon = syslog.Syslog()

        def write(entry: Entry) -> None:
            for line in syslog_lines(entry, name):
                daemon.send(line)

        return write

    def _check_listener(self, path: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(path)
            except OSError as error:
                raise StartError("log_format", path, error.strerror, f"{self._format} where it runs") from None


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _log_last_error(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    _log.failure("the server ends, because of an error in it", Failure(error, kind, traceback), LogLevel.critical)
