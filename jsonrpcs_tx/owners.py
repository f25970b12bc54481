"""Users and groups of this machine, by name or number."""

import grp
import os
import pwd
import re
from collections.abc import Callable
from typing import Final

MAX_ID: Final = 2**32 - 2
"""The highest number of a user or group; the next one stands for nobody."""

CAP_CHOWN: Final = 0
"""The number of the capability to give files to others."""
CAP_DAC_OVERRIDE: Final = 1
"""The number of the capability to use files whatever their modes are."""

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


def may_give(uid: int, gid: int) -> bool:
    """Whether this process may give its files to a user and a group.

    @param uid: the number of the user; -1: the files stay this process's.
    @param gid: the number of the group; -1: that of the process.
    """
    to_itself = uid in (-1, os.geteuid()) and gid in (-1, os.getegid(), *os.getgroups())
    return to_itself or has_capability(CAP_CHOWN)


def has_capability(capability: int) -> bool:
    """Whether this process has a capability (capabilities(7)).

    @param capability: its number.
    """
    try:
        with open("/proc/self/status", "rb") as file:
            effective = re.search(rb"^CapEff:\s*([0-9a-f]+)$", file.read(), re.MULTILINE)
    except OSError:
        effective = None
    return not os.geteuid() if effective is None else bool(int(effective[1], 16) >> capability & 1)


def _number(owner: str, look_up: Callable[[str], int]) -> int:
    if not re.fullmatch("[0-9]+", owner):
        try:
            return look_up(owner)
        except KeyError:
            raise UnknownOwner(repr(owner), "does not exist here") from None
    if len(owner) > _MAX_DIGITS or int(owner) > MAX_ID:
        raise UnknownOwner(owner, "is too high")
    return int(owner)
