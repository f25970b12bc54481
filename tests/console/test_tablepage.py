"""The items of a hash table, part by part."""

import json
from typing import Any

import pytest
from twisted.internet.defer import DeferredList, ensureDeferred

from jsonrpcs_tx.console import tablepage
from jsonrpcs_tx.console.tablepage import MAX_LIMIT, MAX_OF_ONE, Query, read_query
from jsonrpcs_tx.rpc.shares import Shares
from tests.support.console import ConsoleCase
from tests.support.http import repeat_everywhere
from tests.support.reactor import until

HOSTILE = '\r\n\0<script>"\\\u2028é'


class TablePage(ConsoleCase):
    async def page(self, query: str) -> Any:
        response = await self.browser().get(f"table?{query}")
        assert response.status == 200, response.body
        return json.loads(response.body)

    async def everything(self, query: str) -> list[str]:
        """The keys of all parts, one after the other."""
        keys: list[str] = []
        after = 0
        while True:
            page = await self.page(f"{query}&after={after}")
            keys += [row["key"] for row in page["rows"]]
            if page["next"] is None:
                return keys
            assert page["next"] > after
            after = page["next"]

    async def test_items(self) -> None:
        """Items come with their values as texts, their types and when they expire."""
        self.serve()
        table = self.service.tables["t"]
        table.set("a", 2**63 - 1)
        table.set("b", HOSTILE)
        table.set(HOSTILE, "", 1000)
        page = await self.page("name=t")
        expires = page["rows"][2].pop("expires")
        assert page == {
            "name": "t",
            "generation": 3,
            "items": 3,
            "rows": [
                {"key": "a", "value": "9223372036854775807", "type": "int", "expires": None},
                {"key": "b", "value": HOSTILE, "type": "str", "expires": None},
                {"key": HOSTILE, "value": "", "type": "str"},
            ],
            "next": None,
        }
        assert expires > 1_700_000_000

    async def test_parts(self) -> None:
        """All parts together are the table, each item once, whatever the size of the parts."""
        self.serve()
        keys = [f"k{number}" for number in range(50)]
        for key in keys:
            self.service.tables["t"].set(key, 1)
        for limit in (1, 7, 25, 50, 1000):
            assert await self.everything(f"name=t&limit={limit}") == keys

    async def test_search(self) -> None:
        """A text is found in keys and values; case does not matter."""
        self.serve()
        for key, value in (("Alice", "x"), ("bob", "met ALICE"), ("carl", 4711), ("é", "straße"), ("%&=+ ", "")):
            self.service.tables["t"].set(key, value)
        for search, found in (
            *(("alice", ["Alice", "bob"]), ("ALI", ["Alice", "bob"]), ("471", ["carl"]), ("%C3%A9", ["é"])),
            *(("%25%26%3D%2B+", ["%&=+ "]), ("nothing", []), ("", ["Alice", "bob", "carl", "é", "%&=+ "])),
        ):
            for limit in (1, 10):
                assert await self.everything(f"name=t&search={search}&limit={limit}") == found, search

    async def test_changes(self) -> None:
        """Items that are removed between two parts are left out, new ones come at the end; none comes twice."""
        self.serve()
        table = self.service.tables["t"]
        for number in range(10):
            table.set(f"k{number}", number)
        page = await self.page("name=t&limit=5")
        assert [row["key"] for row in page["rows"]] == ["k0", "k1", "k2", "k3", "k4"]
        table.delete("k4")
        table.delete("k6")
        table.set("k0", "again")
        table.delete("k1")
        table.set("k1", "new")
        rest = await self.page(f"name=t&limit=100&after={page['next']}")
        assert [row["key"] for row in rest["rows"]] == ["k5", "k7", "k8", "k9", "k1"]

    @pytest.mark.slow
    async def test_large(self) -> None:
        """A large table is searched while others are answered."""
        self.serve()
        table = self.service.tables["t"]
        for number in range(10_000):
            table.set(f"key{number}", f"value{number}")
        assert len(await self.everything("name=t&limit=1000")) == 10_000
        assert await self.everything("name=t&search=value9999") == ["key9999"]
        for number in range(10_000, 100_000):
            table.set(f"key{number}", f"value{number}")
        looking = await self.connect()
        other = await self.connect()
        looking.write(self.browser().request("GET", "table?name=t&search=value99999"))
        await self.assert_answers(other)
        assert looking.received == b""
        assert [row["key"] for row in json.loads((await looking.response()).body)["rows"]] == ["key99999"]

    async def test_large_values(self) -> None:
        """An answer has only so many bytes, and at least one item."""
        self.serve()
        for number in range(5):
            self.service.tables["t"].set(f"k{number}", "x" * 600_000)
        assert len((await self.page("name=t"))["rows"]) == 2
        assert len(await self.everything("name=t")) == 5

    async def test_search_in_large_values(self) -> None:
        """Others are answered while long values are searched."""
        self.serve()
        value = "É" * 400_000
        for number in range(50):
            self.service.tables["t"].set(f"k{number}", value)
        looking = await self.connect()
        other = await self.connect()
        looking.write(self.browser().request("GET", "table?name=t&search=nothing"))
        await self.assert_answers(other)
        assert looking.received == b""
        assert json.loads((await looking.response()).body)["rows"] == []

    @pytest.mark.slow
    async def test_too_many_at_once(self) -> None:
        """Requests hold memory while they are in progress, so one may not have many; others may still have theirs."""
        self.serve()
        for number in range(50_000):
            self.service.tables["t"].set(f"k{number}", 1)
        search = self.browser().request("GET", "table?name=t&search=none")
        clients = [await self.connect() for _ in range(MAX_OF_ONE + 1)]
        for client in clients:
            client.write(search)
        last = await clients.pop().response()
        assert (last.status, b"allowed: 12 " in last.body, last.headers[b"retry-after"]) == (503, True, b"1")
        assert (await self.browser(via="127.0.0.2").get("table?name=t&limit=1")).status == 200
        await clients.pop().close()
        for client in clients:
            assert (await client.response()).status == 200
        await until(lambda: self.shares.taken == 0)
        assert len((await self.page("name=t&limit=1"))["rows"]) == 1

    @pytest.mark.slow
    async def test_too_many_of_all(self) -> None:
        """The number of all requests in progress is limited, and not only that of one client."""
        self.patch(tablepage, "MAX_IN_PROGRESS", 1)
        self.serve()
        for number in range(50_000):
            self.service.tables["t"].set(f"k{number}", 1)
        client, other = await self.connect(), await self.connect()
        client.write(self.browser().request("GET", "table?name=t&search=none"))
        await until(lambda: self.shares.taken == 1)
        other.write(self.browser().request("GET", "table?name=t"))
        assert (await other.response()).status == 503
        assert (await client.response()).status == 200
        assert (await self.browser().get("table?name=t")).status == 200

    @property
    def shares(self) -> Shares:
        page: Any = self.console._pages[b"table"]
        assert isinstance(page.__self__, tablepage.TablePage)
        return page.__self__._shares

    async def test_client_that_leaves(self) -> None:
        """Nothing is done any more for a client that has left."""
        self.serve()
        for number in range(20_000):
            self.service.tables["t"].set(f"k{number}", 1)
        for _ in range(3):
            client = await self.connect()
            client.write(self.browser().request("GET", "table?name=t&search=none"))
            await client.close()
        assert await self.everything("name=t&search=k19999") == ["k19999"]

    async def test_many_at_once(self) -> None:
        """Several searches at once each find their own items."""
        self.serve()
        for number in range(5_000):
            self.service.tables["t"].set(f"k{number}", number)
        asked = [ensureDeferred(self.everything(f"name=t&search=k499{digit}")) for digit in range(10)]
        found = await DeferredList(asked, fireOnOneErrback=True)
        assert [keys for _, keys in found] == [[f"k499{digit}"] for digit in range(10)]

    async def test_rules(self) -> None:
        """A caller who may dump a table sees its items; others do not get to know whether it exists."""
        self.serve(rule=["http https 127.0.0.1 allow htable.dump(t) core.echo", "http https 127.0.0.2 role read"])
        assert (await self.page("name=t"))["items"] == 0
        for name in ("secret", "none"):
            assert (await self.browser().get(f"table?name={name}")).status == 403
        assert self.service.dispatcher.forbidden.value == 2
        reader = self.browser(via="127.0.0.2")
        assert (await reader.get("table?name=secret")).status == 200
        assert (await reader.get("table?name=none")).status == 404

    async def test_no_family(self) -> None:
        """A program that has not loaded the commands shows its tables to nobody."""
        self.serve(load=["system"])
        assert (await self.browser().get("table?name=t")).status == 403

    async def test_malformed(self) -> None:
        """Other queries are refused, and the answer says what is allowed."""
        for query in ("", "nam=t", "name=t&limit=0", "name=t&limit=1001", "name=t&after=-1", "name=t&after=x"):
            response = await self.browser().get(f"table?{query}")
            assert (response.status, b"allowed" in response.body) == (400, True), query
        assert (await self.browser().get("table?name=%0d%0ax")).status == 404
        assert (await self.browser().get("table?name=%ff")).status == 404

    async def test_failure(self) -> None:
        """An error that nobody expects is answered, and logged."""
        self.serve()
        self.service.tables["t"].set("k", "v")
        self.patch(tablepage, "_row", lambda table, item: 1 // 0)
        assert (await self.browser().get("table?name=t")).status == 500
        assert self.flushLoggedErrors(ZeroDivisionError)


repeat_everywhere(globals(), TablePage)


@pytest.mark.parametrize(
    ("args", "query"),
    [
        ({b"name": [b"t"]}, Query("t")),
        (
            {b"name": [b"a", b"t"], b"search": [b"Ab"], b"after": [b"7"], b"limit": [b"1000"]},
            Query("t", 7, "ab", MAX_LIMIT),
        ),
        ({b"name": [b""]}, Query("")),
    ],
)
def test_query(args: dict[bytes, list[bytes]], query: Query) -> None:
    """The query of a URL is read; of several values the last one counts."""
    assert read_query(args) == query


@pytest.mark.parametrize("value", ["", "-1", "+1", "1.0", "1e3", "٣", "0x1", " 1", "1 ", "9" * 5000])
def test_bad_number(value: str) -> None:
    """A number that is not written in digits is refused."""
    for name in (b"after", b"limit"):
        with pytest.raises(ValueError, match="allowed"):
            read_query({b"name": [b"t"], name: [value.encode()]})
