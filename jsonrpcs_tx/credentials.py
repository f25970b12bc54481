"""The program that makes a line for a file of users: C{python -m jsonrpcs_tx.credentials NAME}."""

import argparse
import getpass
import sys
from collections.abc import Sequence

from jsonrpcs_tx.access.passwords import make_hash
from jsonrpcs_tx.access.users import check_name


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask for a password, and print the line of a user: C{python -m jsonrpcs_tx.credentials NAME}.

    If the standard input is not a terminal, its first line is the password.

    @param arguments: of the command line; None: those of this process.
    @raise SystemExit: the name or the password cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="python -m jsonrpcs_tx.credentials",
        description="Asks for a password and prints a line for the file of users.",
    )
    parser.add_argument("name", metavar="NAME", help="name of the user")
    name = parser.parse_args(arguments).name
    try:
        check_name(name)
    except ValueError as error:
        parser.error(str(error))
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ").encode()
        if getpass.getpass("Again: ").encode() != password:
            parser.error("the passwords differ; allowed: the same one twice")
    else:
        password = sys.stdin.buffer.readline().rstrip(b"\r\n")
    if not password:
        parser.error("an empty password; allowed: at least one character")
    sys.stdout.write(f"{name}:{make_hash(password)}\n")


if __name__ == "__main__":
    main()
