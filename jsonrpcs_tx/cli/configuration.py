"""The program's own configuration: profiles of servers, and where to look for others.

It is read from C{/etc/jsonrpcs/config.toml} and from C{jsonrpcs/config.toml} in C{$XDG_CONFIG_HOME} (C{~/.config}),
which overrides the first.
"""

import os
from functools import cache

from jsonrpcs_tx.cli.exits import UsageError
from jsonrpcs_tx.cli.userdirs import user_directory

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SYSTEM = "/etc/jsonrpcs/config.toml"

_TARGET_OPTIONS = ("tls_ca", "tls_certificate", "tls_private_key", "reply_dir")
_PASSWORDS = ("password", "password_file", "password_command", "password_prompt")


class Profile:
    """A server by name.

    @ivar name: the name of the profile.
    @ivar path: the path of its file.
    @ivar target: where the server is, as text.
    @ivar options: the options of the target, without the user and the password.
    @ivar user: the user for HTTP(S), or None.
    @ivar password: where the password is from: one of C{password}, C{password_file}, C{password_command} and
        C{password_prompt}, with its value; None if there is no password.
    @ivar timeout: seconds that a call may take; None: the default.
    """

    def __init__(self, name: str, path: str, values: "dict[str, Any]") -> None:
        """@raise UsageError: a value is not allowed."""
        self.name = name
        self.path = path
        place = f"{path}: profiles.{name}"
        known = _checked(place, values, _PROFILE)
        if "target" not in known:
            raise UsageError(
                f"{place}: target is missing; allowed: a URL, such as unix:/run/kamailio/kamailio_rpc.sock"
            )
        self.target: str = known["target"]
        self.options: dict[str, str] = {option: known[option] for option in _TARGET_OPTIONS if option in known}
        self.user: str | None = known.get("user")
        given = [(kind, known[kind]) for kind in _PASSWORDS if known.get(kind)]
        if len(given) > 1:
            raise UsageError(f"{place}: {' and '.join(kind for kind, _ in given)} are given; allowed: one of them")
        if given and self.user is None:
            raise UsageError(f"{place}: a password without a user; allowed: user and password")
        self.password: tuple[str, Any] | None = given[0] if given else None
        self.timeout: float | None = known.get("timeout")


class Configuration:
    """The values of all configuration files.

    @ivar profiles: the profiles by name.
    @ivar default: the name of the profile to use if no server is named; empty: not set.
    @ivar default_path: the path of the file that sets C{default}.
    @ivar run_dirs: directories in which Kamailio's socket and FIFO may be.
    @ivar kamailio_cfgs: paths of Kamailio's configuration.
    @ivar paths: the paths of the configuration files, which need not exist.
    """

    def __init__(self) -> None:
        self.profiles: dict[str, Profile] = {}
        self.default = ""
        self.default_path = ""
        self.run_dirs = ["/run/kamailio"]
        self.kamailio_cfgs = ["/etc/kamailio/kamailio.cfg", "/usr/local/etc/kamailio/kamailio.cfg"]
        self.paths = (SYSTEM, f"{user_directory('XDG_CONFIG_HOME', '~/.config')}/jsonrpcs/config.toml")

    def profile(self, name: str, origin: str = "") -> Profile:
        """The profile with a name.

        @param origin: where the name comes from, for messages; empty: the command line.
        @raise UsageError: there is no such profile.
        """
        found = self.profiles.get(name)
        if found is None:
            from jsonrpcs_tx.client.targets import ALLOWED
            from jsonrpcs_tx.errors import without_passwords

            place = f"{origin}: " if origin else ""
            shown = without_passwords(name)
            raise UsageError(
                f"{place}{shown or repr(shown)}: neither a target nor a profile; allowed: {self._names()}{ALLOWED}"
                f"{self._meant(shown)}"
            )
        return found

    def _meant(self, name: str) -> str:
        """What somebody may have meant who wrote what is neither a target nor a profile, as the end of a message."""
        from jsonrpcs_tx.catalogue import nearest
        from jsonrpcs_tx.client.targets import SCHEMES

        scheme, colon, rest = name.partition(":")
        if name.startswith("/") or (name and os.path.exists(name)):
            meant = [f"unix:{name}", f"fifo:{name}"]
        elif colon:  # unixd: for instance, which is kamcmd's
            meant = [f"{one}:{rest}" for one in nearest(scheme, SCHEMES, 1)]
        else:
            meant = nearest(name, tuple(self.profiles), 1) if self.profiles else []
        return f"; did you mean {' or '.join(meant)}?" if meant else ""

    def add(self, path: str, values: "dict[str, Any]") -> None:
        """Add the values of a file, which override earlier ones.

        @raise UsageError: a value is not allowed.
        """
        known = _checked(path, values, _TOP)
        if "default" in known:
            self.default, self.default_path = known["default"], path
        self.run_dirs = known.get("run_dirs", self.run_dirs)
        self.kamailio_cfgs = known.get("kamailio_cfgs", self.kamailio_cfgs)
        for name, profile in known.get("profiles", {}).items():
            if not isinstance(profile, dict):
                raise UsageError(f"{path}: profiles.{name} is not a table; allowed: [profiles.{name}]")
            self.profiles[name] = Profile(name, path, profile)

    def _names(self) -> str:
        """The names of the profiles for a message."""
        return "".join(f"{name}, " for name in self.profiles)


@cache
def read() -> Configuration:
    """Read the configuration files, once. A file that does not exist is skipped.

    @raise UsageError: a file cannot be used.
    """
    configuration = Configuration()
    for path in configuration.paths:
        if os.path.lexists(path):
            from jsonrpcs_tx.cli.privatefiles import read_toml

            configuration.add(path, read_toml(path))
    return configuration


def _checked(place: str, values: "dict[str, Any]", kinds: "dict[str, _Kind]") -> "dict[str, Any]":
    """Check the values of a table.

    @raise UsageError: a setting is unknown, or its value is not allowed.
    """
    for name, value in values.items():
        if name not in kinds:
            raise UsageError(f"{place}: unknown setting {name}; allowed: {', '.join(kinds)}")
        is_one, allowed = kinds[name]
        if not is_one(value):
            shown = "" if name == "password" else f": {value!r:.100}"
            raise UsageError(f"{place}: {name}{shown} is not allowed; allowed: {allowed}")
    return values


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_seconds(value: object) -> bool:
    return type(value) in (int, float) and 0 < value <= 86_400  # type: ignore[operator] # a number


_TEXT = (_is_text, "a text that is not empty")
_LIST = (_is_list_of_texts, "a list of paths")
_FLAG = (lambda value: isinstance(value, bool), "true or false")
_TABLE = (lambda value: isinstance(value, dict), "tables [profiles.NAME]")
_SECONDS = (_is_seconds, "seconds above 0, at most 86400")
_PROFILE: "dict[str, _Kind]" = {
    "target": _TEXT,
    "user": _TEXT,
    "password": _TEXT,
    "password_file": _TEXT,
    "password_command": _TEXT,
    "password_prompt": _FLAG,
    **dict.fromkeys(_TARGET_OPTIONS, _TEXT),
    "timeout": _SECONDS,
}
_TOP: "dict[str, _Kind]" = {"default": _TEXT, "profiles": _TABLE, "run_dirs": _LIST, "kamailio_cfgs": _LIST}

if TYPE_CHECKING:
    _Kind = tuple[Callable[[object], bool], str]
