"""Documents for nodes, over HTTP and HTTPS, and what comes back."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred

from jsonrpcs_tx import Fault, Settings, command, makeService
from jsonrpcs_tx.access.passwords import make_hash
from jsonrpcs_tx.client.deferred import UNDER_WAY
from jsonrpcs_tx.client.errors import ClientError
from jsonrpcs_tx.gateway.watch import DOWN, UP
from tests.support import ECHO, ECHO_REPLY, http_request, users
from tests.support.http import HttpCase, Response, repeat_everywhere
from tests.support.logs import logged
from tests.support.nodes import GatewayCase, Node, request
from tests.support.reactor import until


class OneNode(GatewayCase):
    """Documents for one node."""

    async def test_refusal_names_the_node(self) -> None:
        """The log says which nodes a call was for that rules forbid."""
        self.serve(rule=["any node=b allow core.*"])
        with logged() as lines:
            assert (await self.post("/RPC/a", request("core.kill"))).status == 403
            assert (await self.post("/RPC/*", request("x.y"))).status == 403
            assert (await self.post("/RPC", request("gateway.nodes"))).status == 403
        told = [line for line in lines if "is forbidden" in line]
        assert "'core.kill' is forbidden on node a from 127.0.0.1" in told[0]
        assert "'x.y' is forbidden on nodes a, b, c from 127.0.0.1" in told[1]
        assert "'gateway.nodes' is forbidden from 127.0.0.1" in told[2]

    async def test_exact(self) -> None:
        """What a client sends as parameters, and what the node answers, arrives as it was written."""
        self.answer(lambda request: b'"result":{"b" : 1.10, "a":"\\u00e9 \xc3\xa9","b":1e400}')
        response = await self.post("/RPC/a", request("htable.dump", '[ "x\\u0041" ,1.10, {"k":1e2,"k":2}]', '"i"'))
        assert (response.status, response.reason) == (200, b"OK")
        assert response.body == b'{"jsonrpc":"2.0","result":{"b" : 1.10, "a":"\\u00e9 \xc3\xa9","b":1e400},"id":"i"}'
        (sent,) = self.nodes["a"].requests
        head = b'{"jsonrpc":"2.0","method":"htable.dump","params":[ "x\\u0041" ,1.10, {"k":1e2,"k":2}],"id":'
        assert sent.startswith(head)

    async def test_without_params(self) -> None:
        """A request without parameters goes on without them; by name they stay by name."""
        await self.post("/RPC/a", request("x.y"))
        await self.post("/RPC/a", request("x.y", '{"b":1,"a":2}'))
        first, second = self.nodes["a"].requests
        assert b"params" not in first
        assert b'"params":{"b":1,"a":2},' in second

    async def test_ids(self) -> None:
        """Whatever id a client gives comes back, though the node is given another."""
        for id in ("1", "-7", '"x"', "1.50", "12345678901234567890123", "null", "true", '"\\u00e9"'):
            response = await self.post("/RPC/a", request("x", '["v"]', id))
            assert response.body.startswith(b'{"jsonrpc":"2.0","result":["v"],"id":'), response.body
            assert json.loads(response.body)["id"] == json.loads(id)
        response = await self.post("/RPC/a", b'{"jsonrpc":"2.0","method":"x","params":[]}')
        assert response.body == b'{"jsonrpc":"2.0","result":[]}'

    async def test_fault(self) -> None:
        """A node's fault is the client's: code, text, data and status."""
        error = b'{"code":488, "message":"No \\"Such\\" Table","data":[1.10],"x":1}'
        self.answer(lambda request: b'"error":' + error)
        response = await self.post("/RPC/a", request("htable.get", '["a","b"]'))
        assert (response.status, response.reason) == (488, b'No "Such" Table')
        assert response.body == b'{"jsonrpc":"2.0","error":%b,"id":1}' % error

    async def test_odd_faults(self) -> None:
        """A fault whose code is not an HTTP status gets 500, that of an invalid request 400, as from Kamailio."""
        for code, status in ((-32600, 400), (-32000, 500), (200, 500), (207, 500), (0, 500), (10**30, 500)):
            self.answer(lambda request, code=code: b'"error":{"code":%d,"message":"m\\r\\nX: y"}' % code)  # type: ignore[misc]
            response = await self.post("/RPC/a", request("x"))
            assert (response.status, response.reason) == (status, b"m  X: y")

    async def test_batch(self) -> None:
        """The requests of a batch go on one by one, and their replies come back in order, whoever answers first."""
        node = self.nodes["a"]

        def answers(request: Any) -> bytes | None:
            if request["method"] == "late":
                return None
            return b'"result":%d' % request["params"][0]

        self.answer(answers)
        batch = [request("x", "[1]"), request("late", "[2]", '"l"'), b"3", request("y", "[4]", "null")]
        client = await self.connect()
        client.write(http_request(b"[%b]" % b",".join(batch), path="/RPC/a"))
        await node.received(3)
        node.answer_late(1, b'"result":2.0')
        assert (await client.response()).body == (
            b'[{"jsonrpc":"2.0","result":1,"id":1},{"jsonrpc":"2.0","result":2.0,"id":"l"},'
            b'{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request"},"id":null},'
            b'{"jsonrpc":"2.0","result":4,"id":null}]'
        )

    async def test_down(self) -> None:
        """A node that is not there is refused at once with 503 and the reason, and is there again when it is back."""
        await self.nodes["a"].stop()
        await self.connect()
        await until(lambda: self.gateway.nodes["a"].watch.state == DOWN)
        response = await self.post("/RPC/a", request("x"))
        assert (response.status, response.error) == (503, (503, "Node a Is Down: Connection refused"))
        assert self.gateway.nodes["a"].under_way == 0
        assert (await self.post("/RPC/b", request("x", "[1]"))).result == [1]

    @pytest.mark.slow
    async def test_full_of_calls(self) -> None:
        """A node with as many calls under way as it gets at a time is still asked whether it runs."""
        self.serve(node_interval=0.2)
        await self.up()
        node = self.nodes["a"]
        self.answer(lambda request: None)
        for number in range(UNDER_WAY + 1):
            client = await self.connect()
            client.write(http_request(request("core.echo", f"[{number}]"), path="/RPC/a"))
        await node.received(UNDER_WAY)
        node.uptime = 777
        await until(lambda: self.gateway.nodes["a"].watch.uptime == 777)
        assert len(node.requests) == UNDER_WAY

    async def test_not_there_yet(self) -> None:
        """A call that finds nobody before the node was looked at is told so, and the node is down from then on."""
        self.serve()
        node = self.gateway.nodes["a"]
        await self.up()
        await self.nodes["a"].stop()
        with pytest.raises(Fault, match="503 Node a Cannot Be Reached: Connection refused"):
            await node.call("x", b"", 5)
        assert node.watch.state == DOWN

    @pytest.mark.slow
    async def test_too_late(self) -> None:
        """A call that takes too long is 504, by the URL or the node's own limit; the node stays up meanwhile."""
        self.groups = {**self.groups, "b": "timeout=0.2"}
        self.answer(lambda request: None)
        for number, (path, name) in enumerate(
            (("/RPC/a?timeout=0.2", "a"), ("/RPC/b", "b"), ("/RPC/b?timeout=50", "b"))
        ):
            response = await self.post(path, request(f"x{number}.y"))
            assert response.status == 504
            self.assert_late(response, rf"Node {name} Timed Out: no reply within (\S+) s")
        await until(lambda: self.gateway.nodes["a"].watch.state == UP)
        self.answer(lambda request: b'"result":1')
        assert (await self.post("/RPC/b", request("x"))).result == 1
        response = await self.post("/RPC/b", request("x1.z"))
        self.assert_late(response, r"Node b Was Not Asked: the call waited (\S+) s for its turn")
        self.nodes["b"].answer_late(0, b'"result":"late"')
        assert (await self.post("/RPC/b", request("x1.z"))).result == 1

    def assert_late(self, response: Response, pattern: str) -> None:
        """The error tells the limit of 0.2 s, less what the call was held up for before the node got it."""
        code, message = response.error
        told = re.fullmatch(pattern, message)
        assert code == 504
        assert told is not None, message
        assert 0 < float(told[1]) <= 0.2

    async def test_late_reply(self) -> None:
        """A reply that comes after its call was given up is nobody's."""
        self.answer(lambda request: None)
        assert (await self.post("/RPC/a?timeout=0.05", request("x"))).status == 504
        client = await self.connect()
        client.write(http_request(request("y"), path="/RPC/a"))
        await self.nodes["a"].received(2)
        self.nodes["a"].answer_late(0, b'"result":"late"')
        self.nodes["a"].answer_late(1, b'"result":"in time"')
        self.nodes["a"].answer_late(1, b'"result":"twice"')
        assert (await client.response()).result == "in time"

    @pytest.mark.slow
    async def test_async_timeout(self) -> None:
        """The limit of all asynchronous commands holds for nodes, and the node is named."""
        self.serve(async_timeout=0.2)
        self.answer(lambda request: None)
        response = await self.post("/RPC/a?timeout=60", request("x"))
        code, text = response.error
        assert code == 504
        assert re.fullmatch(r"Node a Timed Out: no reply within 0\.[0-9]+ s", text), text

    async def test_garbage(self) -> None:
        """An answer that is not a reply gets 502."""
        await self.connect()
        await self.up()
        for garbage in (b"!garbage", b"!{}", b"!", b"!\xff\xfe"):
            self.answer(lambda request, garbage=garbage: garbage)  # type: ignore[misc]
            response = await self.post("/RPC/a", request("x"))
            assert response.status == 502
            assert response.error[1].startswith("Node a Gave No Valid Reply: ")

    async def test_too_large_a_request(self) -> None:
        """A request that no datagram holds is refused with the reason."""
        response = await self.post("/RPC/a", request("x", '["%s"]' % ("x" * 70_000)))
        assert response.status == 413
        assert response.error[1].startswith("Node a Cannot Take The Request: a request of 70")

    async def test_method_names(self) -> None:
        """Names that no node has, or that one could take for another, do not go on; any other name does."""
        for method in ("x" * 201, "core.k\\u0000ill", "core.kill\\u0000", "core.kill\\n", "\\u007f", "gateway.call"):
            response = await self.post("/RPC/a", request(method))
            assert response.error == (500, "Method Not Found")
        response = await self.post("/RPC/g", request("core.k\\u0000ill"))
        assert response.status == 500
        response = await self.post("/RPC", request("gateway.call", '["a","gateway.call","a","core.kill"]'))
        assert response.error == (500, "Method Not Found")
        assert self.nodes["a"].requests == []
        await self.post("/RPC/a", request('\\"},{\u00e9'))
        (sent,) = self.nodes["a"].requests
        assert json.loads(sent)["method"] == '"},{\u00e9'

    async def test_invalid(self) -> None:
        """An invalid request is answered here, and never sent to a node."""
        for document, code in ((b"{", -32700), (b"[]", -32600), (b'{"jsonrpc":"2.0","method":"x","params":3}', -32600)):
            assert (await self.post("/RPC/a", document)).error[0] == code
        await self.post("/RPC/a", b'{"jsonrpc":"2.0","method":"x","params":["\xff"],"id":1}')
        await self.post("/RPC/a", b'{"jsonrpc":"2.0","method":"x","params":["\\ud800"],"id":1}')
        assert self.nodes["a"].requests == []

    async def test_client_leaves(self) -> None:
        """What a client that has left was waiting for is let go of. What has been sent may be running, so that it keeps
        its place at the node, and others of the module of a change wait for its end.
        """
        self.answer(lambda request: None)
        for count, method in ((1, "htable.get"), (2, "htable.sets")):
            client = await self.connect()
            client.write(http_request(request(method), path="/RPC/a"))
            await self.nodes["a"].received(count)
            await client.close()
            await until(lambda: self.gateway.nodes["a"].under_way == 0)
            assert len(self.gateway.nodes["a"]._client._first.calls) == count

    @pytest.mark.slow
    async def test_clients_that_leave_at_once(self) -> None:
        """Clients that ask for changes of invented modules and leave: what waits for room then is never sent."""
        self.serve()
        await self.up()
        node = self.gateway.nodes["a"]
        self.answer(lambda request: None)
        for number in range(3 * UNDER_WAY):
            client = await self.connect()
            client.write(http_request(request(f"invented{number}.change"), path="/RPC/a"))
            await until(lambda: node.under_way > 0)
            await client.close()
            await until(lambda: node.under_way == 0)
        link = node._client._first
        assert len(link.calls) == UNDER_WAY
        assert not link._queue
        assert node._turns._room.size < 2000 * UNDER_WAY
        assert len(node._turns._changes._lanes) == UNDER_WAY
        answered = len(self.nodes["a"].requests)
        node._restarted()
        assert len(self.nodes["a"].requests) == answered == UNDER_WAY
        assert not link.calls
        assert not node._turns._changes._lanes

    async def test_one_client_does_not_have_the_node(self) -> None:
        """A user with as many calls that the node never answers as are allowed keeps no other from calling it."""
        users.write(Path(self.directory, "users"), "ann", "bob")
        self.serve(http_users="users", async_timeout=20)
        await self.up()
        self.answer(lambda request: None if "slow" in request["method"] else b'"result":7')
        headers = {name: f"Authorization: {users.authorization(name)}" for name in ("ann", "bob")}
        batch = b"[%b]" % b",".join(request(f"{kind}.slow", f"[{n}]") for n in range(25) for kind in "abcd")
        client = await self.connect()
        client.write(http_request(batch, headers["ann"], path="/RPC/a"))
        await until(lambda: self.gateway.nodes["a"].under_way == 100)
        for method in ("core.echo", "a.quick"):
            client = await self.connect()
            client.write(http_request(request(method), headers["bob"], path="/RPC/a"))
            if method == "core.echo":
                assert (await client.response()).result == 7
        await until(lambda: self.gateway.nodes["a"].under_way == 101)

    async def test_same_connection(self) -> None:
        """A connection may ask this server, a node, and this server again; own commands stay at the path itself."""
        client = await self.connect()
        await self.assert_answers(client)
        client.write(http_request(request("x", "[1]"), path="/RPC/a"))
        assert (await client.response()).result == [1]
        await self.assert_answers(client)
        for path in ("/RPC", "/RPC/", "/RPC?timeout=1", "/RPC2", "/RPC//"):
            assert (await self.post(path, ECHO)).body == ECHO_REPLY
        client.write(http_request(request("x", "[1]"), path="/RPC/a") + http_request(ECHO))
        assert (await client.response()).result == [1]
        assert (await client.response()).body == ECHO_REPLY

    async def test_spelling(self) -> None:
        """A name may be percent-encoded, as browsers and libraries write it."""
        assert (await self.post("/RPC/%61", request("x", "[1]"))).result == [1]
        assert set((await self.post("/RPC/%2A", request("x", "[1]"))).result) == {"a", "b", "c"}

    async def test_unknown(self) -> None:
        """An unknown name is 404, with the names for those who may list them."""
        for path in ("/RPC/x", "/RPC/a/b", "/RPC/a/", "/RPC/%00", "/RPC/%ff", "/RPC/A"):
            response = await self.post(path, request("x", id="7"))
            assert response.status == 404
            reply = json.loads(response.body)
            assert (reply["id"], reply["error"]["code"]) == (7, 404)
            assert reply["error"]["data"] == {"nodes": ["a", "b", "c"], "groups": ["g"]}
        response = await self.post("/RPC/x", b"[%b,%b]" % (request("x"), request("y", id="2")))
        assert response.status == 404
        assert [one["error"]["code"] for one in json.loads(response.body)] == [404, 404]
        assert all(node.requests == [] for node in self.nodes.values())

    async def test_no_header_is_made_up(self) -> None:
        """What a URL says is in the reason phrase, but begins no header and no other response."""
        injected = "%0d%0aX-Forged:1%0d%0a%0d%0a%00%e2%82%ac"
        for path in (
            f"/RPC/{injected}",
            f"/RPC/*?{injected}=1",
            f"/RPC/a?timeout={injected}",
            f"/RPC/{'%e2%82%ac' * 90}",
        ):
            response = await self.post(path, request("x"))
            assert response.status in (400, 404)
            assert b"x-forged" not in response.headers
            assert min(response.reason) >= 32
            assert len(response.reason.decode()) < 128
            assert json.loads(response.body)["error"]["code"] == response.status

    async def test_names_are_secret(self) -> None:
        """Who may not list the nodes learns none of their names."""
        self.serve(rule=["any allow core.* jsonrpc.*"])
        response = await self.post("/RPC/x", request("x"))
        assert (response.status, response.body) == (
            404,
            b'{"jsonrpc":"2.0","error":{"code":404,"message":"Node Not Found: x"},"id":1}',
        )

    async def test_bad_queries(self) -> None:
        """What a query may say is checked, and told."""
        for query in (
            "timeout=0",
            "timeout=x",
            "timeout=1&timeout=2",
            "quorum=0",
            "quorum=2",
            "first=1",
            "x",
            "a=b" * 9,
        ):
            response = await self.post(f"/RPC/a?{query}", request("x"))
            assert (response.status, response.error[0]) == (400, 400), query
            assert "allowed: " in response.error[1]
        assert (await self.post("/RPC/a?first", request("x", "[1]"))).result == [1]

    async def test_rules(self) -> None:
        """Rules hold for what goes on: those with node= allow it, and all deny it."""
        self.serve(rule=["any allow *", "any node=a allow * deny x.hidden", "any deny core.kill"])
        assert (await self.post("/RPC/a", request("x.y", "[1]"))).result == [1]
        for path, method in (
            ("/RPC/a", "core.kill"),
            ("/RPC/a", "x.hidden"),
            ("/RPC/b", "x.y"),
            ("/RPC/c", "core.uptime"),
        ):
            response = await self.post(path, request(method))
            assert (response.status, response.error) == (403, (403, "Forbidden"))
        assert (await self.post("/RPC", ECHO)).body == ECHO_REPLY
        assert [len(node.requests) for node in self.nodes.values()] == [1, 0, 0]

    async def test_rules_with_parameters(self) -> None:
        """Rules see the parameters that go on, in any spelling; two members of one name are not overlooked."""
        self.serve(
            rule=["any node=* allow htable.sets(ban_table, *, *)", "any node=* allow core.* deny core.echo(secret)"]
        )
        allowed = ('["ban_table","k","v"]', '["ban\\u005ftable","k",1.10]')
        forbidden = ('["ban_tables","k","v"]', '["ban_table"]', "[]", '{"t":"ban_table","k":"k","t":"other"}')
        for params in allowed:
            assert (await self.post("/RPC/a", request("htable.sets", params))).status == 200, params
        for params in forbidden:
            assert (await self.post("/RPC/a", request("htable.sets", params))).status == 403, params
        for params in ('["secret"]', '["\\u0073ecret"]', '["secret\\u0000x"]', '{"a":"secret","a":"x"}', '{"a":"x"}'):
            assert (await self.post("/RPC/a", request("core.echo", params))).status == 403, params
        sent = self.nodes["a"].requests
        assert len(sent) == 2
        assert all(b'"params":%b,' % params.encode() in one for params, one in zip(allowed, sent, strict=True))

    async def test_pretty_format(self) -> None:
        """With pretty_format what a node answers is laid out like the rest, to the last digit."""
        self.serve(pretty_format=1)
        self.answer(lambda request: b'"result":{\n\t"a":\t[1.10,   2]\n}')
        assert (await self.post("/RPC/a", request("x"))).body == (
            b'{\n\t"jsonrpc":\t"2.0",\n\t"result":\t{\n\t\t"a":\t[\n\t\t\t1.10,\n\t\t\t2\n\t\t]\n\t},\n\t"id":\t1\n}'
        )

    async def test_specification(self) -> None:
        """In dialect jsonrpc2 a notification goes on and is not answered, and the status is 200 but for the URL."""
        self.serve(dialect="jsonrpc2")
        response = await self.post("/RPC/a", b'{"jsonrpc":"2.0","method":"x","params":[1]}')
        assert (response.status, response.body) == (200, b"")
        response = await self.post("/RPC/*", b'{"jsonrpc":"2.0","method":"x","params":[1]}')
        assert (response.status, response.body) == (200, b"")
        assert [len(node.requests) for node in self.nodes.values()] == [2, 1, 1]
        self.answer(lambda request: b'"error":{"code":500,"message":"no"}')
        response = await self.post("/RPC/a", request("x"))
        assert (response.status, response.error) == (200, (500, "no"))
        assert (await self.post("/RPC/x", request("x"))).status == 404

    async def test_audit(self) -> None:
        """Calls that change something are in the audit log, without secrets; reads are not."""
        self.serve(audit="audit.log")
        await self.post("/RPC/a", request("htable.sets", '["t","password","hunter2"]'))
        await self.post("/RPC/a", request("auth_xkeys_.set", '["g","n","hunter2",9]'))
        await self.post("/RPC/a", request("htable.dump", '["t"]'))
        await self.post("/RPC/a", request("no.such.method", "[]"))
        await self.post("/RPC/g", request("htable.delete", '["t","k"]'))
        self.answer(lambda request: b'"error":{"code":404,"message":"no"}')
        await self.post("/RPC/a", request("htable.reload", '["t"]'))
        self.answer(lambda request: None)
        await self.post("/RPC/a?timeout=0.05", request("cfg.reset", '["t","k"]'))
        assert self.service.audit is not None
        self.service.audit.reopen()
        lines = [json.loads(line) for line in Path(self.directory, "audit.log").read_text().splitlines()]
        assert [one["method"] for one in lines if "method" in one] == [
            *("htable.sets", "auth_xkeys_.set", "no.such.method", "htable.delete", "htable.delete"),
            *("htable.reload", "cfg.reset"),
        ]
        done = ("result", "result")
        assert [(one["node"], one["outcome"], one["node_outcome"]) for one in lines if "method" in one] == [
            *[("a", *done)] * 3,
            *[("a", *done), ("b", *done)],
            *[("a", "fault", "fault"), ("a", "timed out", "no answer")],
        ]
        assert [one["params"] for one in lines if "method" in one][:2] == [
            *(["t", "password", "(hidden)"], ["g", "n", "(hidden)", 9])
        ]


class ManyNodes(GatewayCase):
    """Documents for many nodes at once."""

    async def test_all(self) -> None:
        """Each node's result is under its name, to the byte and in the order of the nodes; the status is 200."""
        for place, node in enumerate(self.nodes.values()):
            node.answers = lambda request, place=place: b'"result":[ %d.10 ]' % place  # type: ignore[misc]
        response = await self.post("/RPC/*", request("x", "[1]", '"i"'))
        result = b'{"a":{"result":[ 0.10 ]},"b":{"result":[ 1.10 ]},"c":{"result":[ 2.10 ]}}'
        assert response.status == 200
        assert response.body == b'{"jsonrpc":"2.0","result":%b,"id":"i"}' % result
        response = await self.post("/RPC/g", request("x"))
        assert set(response.result) == {"a", "b"}

    async def test_some(self) -> None:
        """Where only some have a result the status is 207; each fault is in its place."""
        self.answer(lambda request: b'"error":{"code":404,"message":"no","data":1.10}', "b")
        response = await self.post("/RPC/*", request("x", "[1]"))
        assert (response.status, response.reason) == (207, b"Multi-Status")
        assert b'"b":{"error":{"code":404,"message":"no","data":1.10}}' in response.body
        await self.nodes["c"].stop()
        self.gateway.nodes["c"].watch.failed(ClientError("c", "x", "slow"))
        await until(lambda: self.gateway.nodes["c"].watch.state == DOWN)
        response = await self.post("/RPC/*", request("x", "[1]"))
        assert response.result["c"] == {"error": {"code": 503, "message": "Node c Is Down: Connection refused"}}

    async def test_none(self) -> None:
        """Where none has a result the status is what they have in common, or 502."""
        self.answer(lambda request: b'"error":{"code":488,"message":"no"}')
        response = await self.post("/RPC/*", request("x"))
        assert (response.status, response.reason) == (488, b"no")
        assert len(response.result) == 3
        self.answer(lambda request: b'"error":{"code":500,"message":"other"}', "b")
        response = await self.post("/RPC/*", request("x"))
        assert (response.status, response.reason) == (502, b"None Of 3 Nodes Gave A Result")

    async def test_first(self) -> None:
        """With first the first result is the reply, whatever the others do; a fault is no result."""
        self.answer(lambda request: None, "a")
        self.answer(lambda request: b'"error":{"code":500,"message":"no"}', "b")
        await self.connect()
        await self.up()
        response = await self.post("/RPC/*?first", request("x", "[1]"))
        assert response.status == 200
        assert response.result["c"] == {"result": [1]}
        assert "a" not in response.result

    @pytest.mark.slow
    async def test_quorum(self) -> None:
        """With a quorum so many results are a reply; where there are not so many, all are waited for."""
        self.answer(lambda request: None, "a")
        response = await self.post("/RPC/*?quorum=2", request("x", "[1]"))
        assert (response.status, set(response.result)) == (200, {"b", "c"})
        response = await self.post("/RPC/*?quorum=3&timeout=0.5", request("x", "[1]"))
        assert response.status == 207
        assert response.result["a"]["error"]["code"] == 504
        response = await self.post("/RPC/*?quorum=4", request("x", "[1]"))
        assert response.error == (400, "quorum: 3 nodes are asked; allowed: 1 to 3")

    @pytest.mark.slow
    async def test_one_hangs(self) -> None:
        """A node that hangs costs no more than the time that there is, and its own place."""
        self.answer(lambda request: None, "b")
        response = await self.post("/RPC/*?timeout=0.5", request("x", "[1]"))
        assert response.status == 207
        assert response.result["b"] == {"error": {"code": 504, "message": "Node b Timed Out: no reply within 0.5 s"}}

    async def test_batch(self) -> None:
        """A batch for many is one reply for each request."""
        response = await self.post("/RPC/g", b"[%b,%b]" % (request("x", "[1]"), request("y", "[2]", "2")))
        assert [one["result"]["b"]["result"] for one in json.loads(response.body)] == [[1], [2]]

    async def test_client_leaves(self) -> None:
        """What a client that has left was waiting for is let go of, everywhere."""
        self.answer(lambda request: None)
        client = await self.connect()
        client.write(http_request(request("x"), path="/RPC/*"))
        for node in self.nodes.values():
            await node.received(1)
        await client.close()
        await until(lambda: all(node.under_way == 0 for node in self.gateway.nodes.values()))

    async def test_rules(self) -> None:
        """Each node is asked for separately: 403 is in the place of those that may not be called. That is no attempt to
        get in, but where none may be called, it is.
        """
        self.serve(rule=["any node=g allow *", "any node=b deny x.z"], audit="audit.log")
        response = await self.post("/RPC/*", request("x.y", "[1]"))
        forbidden = {"error": {"code": 403, "message": "Forbidden"}}
        assert response.status == 207
        assert response.result == {"a": {"result": [1]}, "b": {"result": [1]}, "c": forbidden}
        assert (await self.post("/RPC/g", request("x.z", "[1]"))).result == {"a": {"result": [1]}, "b": forbidden}
        assert self.nodes["c"].requests == []
        assert self.service.dispatcher.counters.get("jsonrpc", "forbidden").read() == 2  # type: ignore[union-attr]
        self.service.change(rule=["any node=a allow nothing.*"])
        response = await self.post("/RPC/*", request("x.y"))
        assert (response.status, response.error) == (403, (403, "Forbidden"))
        assert self.service.audit is not None
        self.service.audit.reopen()
        lines = [json.loads(line) for line in Path(self.directory, "audit.log").read_text().splitlines()]
        refused = [one for one in lines if one.get("outcome") == "refused"]
        assert [one["method"] for one in refused] == ["x.y", "x.z", "x.y"]

    async def test_slots(self) -> None:
        """A call of many is one asynchronous command, however many the nodes are."""
        self.serve(async_limit=1, async_limit_client=1)
        assert (await self.post("/RPC/*", request("x", "[1]"))).status == 200


class Commands(GatewayCase):
    """The commands gateway.*, called by the program and over HTTP."""

    async def call(self, *words: Any) -> Any:
        return await self.service.call(*words)

    async def test_call(self) -> None:
        """gateway.call gives what the node gives: its result, or its fault."""
        self.answer(lambda request: b'"result":{"a":1.5}')
        self.answer(lambda request: b'"error":{"code":488,"message":"no","data":[1]}', "b")
        response = await self.post("/RPC", request("gateway.call", '["a","htable.get","t",1]', '"i"'))
        assert response.body == b'{"jsonrpc":"2.0","result":{"a":1.5},"id":"i"}'
        assert b'"method":"htable.get","params":["t",1],' in self.nodes["a"].requests[0]
        assert await self.call("gateway.call", "a", "x") == {"a": 1.5}
        with pytest.raises(Fault, match="488 no") as failure:
            await self.call("gateway.call", "b", "x")
        assert failure.value.data == [1]
        response = await self.post("/RPC", request("gateway.call", '["b","x"]'))
        assert (response.status, response.reason) == (488, b"no")
        response = await self.post("/RPC", request("gateway.call", '["*","x"]'))
        assert (response.status, len(response.result)) == (207, 3)
        with pytest.raises(Fault, match=r"404 Node Not Found: x$") as failure:
            await self.call("gateway.call", "x", "x")
        assert failure.value.data == {"nodes": ["a", "b", "c"], "groups": ["g"]}

    async def test_call_is_asynchronous(self) -> None:
        """Over a transport without later replies it is refused, and nothing goes on."""
        self.serve()
        reply = self.service.jsonrpc_exec(request("gateway.call", '["a","x"]'))
        assert (reply.code, reply.text) == (500, "gateway.call is asynchronous: it needs HTTP or HTTPS")
        assert self.nodes["a"].requests == []

    async def test_call_keeps_rules(self) -> None:
        """Who may call gateway.call may not call by it what rules forbid."""
        self.serve(rule=["any allow *", "any node=* allow * deny core.kill"])
        response = await self.post("/RPC", request("gateway.call", '["a","core.kill"]'))
        assert (response.status, response.error) == (403, (403, "Forbidden"))

    @pytest.mark.slow
    async def test_only_admin_adds(self) -> None:
        """Who adds a node decides which servers rules are about: no role but admin does."""
        for role in ("read", "operate", "admin"):
            self.serve(rule=[f"http role {role}"])
            for document in (
                request("gateway.add", '["x=udp:127.0.0.1:9","group=g"]'),
                request("gateway.remove", '["a"]'),
            ):
                assert ((await self.post("/RPC", document)).status == 200) == (role == "admin")

    async def test_nodes(self) -> None:
        """gateway.nodes tells all that is known."""
        self.serve()
        await self.up()
        a, b, c = await self.call("gateway.nodes")
        assert a == {
            "name": "a",
            "target": self.nodes["a"].target,
            "groups": ["g"],
            "state": "up",
            "since": a["since"],
            "reason": "",
            "version": "a node",
            "uptime": 100,
            "restarts": 0,
            "restarted": None,
            "under_way": 0,
        }
        assert [one["name"] for one in (b, c)] == ["b", "c"]
        assert await self.call("gateway.nodes", "b") == [b]
        for method in ("gateway.nodes", "gateway.remove"):
            with pytest.raises(Fault, match=r"404 Node Not Found: x$"):
                await self.call(method, "x")
        assert [one.read() for one in self.service.counters.group("gateway")] == [0, 3]

    async def test_add_and_remove(self) -> None:
        """Nodes come and go while the server runs; what is under way ends first."""
        self.serve()
        extra = Node(lambda request: None)
        self.addCleanup(extra.stop)
        assert await self.call("gateway.add", f"d={extra.target}", "group=g") == "Ok. Node d added."
        waiting: Deferred[Any] = ensureDeferred(self.call("gateway.call", "d", "x", 1))
        await extra.received(1)
        node = self.gateway.nodes["d"]
        assert await self.call("gateway.remove", "d") == "Ok. Node d removed."
        assert set((await self.post("/RPC/g", request("x"))).result) == {"a", "b"}
        assert (await self.post("/RPC/d", request("x"))).status == 404
        assert (node.under_way, waiting.called) == (1, False)
        extra.answer_late(0, b'"result":"late"')
        assert await waiting == "late"
        assert node.under_way == 0
        await until(lambda: node._client._first._socket is None)
        with pytest.raises(Fault, match="503 Node d Was Not Asked: it has been removed"):
            await node.call("x", b"", 1)
        for words, code in (
            (("gateway.remove", "d"), "404"),
            (("gateway.add", "a=unix:/x"), "500"),
            (("gateway.add", "x"), "500"),
        ):
            with pytest.raises(Fault, match=code):
                await self.call(*words)

    async def test_reload(self) -> None:
        """A file of nodes is read again; nodes that are as they were stay, with what is known of them."""
        file = Path(self.directory, "nodes")
        b = self.nodes["b"].target
        file.write_text(f"d={b}\ne={b} group=h\n")
        self.serve(node_file="nodes", node=[f"a={self.nodes['a'].target}"])
        await self.up()
        await self.call("gateway.add", f"f={b}")
        stays, goes = self.gateway.nodes["d"], self.gateway.nodes["e"]
        file.write_text(f"d={b}\ne={b} group=i\ng={b}\n")
        assert self.gateway.reload() == "there are 5; new: g; changed: e"
        assert list(self.gateway.nodes) == ["a", "d", "e", "g", "f"]
        assert self.gateway.nodes["d"] is stays
        assert self.gateway.nodes["e"] is not goes
        assert (await self.post("/RPC/h", request("x"))).status == 404
        assert (await self.post("/RPC/i", request("x", "[1]"))).result == {"e": {"result": [1]}}
        file.write_text(f"d={b}\ne={b} group=i\n")
        assert self.gateway.reload() == "there are 4; gone: g"
        assert self.service.reloads.run()
        before = dict(self.gateway.nodes)
        for bad in (f"d={b}\nbad\n", f"f={b}\n", f"d={b}\nd={b}\n"):
            file.write_text(bad)
            assert not self.service.reloads.run()
            assert self.gateway.nodes == before

    async def test_started_again(self) -> None:
        """A server that is stopped and started again asks its nodes again."""
        self.serve()
        await self.up()
        await self.service.stopService()
        self.service.startService()
        await self.up()
        assert await self.call("gateway.call", "a", "x", 1) == [1]

    async def test_health(self) -> None:
        """A node that is down is told by the health, which does not fail for it."""
        self.serve()
        await self.up()
        assert self.service.health.report()["checks"]["nodes"] == {"status": "pass"}
        await self.nodes["a"].stop()
        self.gateway.nodes["a"].watch.failed(ClientError("a", "x", "slow"))
        await until(lambda: self.gateway.nodes["a"].watch.state == DOWN)
        report = self.service.health.report()
        assert report["status"] == "warn"
        assert report["checks"]["nodes"] == {"status": "warn", "reasons": ["a: Connection refused"]}


@pytest.mark.slow
class SecureNode(HttpCase):
    """A node over HTTPS that wants a user and a password, and whose certificate is its own."""

    def setUp(self) -> None:
        super().setUp()
        inner = Path(self.directory, "inner")
        inner.mkdir()
        Path(inner, "users").write_text(f"gw:{make_hash(b'hunter2')}\n")
        Path(inner, "users").chmod(0o600)
        settings = Settings(
            run_dir=inner,
            https_listen="tcp:0:interface=127.0.0.1",
            tls_self_signed=True,
            http_users="users",
        )
        self.inner = makeService(settings, reactor, [Answering()])
        self.inner.startService()
        self.addCleanup(self.inner.stopService)
        port = next(one.port for one in self.inner.listeners() if one.protocol == "https")
        self.target = f"a=https://localhost:{port}/RPC tls_ca=inner/tls.pem user=gw password_file=password"

    async def test_password(self) -> None:
        """The node knows the gateway by its password, which may be changed while it runs; a wrong one is 502 without a
        word of it.
        """
        password = Path(self.directory, "password")
        password.write_text("hunter2\n")
        self.serve(node=[self.target])
        assert (await self.ask(http_request(request("own.big", "[3]"), path="/RPC/a"))).result == "xxx"
        password.write_text("wrong password\n")
        assert self.service.reloads.run()
        response = await self.ask(http_request(request("own.big", "[3]"), path="/RPC/a"))
        assert response.status == 502
        assert response.error[1].startswith("Node a Refuses This Server: status 401")
        assert b"wrong" not in response.body
        password.write_text("hunter2")
        assert self.service.reloads.run()
        assert (await self.ask(http_request(request("own.big", "[3]"), path="/RPC/a"))).result == "xxx"

    async def test_large_replies(self) -> None:
        """A reply of 200 kB passes; the node's own 403 and 500 are the client's."""
        Path(self.directory, "password").write_text("hunter2")
        self.serve(node=[self.target])
        response = await self.ask(http_request(request("own.big", "[200000]"), path="/RPC/a"))
        assert response.result == "x" * 200_000
        response = await self.ask(http_request(request("own.forbid"), path="/RPC/a"))
        assert (response.status, response.error) == (403, (403, "Forbidden"))

    async def test_untrusted(self) -> None:
        """A node whose certificate nobody trusts is not reachable, and gets no password."""
        Path(self.directory, "password").write_text("hunter2")
        self.serve(node=[self.target.replace("tls_ca=inner/tls.pem ", "")])
        response = await self.ask(http_request(request("own.big", "[3]"), path="/RPC/a"))
        assert response.status == 503
        assert "TLS" in response.error[1]


class Answering:
    """Commands of a node."""

    @command("own.big")
    def big(self, size: int) -> str:
        return "x" * size

    @command("own.forbid")
    def forbid(self) -> None:
        raise Fault(403, "Forbidden")


class WithoutNodes(HttpCase):
    """A server that is no gateway."""

    async def test_every_path_is_its_own(self) -> None:
        """Every path below http_path is answered by the server itself."""
        for path in ("/RPC", "/RPC/a", "/RPC/*", "/RPC/a/b?quorum=x"):
            assert (await self.ask(http_request(ECHO, path=path))).body == ECHO_REPLY


repeat_everywhere(globals(), OneNode, ManyNodes)
