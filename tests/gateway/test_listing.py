"""What a gateway says of the commands of a node."""

import json
from typing import Any

import pytest

from jsonrpcs_tx import Fault, catalogue
from jsonrpcs_tx.gateway import listing
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.openrpc.methods import of_kamailio
from tests.support import http_request
from tests.support.http import Response
from tests.support.nodes import GatewayCase, request
from tests.support.openrpc import methods_of

METHODS = ["htable.get", "core.echo", "own.thing", "core.kill", "htable.get", "", "x" * 500]
"""What a node says that it has."""


class Listing(GatewayCase):
    """The document of a node."""

    def setUp(self) -> None:
        super().setUp()
        self.answer(lambda request: b'"result":' + json.dumps(METHODS).encode())

    async def get(self, node: str) -> Response:
        return await self.ask(http_request(b"", method="GET", path=f"/openrpc.json?node={node}"))

    async def document(self, node: str) -> Any:
        """The document, which page and command give alike."""
        page = await self.get(node)
        assert page.status == 200, page.body
        document = json.loads(page.body)
        assert document.pop("servers") == [{"name": "server", "url": f"{self.protocol}://127.0.0.1/RPC/{node}"}]
        called = await self.post("/RPC", request("rpc.discover", json.dumps([node])))
        assert called.result == document
        assert document["info"]["title"] == node
        return document

    async def told(self, node: str) -> Any:
        """The methods of the document. Each of them is checked."""
        return methods_of(await self.document(node))

    async def test_methods(self) -> None:
        """The node's methods are described by the catalogue; those that it does not have are open."""
        self.serve(load=["system"])
        await self.up()
        methods = await self.told("a")
        assert [*methods] == ["core.echo", "core.kill", "htable.get", "own.thing"]
        get = methods["htable.get"]
        assert get["summary"] == catalogue.find("htable.get").help  # type: ignore[union-attr]
        assert [parameter["name"] for parameter in get["params"]] == ["table", "key"]
        assert get["params"][0]["x-source"] == "table"
        assert (get["x-effect"], get["x-module"]) == ("reads", "htable")
        assert methods["core.kill"]["x-effect"] == "dangerous"
        own = methods["own.thing"]
        assert own["x-effect"] == "unknown"
        assert own["params"] == [{"name": "params", "required": False, "schema": {}, "x-variadic": True}]
        assert json.loads((await self.get("a")).body)["info"]["version"] == "a node"

    async def test_rules(self) -> None:
        """Only what the caller may call on that node is in it, and nothing is said of a node without any right."""
        rules = [f"{self.protocol} allow rpc.discover", f"{self.protocol} node=a allow htable.* own.*"]
        self.serve(load=["system"], rule=rules)
        assert [*await self.told("a")] == ["htable.get", "own.thing"]
        assert (await self.get("b")).body == b"403 Forbidden: a rule must allow something on node b\n"
        assert (await self.post("/RPC", request("rpc.discover", '["b"]'))).error[0] == 403

    async def test_rules_with_parameters(self) -> None:
        """A rule may name the nodes that are described, for the page as for the command."""
        by_name = [f"{self.protocol} allow rpc.discover(a)", f"{self.protocol} node=* allow *"]
        self.serve(load=["system"], rule=by_name)
        assert "htable.get" in await self.told("a")
        for node in ("b", ""):
            assert (await self.get(node)).status == 403
        assert (await self.post("/RPC", request("rpc.discover", '["b"]'))).error == (403, "Forbidden")
        self.service.change(rule=[f"{self.protocol} allow rpc.discover()", f"{self.protocol} node=* allow *"])
        assert (await self.get("")).status == 200
        assert (await self.get("a")).status == 403

    async def test_no_node(self) -> None:
        """A group, all nodes and a node that does not exist are refused."""
        self.serve(load=["system"])
        for name in ("g", "*"):
            assert (await self.get(name)).status == 400
            called = await self.post("/RPC", request("rpc.discover", json.dumps([name])))
            assert called.error == (400, f"{name} means several nodes; allowed: the name of one")
        assert (await self.get("nowhere")).status == 404
        assert (await self.get("%22%3Cscript%3E")).status == 404

    async def test_odd_answers(self) -> None:
        """A node that answers nonsense, or with a fault, is not described."""
        self.serve(load=["system"])
        for answer in (b'"result":5', b'"result":[1]', b'"result":{"a":1}', b'"result":[["a"]]'):
            self.answer(lambda request, answer=answer: answer)  # type: ignore[misc]
            page = await self.get("a")
            assert (page.status, page.body.partition(b": ")[2]) == (
                502,
                b"Node a does not answer system.listMethods with a list of names\n",
            )
        self.answer(lambda request: b'"error":{"code":-32601,"message":"Method not found"}')
        assert (await self.get("a")).body == b"502 Bad Gateway: Method not found\n"
        self.answer(lambda request: b'"error":{"code":403,"message":"No"}')
        assert (await self.get("a")).body == b"403 Forbidden: No\n"

    async def test_long_answer(self) -> None:
        """A list that would take long to read is refused."""
        self.serve(load=["system"])
        node: Any = next(iter(self.gateway.nodes.values()))
        with pytest.raises(Fault, match="with more than 4194304 bytes"):
            listing._read(Answer(b"[%b1]" % (b"1," * listing.MAX_SIZE)), node)

    async def test_too_many_methods(self) -> None:
        """A node cannot have the gateway write a description of half a million methods."""
        self.serve(load=["system"])
        node: Any = next(iter(self.gateway.nodes.values()))
        names = json.dumps([f"{number:x}" for number in range(listing.MAX_LISTED + 1)]).encode()
        with pytest.raises(Fault, match="with more than 20000 names"):
            listing._read(Answer(names), node)

    @pytest.mark.slow
    async def test_many_methods(self) -> None:
        """A node with very many methods is described while others are answered."""
        names = [f"many.{number}" for number in range(3000)]
        self.answer(lambda request: b'"result":' + json.dumps(names).encode(), "a")
        self.nodes["a"].answers = lambda request: b'"result":' + json.dumps(names).encode()
        self.serve(load=["system"])
        assert [method["name"] for method in (await self.document("a"))["methods"]] == sorted(names)


@pytest.mark.slow
def test_whole_catalogue() -> None:
    """Every command of the catalogue can be described."""
    methods = [json.loads(of_kamailio(name).json) for name in sorted(catalogue.methods())]
    document = {"openrpc": "1.3.2", "info": {"title": "", "version": ""}, "methods": methods}
    document["components"] = {"schemas": {}}
    assert len(methods_of(document)) == len(catalogue.methods())
