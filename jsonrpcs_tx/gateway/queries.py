"""The query of a URL, which decides when a call of nodes is answered."""

import re
from typing import Final
from urllib.parse import parse_qsl

import attrs

from jsonrpcs_tx.rpc.faults import Fault

MAX_SECONDS: Final = 86400

ALLOWED: Final = f"timeout=SECONDS above 0, up to {MAX_SECONDS}; quorum=NUMBER; first"

_SECONDS: Final = re.compile(r"[0-9]{1,5}(\.[0-9]{1,6})?")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,5}")


@attrs.frozen
class Query:
    """A query.

    @ivar timeout: seconds to wait for an answer; None: not given.
    @ivar quorum: number of results after which the reply is given; None: when all have answered.
    """

    timeout: float | None = None
    quorum: int | None = None


def read_seconds(text: str) -> float | None:
    """A number of seconds above 0, up to L{MAX_SECONDS}; None if the text is anything else."""
    found = float(text) if _SECONDS.fullmatch(text) else 0.0
    return found if 0 < found <= MAX_SECONDS else None


def read_query(text: str) -> Query:
    """Read a query, such as C{timeout=2&quorum=3}; C{first} is a quorum of one.

    @raise Fault: something in it is not allowed.
    """
    try:
        parts = parse_qsl(text, keep_blank_values=True, max_num_fields=10)
    except ValueError:
        raise Fault(400, f"Bad Query: too long; allowed: {ALLOWED}") from None
    timeout, quorum = None, None
    for name, value in parts:
        if name == "timeout" and timeout is None and (timeout := read_seconds(value)) is not None:
            continue
        if name == "quorum" and quorum is None and _NUMBER.fullmatch(value):
            quorum = int(value)
        elif name == "first" and quorum is None and not value:
            quorum = 1
        else:
            raise Fault(400, f"Bad Query: {name[:20]}={value[:20]}; allowed: {ALLOWED}")
    return Query(timeout, quorum)
