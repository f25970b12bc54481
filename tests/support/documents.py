"""Requests as they are sent, and replies as they are decoded."""

import json

PARSE_ERROR = {"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse Error"}, "id": None}


def request(method: str, *params: object, id: object = 1, **members: object) -> bytes:
    """A request with positional parameters.

    @param members: further members, which override the usual ones.
    """
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": id, **members}).encode()


def result(value: object, id: object = 1) -> dict[str, object]:
    """The reply to a request, decoded."""
    return {"jsonrpc": "2.0", "result": value, "id": id}
