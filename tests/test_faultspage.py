"""docs/faults.md has every error that a client can get, and no others."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.web import http

from jsonrpcs_tx import Settings, makeService
from tests.support import REPOSITORY, Server

PACKAGE = REPOSITORY / "jsonrpcs_tx"
PAGE = REPOSITORY / "docs" / "faults.md"
SHOP = """
from jsonrpcs_tx import Fault, InvalidParams, command

@command("shop.add")
def add(number: int) -> None:
    if number < 1:
        raise InvalidParams("at least one")

@command("shop.sell")
def sell(item: str) -> None:
    raise Fault(404, "No Such Item")

@command("shop.odd")
def odd() -> None:
    raise Fault(7, "Odd")

@command("shop.broken")
def broken() -> None:
    raise RuntimeError("broken")
"""
NUMBERS = {"BAD_GATEWAY": 502, "UNAVAILABLE": 503, "TOO_LARGE": 413, "TIMED_OUT": 504, "NOT_CONFIRMED": 504}
"""Codes by the names that they have in gateway/faults.py and fleet/core.py."""
NOT_ASKED = "not_asked"
"""The function of gateway/faults.py that puts C{Node NAME} before a text, for 503."""


def table(heading: str) -> list[list[str]]:
    """The cells of the rows below a heading."""
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| ---")][1:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(("dialect", "column"), [("kamailio", 2), ("jsonrpc2", 4)])
def test_requests(tmp_path: Path, dialect: str, column: int) -> None:
    """Each request of the first table gets the error and the HTTP status beside it, in both dialects."""
    (tmp_path / "shop.py").write_text(SHOP)
    options = (f"--dialect={dialect}", "--commands=shop", "--rule=any deny core.kill", "--http-max-body=1000")
    with Server(tmp_path, *options) as server:
        for cells in table("Of JSON-RPC itself"):
            reply = server.http(cells[0].strip("`").encode())
            error = json.loads(reply.body)["error"]
            assert [f"{error['code']} {error['message']}", str(reply.status)] == cells[column : column + 2], cells[0]


def test_commands(tmp_path: Path) -> None:
    """The faults of built-in commands are those that the commands declare, also of gateways and fleets."""
    secret = tmp_path / "secret"
    secret.write_text("x" * 32)
    settings = Settings(load="all", node=["a=unix:/x"], fleet="redis+unix:/x", fleet_secret=str(secret), transport=0)
    registry = makeService(settings, reactor).registry
    declared: dict[tuple[int, str], set[str]] = {}
    for name in registry:
        options = registry[name].options
        for fault in (*options.faults, *([options.usage] if options.usage is not None else [])):
            declared.setdefault((fault.code, fault.text), set()).add(name)
    shown = {
        (int(code), text): set(re.findall("`([^`]+)`", names)) for code, text, names in table("Of built-in commands")
    }
    assert shown == declared


def raised(path: Path) -> Iterator[tuple[int | None, str]]:
    """The errors that a module makes: code, if that is known, and text, with an ellipsis for what differs."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in ("Fault", "Error", "NodeFault") and len(node.args) > 1:
            yield _code(node.args[0]), _text(node.args[1])
        elif name == NOT_ASKED and isinstance(node.func, ast.Name) and len(node.args) > 1:
            yield NUMBERS["UNAVAILABLE"], f"Node … {_text(node.args[1])}"
        elif ast.unparse(node.func) == "super().__init__" and len(node.args) > 1 and _code(node.args[0]):
            yield _code(node.args[0]), _text(node.args[1])


def _code(node: ast.expr) -> int | None:
    try:
        return int(ast.literal_eval(node))
    except (ValueError, TypeError):
        return NUMBERS.get(ast.unparse(node))


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "…"


def test_server_gateway_and_fleet() -> None:
    """The errors of the server, of gateways and of fleets are those that the code makes outside of commands."""
    modules = [PACKAGE / "openrpc" / "discovery.py"]
    for wing in ("rpc", "transports", "gateway", "fleet"):
        modules += sorted(PACKAGE.joinpath(wing).glob("*.py"))
    made = {
        error
        for module in modules
        if module.name != "envelope.py"
        for error in raised(module)
        if re.search(r"\w", error[1].replace("Node …", ""))
    }
    rows = [
        row for heading in ("Of the server, for any command", "Of a gateway", "Of a fleet") for row in table(heading)
    ]
    assert {(int(code), text) for code, text, _ in rows} == made


def test_http_statuses() -> None:
    """Each HTTP status with which a request is refused has its row."""
    shown = {int(status) for status, _ in table("HTTP without JSON-RPC")}
    made: set[int] = set()
    for module in (*PACKAGE.joinpath("transports").glob("*.py"), PACKAGE / "access" / "authentication.py"):
        text = module.read_text()
        made |= {int(code) for code in re.findall(r"Refused\((\d+)", text)}
        made |= {code for name in re.findall(r"\bhttp\.([A-Z_]+)\b", text) if (code := _status(name)) >= 400}
    assert shown == made


def _status(name: str) -> int:
    """The HTTP status that twisted.web.http has under a name; 0: it is not a status."""
    value = getattr(http, name)
    return value if isinstance(value, int) else 0
