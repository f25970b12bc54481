"""Files of users whose passwords are hashed at little cost, and what these users send."""

from base64 import b64encode
from pathlib import Path

from jsonrpcs_tx.access.passwords import make_hash


def cheap(password: str) -> str:
    """A hash that takes no time."""
    return make_hash(password.encode(), n=2, r=1)


def write(path: Path, *users: str) -> None:
    """Put another file in the place of one: each user's password is the name."""
    new = path.with_name("new")
    new.write_text("".join(f"{name}:{cheap(name)}\n" for name in users))
    new.chmod(0o600)
    new.rename(path)


def authorization(name: str) -> str:
    """The header by which a user of such a file says who it is over HTTP."""
    return "Basic " + b64encode(f"{name}:{name}".encode()).decode()
