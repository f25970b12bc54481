"""The files that twistd makes for a server: its log and its pid file."""

import errno
import os
from contextlib import suppress

import attrs

from jsonrpcs_tx.errors import NotAllowed, StartError
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.logs.daemon import DaemonLog
from jsonrpcs_tx.owners import User
from jsonrpcs_tx.problems import Problems
from jsonrpcs_tx.safefiles import check_links

_log = make_logger(__name__)


@attrs.define
class TwistdFiles:
    """The log and the pid file of a process of twistd.

    @ivar pid: the path of the pid file; empty: no pid file.
    @ivar log: the log in place of twistd's; None: C{--logger} makes another one, or there is no twistd.
    """

    pid: str = ""
    log: DaemonLog | None = None

    def _log_path(self) -> str:
        """The path of the log; empty: it is not a file."""
        return "" if self.log is None or self.log.path in ("", "-") else os.path.abspath(self.log.path)

    def check(self, problems: Problems) -> None:
        """Check that they can be written.

        @param problems: takes what is wrong.
        """
        if self.log is not None:
            with problems.noted():
                self.log.check()
        for option, path in (("--logfile", self._log_path()), ("--pidfile", self.pid)):
            if path:
                with problems.noted():
                    _check_writable(option, path)

    def check_as(self, user: User, problems: Problems) -> None:
        """Check that the user as which the process will run can open the log again.

        @param problems: takes what is wrong.
        """
        log = self._log_path()
        reason = user.obstacle(log, os.F_OK) if log else None
        if reason is None and os.path.isfile(log) and os.stat(log).st_uid != os.geteuid():
            reason = user.obstacle(log, os.R_OK | os.W_OK)  # it cannot be handed over
        if reason is not None:
            problems.note(StartError("twistd --logfile", log, reason, "a file that this user can read and write"))

    def hand_over(self, user: User) -> None:
        """Give the files that twistd has made as root to the user as which the process will run."""
        for path in filter(None, (self._log_path(), self.pid)):
            with suppress(OSError, NotAllowed):
                check_links(path)
                user.take(path)
        if os.path.isfile(self.pid):
            reason = user.obstacle_to_removal(self.pid)
            if reason is not None:
                _log.warn("{path} cannot be removed at the stop: {reason}", path=self.pid, reason=reason)


def _check_writable(option: str, path: str) -> None:
    """@raise StartError: a file cannot be made or written."""
    path = os.path.abspath(path)
    directory = os.path.dirname(path)
    if os.path.isdir(path):
        number = errno.EISDIR
    elif not os.path.isdir(directory):
        number = errno.ENOENT
    elif not os.access(path if os.path.lexists(path) else directory, os.W_OK, effective_ids=True):
        number = errno.EACCES
    else:
        return
    allowed = f"a path that the process can write, twistd {option}=PATH; or another working directory"
    raise StartError(f"twistd {option}", path, os.strerror(number), allowed)
