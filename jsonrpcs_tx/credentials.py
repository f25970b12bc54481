"""The program that makes a line for a file of users: C{python -m jsonrpcs_tx.credentials NAME}."""

import argparse
import getpass
import sys
from collections.abc import Sequence

from jsonrpcs_tx.access.passwords import make_hash
from jsonrpcs_tx.access.users import check_name


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask for a password, and print the line of a user: C{python -m jsonrpcs_tx.credentials NAME}.

    Where the standard input is no terminal, its first line is the password.

    @param arguments: those of the command line; None: of this process.
    @raise SystemExit: the name or the password cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="python -m jsonrpcs_tx.credentials", description="Asks for a password, and prints a line for http_users."
    )
    parser.add_argument("name", metavar="NAME", help="of the user")
    name = parser.parse_args(arguments).name
    try:
        check_name(name)
    except ValueError as error:
        parser.error(str(error))
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ").encode()
        if getpass.getpass("Again: ").encode() != password:
            parser.error("these are two passwords; allowed: the same twice")
    else:
        password = sys.stdin.buffer.readline().rstrip(b"\r\n")
    if not password:
        parser.error("an empty password; allowed: one of a character at least")
    sys.stdout.write(f"{name}:{make_hash(password)}\n")


if __name__ == "__main__":
    main()
