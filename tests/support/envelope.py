"""The reference for the envelope: the standard library."""

import json
from decimal import Decimal
from typing import Any

from jsonrpcs_tx.rpc.envelope import KAMAILIO, Dialect


def read(document: bytes) -> Any:
    """Decode a document with the standard library, and refuse what is not JSON.

    @raise ValueError, RecursionError: it is not JSON in UTF-8.
    """

    def refuse(constant: str) -> float:
        raise ValueError(constant)

    value = json.loads(document.decode(), parse_constant=refuse, parse_int=float)
    json.dumps(value, ensure_ascii=False).encode()  # refuses lone surrogates
    return value


def expected_code(document: bytes, dialect: Dialect) -> int | None:
    """The code of the error that a single document gets before any command is looked up; None: it is a request."""
    try:
        value = read(document)
    except (ValueError, RecursionError):
        return -32700
    is_request = (
        isinstance(value, dict)
        and value.get("jsonrpc") == "2.0"
        and isinstance(value.get("method"), str)
        and isinstance(value.get("params", []), list | dict)
        and not isinstance(value.get("id"), list | dict)
        and (dialect is KAMAILIO or not isinstance(value.get("id"), bool))
    )
    return None if is_request else -32600


def rounded(value: Any) -> Any:
    """A value with its numbers rounded to floats, and the type of each."""
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, list):
        return [rounded(member) for member in value]
    if isinstance(value, dict):
        return {key: rounded(member) for key, member in value.items()}
    return type(value), value
