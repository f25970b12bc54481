"""Users and groups of this machine, by name or number."""

import grp
import pwd
import re
from collections.abc import Callable
from typing import Final

MAX_ID: Final = 2**32 - 2
"""The highest number of a user or group; the next one stands for nobody."""

_MAX_DIGITS: Final = len(str(MAX_ID))


class UnknownOwner(ValueError):
    """There is no such user or group.

    @ivar shown: the name or number, for messages.
    @ivar reason: what is wrong with it, in words.
    """

    def __init__(self, shown: str, reason: str) -> None:
        super().__init__(f"{shown} {reason}")
        self.shown = shown
        self.reason = reason


def uid_of(user: str | int) -> int:
    """The number of a user.

    @param user: a name, or a number, which may be a string of digits.
    @raise UnknownOwner: there is no such user.
    """
    return _number(str(user), lambda name: pwd.getpwnam(name).pw_uid)


def gid_of(group: str | int) -> int:
    """The number of a group; see L{uid_of}."""
    return _number(str(group), lambda name: grp.getgrnam(name).gr_gid)


def _number(owner: str, look_up: Callable[[str], int]) -> int:
    if not re.fullmatch("[0-9]+", owner):
        try:
            return look_up(owner)
        except KeyError:
            raise UnknownOwner(repr(owner), "does not exist here") from None
    if len(owner) > _MAX_DIGITS or int(owner) > MAX_ID:
        raise UnknownOwner(owner, "is too high")
    return int(owner)
