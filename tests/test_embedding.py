"""The server inside another program: what it loads, what changes while it runs, and calls from within."""

from typing import Any

import pytest
from twisted.internet.task import Clock

from jsonrpcs_tx import Settings, command, makeService
from jsonrpcs_tx.service import JsonRpcService


def service(*sources: object, **settings: Any) -> JsonRpcService:
    """A server that is not started, with a clock as its reactor."""
    return makeService(Settings(**settings), Clock(), sources)


class Shop:
    @command("shop.open")
    def open(self) -> bool:
        return True

    @command("shop.close")
    def close(self) -> bool:
        return False


class Market:
    @command("shop.open")
    def open(self) -> str:
        return "market"


def result(server: JsonRpcService, method: str) -> bytes:
    body = server.jsonrpc_exec(f'{{"jsonrpc":"2.0","method":"{method}","id":1}}').body
    return body.partition(b'"result":')[2].partition(b',"id"')[0]


def test_family_is_removed_and_replaced() -> None:
    """A family is removed, or replaced by another, with all its commands; nothing changes where that is refused."""
    server = service(load=["system", "core", "tls"])
    assert server.families == ["system", "core", "tls"]
    server.remove_family("core")
    assert server.families == ["system", "tls"]
    assert not [name for name in server.registry if name.startswith("core.")]
    server.add_family("shop", Shop())
    with pytest.raises(ValueError, match="family shop: there is a family of that name"):
        server.add_family("shop", Market())
    with pytest.raises(ValueError, match=r"shop\.open: .*Market\.open .* takes the name of .*Shop\.open"):
        server.add_family("market", Market())
    assert (result(server, "shop.open"), server.families) == (b"true", ["system", "tls", "shop"])
    server.add_family("shop", Market(), replace=True)
    assert (result(server, "shop.open"), result(server, "shop.close")) == (b'"market"', b"")
    server.remove_family("shop")
    assert result(server, "shop.open") == b""
    with pytest.raises(ValueError, match="family shop: there is no such family"):
        server.remove_family("shop")
