"""An OpenRPC document, joined from the written descriptions of methods. Without I/O."""

from collections.abc import Generator, Iterable, Mapping
from itertools import count
from typing import Any, Final

import msgspec

from jsonrpcs_tx.openrpc.methods import Method
from jsonrpcs_tx.openrpc.schemas import PREFIX

VERSION: Final = "1.3.2"
"""The version of the OpenRPC Specification."""


def write(title: str, version: str, url: str, methods: Iterable[Method]) -> Generator[None, None, bytes]:
    """Write a document.

    @param title: the name of the server or node that has the methods.
    @param version: its version.
    @param url: where they can be called over HTTP; empty: unknown.
    @return: a generator that yields after each method, so that others get their turn, and returns the document.
    """
    written: list[bytes] = []
    named: dict[str, bytes] = {}
    for method in methods:
        written.append(method.json if _add(method.named, named, "") else _renamed(method, named))
        yield
    info: dict[str, Any] = {"openrpc": VERSION, "info": {"title": title, "version": version}}
    if url:
        info["servers"] = [{"name": "server", "url": url}]
    schemas = b",".join(b"%b:%b" % (msgspec.json.encode(name), schema) for name, schema in named.items())
    # A document can be large, so it is copied only once.
    first = b'%b,"methods":[' % msgspec.json.encode(info)[:-1]
    written = written or [b""]
    written[0] = first + written[0]
    written[-1] += b'],"components":{"schemas":{%b}}}' % schemas
    return b",".join(written)


def _renamed(method: Method, named: dict[str, bytes]) -> bytes:
    """A method whose schemas get other names, since other schemas have theirs; adds these schemas."""
    for number in count(2):
        suffix = f"_{number}"
        if _add(method.named, named, suffix):
            return _refer(method.json, method.named, suffix)
    raise AssertionError


def _add(new: Mapping[str, bytes], named: dict[str, bytes], suffix: str) -> bool:
    """Add schemas under their names with a suffix, unless others have one of these names.

    @return: whether they are there now.
    """
    wanted: dict[str, Any] = {f"{name}{suffix}": _refer(schema, new, suffix) for name, schema in new.items()}
    if any(named.get(name, schema) != schema for name, schema in wanted.items()):
        return False
    named.update(wanted)
    return True


def _refer(json: bytes, names: Iterable[str], suffix: str) -> bytes:
    """JSON whose references to named schemas have a suffix. In a string of JSON, the quotes would be escaped."""
    if suffix:
        for name in names:
            reference = b'"$ref":"%b%b' % (PREFIX.encode(), name.encode())
            json = json.replace(reference + b'"', reference + suffix.encode() + b'"')
    return json
