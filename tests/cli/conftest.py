"""The servers that the tests of the program share."""

from collections.abc import Iterator

import pytest

from tests.support import Server
from tests.support.kamailio import Kamailio

SHOP = '''
from jsonrpcs_tx import command

@command("shop.echo")
def echo(text: str, number: int, flag: bool = False, *rest: object) -> list[object]:
    """Returns what it gets."""
    return [text, number, flag, *rest]

@command("shop.hostile")
def hostile() -> dict[str, str]:
    return {"\\x1b[2J\\x9b": "\\x1b]0;x\\x07\\u202e"}

@command("targets")
def targets() -> str:
    return "a method"
'''


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of ours in dialect jsonrpc2."""
    directory = tmp_path_factory.mktemp("strict")
    (directory / "shop.py").write_text(SHOP)
    rule = "--rule=any allow * deny core.kill"
    with Server(directory, "--dialect=jsonrpc2", "--commands=shop", "--htable=a=>size=4;", rule) as running:
        yield running


@pytest.fixture(scope="module")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    with Kamailio(tmp_path_factory.mktemp("kamailio")) as running:
        yield running
