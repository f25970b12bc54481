"""Twisted objects that programs hand over, in types that every type checker can read: those that do not know
zope.interface see neither that a C{Clock} provides C{IReactorTime}, nor that a checker provides C{ICredentialsChecker}.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.interfaces import IReactorTime


class TellsTime(Protocol):
    """What has the methods of C{IReactorTime}: a reactor, or C{twisted.internet.task.Clock}."""

    def seconds(self) -> float:
        """The time in seconds since any fixed point."""

    def callLater(self, delay: Any, function: Callable[..., Any], /, *args: Any, **kw: Any) -> Any:
        """Call a function after some seconds; return an C{IDelayedCall}."""

    def getDelayedCalls(self) -> Any:
        """The calls that are still to come."""


class ChecksPasswords(Protocol):
    """What has the method of C{ICredentialsChecker}: any checker of twisted.cred."""

    def requestAvatarId(self, credentials: Any, /) -> Any:
        """The name of the user, or a Deferred of it; fails with C{UnauthorizedLogin}."""


Reactor: TypeAlias = IReactorTime | TellsTime
"""A reactor. What listens or connects needs more of it than time, as the reactors of Twisted have."""

Checker: TypeAlias = ICredentialsChecker | ChecksPasswords
"""A checker of twisted.cred."""
