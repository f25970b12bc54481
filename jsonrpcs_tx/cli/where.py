"""Finds the servers that a command line names."""

import os

from jsonrpcs_tx.cli.exits import NothingFound, UsageError
from jsonrpcs_tx.client.blocking import TIMEOUT, Client
from jsonrpcs_tx.client.targets import SCHEMES, Target, TargetError, parse_target

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jsonrpcs_tx.cli.parser import Arguments
    from jsonrpcs_tx.client.core import Reply

VARIABLE = "JSONRPCS_TO"
"""The environment variable with the target if no option names one."""

_OPTIONS = ("tls_ca", "tls_certificate", "tls_private_key", "reply_dir")
"""Options of the command line that are options of the target."""


_ASKED = ("password_command", "password_prompt")
"""The settings of a profile that ask the user for a password, or run a command for it."""


class Server:
    """A server to call.

    @ivar name: the name of its profile, or its target.
    @ivar target: where it is.
    @ivar timeout: seconds that a call may take.
    @ivar origin: where it is known from, for messages.
    """

    __slots__ = ("name", "origin", "target", "timeout")

    def __init__(self, name: str, target: Target, timeout: float, origin: str) -> None:
        self.name = name
        self.target = target
        self.timeout = timeout
        self.origin = origin

    def client(self, read: "Callable[[bytes], Reply] | None" = None) -> Client:
        """A client for it.

        @param read: reads replies, see L{Client}; None: the default.
        """
        return Client(self.target, self.timeout) if read is None else Client(self.target, self.timeout, read=read)


def servers(arguments: "Arguments") -> list[Server]:
    """The servers that a command line names; at least one.

    @raise UsageError: it names an unknown one, or it names none and several were found.
    @raise NothingFound: it does not name one, and none was found.
    """
    if arguments.all:
        if arguments.to:
            raise UsageError("--all and --to: only one of them is allowed")
        found = known(arguments)
        if not found:
            raise NothingFound("--all: there is no profile, and no server was found; say where one is: --to TARGET")
        return found
    if arguments.to:
        return [named(text, arguments) for text in dict.fromkeys(arguments.to)]
    text = os.environ.get(VARIABLE)
    if text:
        return [named(text, arguments, VARIABLE)]
    text, path = _default()
    return [named(text, arguments, f"{path}: default") if text else _found(arguments)]


def server(arguments: "Arguments") -> Server:
    """The one server that a command line names.

    @raise UsageError: it names several or an unknown one, or it names none and several were found.
    @raise NothingFound: it does not name one, and none was found.
    """
    found = servers(arguments)
    if len(found) > 1:
        assert arguments.subcommand is not None
        raise UsageError(f"{arguments.subcommand.name}: {len(found)} servers are named; allowed: one")
    return found[0]


def asks_password(arguments: "Arguments") -> bool:
    """Whether the user would have to type a password, or a command would be run for it.

    @raise UsageError: the configuration cannot be used.
    """
    if arguments.user is not None or arguments.password_file is not None:
        return arguments.password_file is None
    from jsonrpcs_tx.cli import configuration

    settings = configuration.read()
    name = (arguments.to or [os.environ.get(VARIABLE) or settings.default])[0]
    profile = settings.profiles.get(name)
    return profile is not None and profile.password is not None and profile.password[0] in _ASKED


def known(arguments: "Arguments") -> list[Server]:
    """The servers of all profiles, that of the environment, and those that are found on this machine."""
    from jsonrpcs_tx.cli import configuration, discovery

    settings = configuration.read()
    listed = [_of_profile(name, arguments) for name in settings.profiles]
    text = os.environ.get(VARIABLE)
    if text and text not in settings.profiles:
        listed.append(named(text, arguments, VARIABLE))
    urls = {one.url for server in listed for one in server.target.each}
    for server in discovery.servers(settings):
        found = made(server.target, server.target, arguments, server.options, server.origin)
        if urls.isdisjoint(one.url for one in found.target.each):
            listed.append(found)
    return listed


def named(text: str, arguments: "Arguments", origin: str = "--to") -> Server:
    """The server of a URL, or of a profile's name.

    @param origin: where the text is from.
    @raise UsageError: there is no such profile, or the URL is wrong.
    """
    scheme, colon, _ = text.partition(":")
    if colon and scheme in SCHEMES:
        found = made(text, text, arguments, {}, origin)
        found.name = str(found.target)  # without a password
        return found
    return _of_profile(text, arguments, "" if origin == "--to" else origin)


def made(
    name: str,
    text: str,
    arguments: "Arguments",
    options: "Mapping[str, str]",
    origin: str,
    timeout: float | None = None,
) -> Server:
    """A server with the options of a command line, which override its own.

    @param text: its target.
    @param options: the options of the target, without those of the command line.
    @param timeout: its own timeout; None: the default.
    @raise UsageError: the text is not a target, or the target does not take an option.
    """
    given = {option: value for option in _OPTIONS if (value := getattr(arguments, option)) is not None}
    try:
        if arguments.user is not None or arguments.password_file is not None:
            from jsonrpcs_tx.cli import passwords

            asked = parse_target(text, user=arguments.user)
            place = authority(asked) or str(asked)  # without a password
            given.update(passwords.given(place, arguments.user, arguments.password_file))
        target = parse_target(text, **{**options, **given})
    except TargetError as error:
        raise UsageError(str(error)) from None
    return Server(name, target, arguments.timeout or timeout or TIMEOUT, origin)


def authority(target: Target) -> str:
    """The scheme, host and port of a server over HTTP or HTTPS, which has the same users at each path; empty: it is
    another server, or there are several targets.
    """
    has_users = target.scheme in ("http", "https") and not target.alternatives
    return f"{target.scheme}://{target.authority}" if has_users else ""


def _of_profile(name: str, arguments: "Arguments", origin: str = "") -> Server:
    """The server of a profile.

    @param origin: where its name is from, see L{configuration.Configuration.profile}.
    """
    from jsonrpcs_tx.cli import configuration, passwords

    profile = configuration.read().profile(name, origin)
    options = dict(profile.options)
    if arguments.user is None and arguments.password_file is None:
        options.update(passwords.of_profile(profile))
    return made(name, profile.target, arguments, options, f"profile in {profile.path}", profile.timeout)


def _default() -> tuple[str, str]:
    """The default profile, and the file that sets it; empty if there is none."""
    from jsonrpcs_tx.cli import configuration

    settings = configuration.read()
    return settings.default, settings.default_path


def _found(arguments: "Arguments") -> Server:
    """The only server that is found on this machine."""
    from jsonrpcs_tx.cli import configuration, discovery

    settings = configuration.read()
    servers = discovery.first_servers(settings)
    if not servers:
        looked = ", ".join(discovery.looked_at(settings))
        raise NothingFound(f"no server was found in {looked}; say where it is: --to TARGET, or {VARIABLE}")
    if len(servers) > 1:
        listed = ", ".join(server.target for server in servers)
        raise UsageError(f"several servers were found: {listed}; say which one: --to TARGET, or --all")
    (server,) = servers
    return made(server.target, server.target, arguments, server.options, server.origin)
