"""Users and their passwords, from a file like that of htpasswd.

A line of the file is C{name:hash}; empty lines and lines that start with C{#} are skipped. There are two kinds of
hashes:

  - C{$scrypt$n=32768,r=8,p=1$SALT$HASH}: scrypt with these costs; salt and hash in base64, as C{python -m
    jsonrpcs_tx.credentials NAME} makes it;
  - C{$2b$} and C{$2y$}: bcrypt, as C{htpasswd -B} makes it, where the Python package C{bcrypt} is installed.
"""

from jsonrpcs_tx.access.passwords import ALLOWED, Hash, read_hash
from jsonrpcs_tx.config.problems import FIRST, Problems
from jsonrpcs_tx.errors import NotAllowed


def read_users(lines: bytes, problems: Problems = FIRST) -> dict[bytes, Hash]:
    """Read what is in a file of users.

    @param problems: takes the errors.
    @return: the hashes by the names of users.
    @raise NotAllowed: a line is invalid, or a user comes twice; C{line} says which.
    """
    users: dict[bytes, Hash] = {}
    for number, line in enumerate(lines.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith(b"#"):
            continue
        try:
            name, colon, text = stripped.decode().partition(":")
            if not colon:
                raise NotAllowed("no colon", ALLOWED)
            key = check_name(name).encode()
            if key in users:
                raise NotAllowed(f"{name!r} again", "one line for each user")
            users[key] = read_hash(text)
        except UnicodeDecodeError:
            problems.note(NotAllowed("not UTF-8", ALLOWED, line=number))
        except NotAllowed as error:
            problems.note(NotAllowed(error.reason, error.allowed, line=number))
    return users


def check_name(name: str) -> str:
    """Check that a user can have a name.

    @return: the name.
    @raise NotAllowed: it cannot be a user's.
    """
    if not name or ":" in name or not name.isprintable() or name != name.strip() or name.startswith("#"):
        allowed = "printable characters without a colon, no '#' in front, no blanks around"
        raise NotAllowed(f"{name!r} cannot be a user's name", allowed)
    return name
