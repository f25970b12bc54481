"""Whether a running server can do its work, as load balancers ask, and if not, why."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

METHOD: Final = "jsonrpc.health"
"""The command that gives the report. Only callers that may call it learn more than the status."""

MAX_REASONS: Final = 20
"""The most reasons of a check that are reported; of further ones, only the number."""

_STATUSES: Final = ("pass", "warn", "fail")
"""From the best to the worst."""

Check = Callable[[], Iterable[str]]
"""Gives the reasons for a failure; none if all is well. It must be fast: it runs for each request."""


@attrs.frozen
class _Entry:
    check: Check
    fatal: bool


class Health:
    """The checks of a server, by name.

    @ivar stopping: the server is stopping, so it must get no more requests, whatever the checks say.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._checks: dict[str, _Entry] = {}

    def add(self, name: str, check: Check, fatal: bool = True) -> None:
        """Add a check; it replaces one of that name.

        @param check: gives reasons in words, see L{Check}. What it raises is a reason.
        @param fatal: the server counts as failing while there is a reason; if not, there is only a warning.
        """
        self._checks[name] = _Entry(check, fatal)

    def remove(self, name: str) -> None:
        """Remove a check.

        @raise KeyError: there is none of that name.
        """
        del self._checks[name]

    def report(self) -> dict[str, Any]:
        """Run all checks.

        @return: C{status}, which is C{pass}, C{warn} or C{fail}, the worst of all checks, and C{checks} by name, each
            with its own C{status}, and with C{reasons} where that is not C{pass}. With C{warn} the server does its work
            (draft-inadarei-api-health-check).
        """
        checks = {name: self._run(name, entry) for name, entry in self._checks.items()}
        if self.stopping:
            checks["server"] = _outcome("fail", ["it is stopping"])
        worst = max((outcome["status"] for outcome in checks.values()), key=_STATUSES.index, default=_STATUSES[0])
        return {"status": worst, "checks": checks}

    def _run(self, name: str, entry: _Entry) -> dict[str, Any]:
        try:
            reasons = [str(reason) for reason in entry.check()]
        except Exception as error:
            _log.warn("the check {name} of health failed: {error!r}", name=name, error=error)
            reasons = [f"the check failed: {type(error).__name__}: {error}"]
        if not reasons:
            return _outcome("pass", [])
        return _outcome("fail" if entry.fatal else "warn", reasons)


def _outcome(status: str, reasons: list[str]) -> dict[str, Any]:
    if not reasons:
        return {"status": status}
    if len(reasons) > MAX_REASONS:
        reasons = [*reasons[:MAX_REASONS], f"and {len(reasons) - MAX_REASONS} more"]
    return {"status": status, "reasons": reasons}
