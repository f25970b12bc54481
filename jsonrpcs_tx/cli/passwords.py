"""Gets passwords from files, commands and terminals, never from the command line, which everybody can see."""

import sys
from functools import cache

from jsonrpcs_tx.cli.exits import UsageError

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from jsonrpcs_tx.cli.configuration import Profile

COMMAND_SECONDS = 30
"""How long a command that prints a password may take."""


def given(server: str, user: str | None, password_file: str | None) -> dict[str, str]:
    """The user and the password that a command line gives.

    @param server: the name of the server, for the prompt.
    @raise UsageError: there is no password, or no user.
    """
    if user is None:
        raise UsageError("--password-file: a password without a user; allowed: with --user")
    password = _asked(server, user) if password_file is None else _of_file(password_file)
    return {"user": user, "password": password}


def of_profile(profile: "Profile") -> dict[str, str]:
    """The user and the password of a profile, if it has them.

    @raise UsageError: the password cannot be read.
    """
    if profile.user is None:
        return {}
    if profile.password is None:
        return {"user": profile.user}
    kind, value = profile.password
    if kind == "password_file":
        value = _of_file(value)
    elif kind == "password_command":
        value = _printed(profile, value)
    elif kind == "password_prompt":
        value = _asked(profile.name, profile.user)
    return {"user": profile.user, "password": value}


def are_known() -> bool:
    """Whether a password is remembered."""
    return bool(_printed.cache_info().currsize or _asked.cache_info().currsize)


def forget() -> None:
    """Forget all passwords, so that the user is asked again."""
    _printed.cache_clear()
    _asked.cache_clear()


def _of_file(path: str) -> str:
    import os

    from jsonrpcs_tx.cli.privatefiles import read_password

    return read_password(os.path.expanduser(path))


@cache
def _printed(profile: "Profile", command: str) -> str:
    """The first line that a command prints."""
    import subprocess

    place = f"{profile.path}: profiles.{profile.name}: password_command"
    try:
        done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, timeout=COMMAND_SECONDS, check=True)
        password = done.stdout.partition(b"\n")[0].decode()
    except subprocess.TimeoutExpired:
        raise UsageError(f"{place}: it takes longer than {COMMAND_SECONDS} s; allowed: less") from None
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise UsageError(f"{place}: {_reason(error)}; allowed: one that prints the password") from None
    if not password:
        raise UsageError(f"{place}: it prints nothing; allowed: one that prints the password")
    return password


def _reason(error: Exception) -> str:
    """Why a command has not printed a password. Python's message would show the command."""
    code = getattr(error, "returncode", None)
    return str(error) if code is None else f"it has ended with exit code {code}"


@cache
def _asked(server: str, user: str) -> str:
    """The password that the user types at the terminal."""
    from getpass import getpass

    if not sys.stdin.isatty():
        raise UsageError(
            f"{server}: the password of {user} cannot be asked for; allowed: a terminal, or a file with it, such as "
            "--password-file FILE"
        )
    try:
        return getpass(f"Password of {user} for {server}: ")
    except EOFError:
        raise UsageError(f"{server}: no password was given; allowed: one") from None
