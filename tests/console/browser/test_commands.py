"""The panel of commands in a real browser: the list, forms of every kind, replies, faults, questions, the history."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Server
from tests.support.cli import command, plain_environment
from tests.support.consolepage import SHOP, Console

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BIG = 9007199254740993


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory: Path = tmp_path_factory.mktemp("shop")
    (directory / "shop.py").write_text(SHOP)
    (directory / "list").write_text("1 sip:127.0.0.1:1\n7 sip:127.0.0.1:2\n")
    with Server(
        directory, "--commands=shop:Shop", "--htable=a=>size=4", "--htable=b=>size=4", "--list-file=list", sockets=()
    ) as running:
        yield running


@pytest.fixture
def console(page: Any, shop: Server) -> Console:
    return Console(page, shop).open()


def visible(console: Console) -> list[str]:
    """The commands in the list."""
    found: list[str] = console.page.locator(".links a:visible code").all_text_contents()
    return found


def test_filter(console: Console) -> None:
    """The list is filtered by words as somebody types, by family, and by what the commands do."""
    page = console.page
    page.get_by_label("Filter").fill("HTABLE item expires")
    assert visible(console) == ["htable.get", "htable.setex", "htable.setxi", "htable.setxs"]
    page.get_by_role("group", name="What commands do").get_by_role("button", name="reads").click()
    assert visible(console) == ["htable.get"]
    page.get_by_text("1 of ", exact=False).wait_for()
    page.get_by_label("Filter").fill("")
    page.get_by_role("group", name="What commands do").get_by_role("button", name="dangerous").click()
    assert "core.kill" in visible(console)
    assert "htable.get" not in visible(console)
    page.get_by_role("group", name="What commands do").get_by_role("button", name="all").click()
    page.get_by_label("Family").select_option("shop")
    assert {name.partition(".")[0] for name in visible(console)} == {"shop"}
    assert page.get_by_role("link", name="shop.login changes").count() == 1
    assert page.get_by_role("link", name="shop.calls reads").count() == 1


def test_form_of_every_kind(console: Console) -> None:
    """Text, numbers with limits, true or false, choices, JSON, either type, what is optional and what is repeated."""
    page = console.command("shop.all").page
    page.get_by_text("A second paragraph says more.").wait_for()
    console.send()
    assert page.locator("[aria-invalid=true]").count() == 5  # an empty text is a text
    assert page.evaluate("document.activeElement.getAttribute('aria-invalid')") == "true"
    console.field("name").fill("apple")
    console.field("count").fill("101")
    console.field("price").fill("1.50")
    console.field("gift").select_option("true")
    console.field("order").select_option("price")
    console.field("item").fill('{"name": "pear", "price": 2')
    console.send()
    page.get_by_text("Out of range; allowed: 1 to 100").wait_for()
    page.get_by_text("Not JSON: it ends too early").wait_for()
    console.field("count").fill("100")
    console.field("item").fill('{"name": "pear", "price": 2}')
    page.get_by_role("button", name="Add a value of tags").click()
    page.keyboard.type("red")
    page.get_by_role("button", name="Add a value of tags").click()
    page.keyboard.type("sour")
    page.get_by_role("button", name="Add a value of tags").click()
    page.get_by_role("button", name="Remove tags 2").click()
    console.send()
    expected = ["apple", 100, 1.5, True, "price", {"name": "pear", "price": 2}, "none", "", "red", ""]
    page.get_by_text("Result", exact=True).wait_for()
    assert console.result() == expected
    for way, sent in (("automatic", 5), ("as text", "5")):
        console.field("place").fill("5")
        page.get_by_label("How to send").select_option(way)
        with page.expect_request("**/RPC") as request:
            console.send()
        assert json.loads(request.value.post_data)["params"][6] == sent


def test_gap(console: Console) -> None:
    """A parameter before one that is given must be filled in, unless its default is known."""
    page = console.command("shop.login").page
    console.field("user").fill("ann")
    console.field("api_token").fill("t")
    console.send()
    page.get_by_text("Fill this in, because a later parameter is given").wait_for()
    assert page.evaluate("document.activeElement.id") == console.field("word").get_attribute("id")
    console.command("dispatcher.add")
    console.field("group").fill("9")
    console.field("address").fill("sip:127.0.0.1:9")
    console.field("attributes").fill("duid=x")
    console.send()
    with page.expect_request("**/RPC") as request:
        console.button("Send").click()
    assert json.loads(request.value.post_data)["params"] == [9, "sip:127.0.0.1:9", 0, 0, "duid=x"]


def test_as_json(console: Console) -> None:
    """Parameters can be written as JSON, and go back into the fields."""
    page = console.command("shop.rows").page
    console.field("count").fill("3")
    console.button("As JSON").click()
    area = page.get_by_label("Parameters as JSON")
    assert json.loads(area.input_value()) == [3]
    area.fill("[3")
    console.send()
    page.get_by_text("Not JSON: it ends too early").wait_for()
    area.fill(" [ 4 ] ")
    console.button("Fields").click()
    assert console.field("count").input_value() == "4"


def test_big_numbers(console: Console) -> None:
    """Numbers that JavaScript cannot hold are shown, and sent, to the last digit."""
    page = console.command("shop.big").send().page
    console.view("Tree")
    for number in (str(BIG), "-9223372036854775808", "18446744073709551615"):
        page.get_by_text(number, exact=True).wait_for()
    console.command("core.printi")
    page.get_by_role("button", name="Add a value").click()
    page.keyboard.type(str(BIG))
    with page.expect_request("**/RPC") as request:
        console.send()
    assert f"[{BIG}]" in request.value.post_data


def test_views(console: Console) -> None:
    """A result is a table, a tree and a document; of a long one, more is shown on demand."""
    page = console.command("shop.rows").page
    console.field("count").fill("450")
    console.send().view("Table")
    table = page.get_by_role("region", name="Result as a table")
    assert table.get_by_role("columnheader").all_inner_texts() == ["place", "name"]
    table.get_by_role("button", name="Show more (250 left)").click()
    table.get_by_role("button", name="Show more (50 left)").click()
    assert table.locator("tbody tr").count() == 450
    console.view("Tree")
    tree = page.get_by_role("region", name="Result as a tree")
    tree.get_by_text("1 member").first.click()
    tree.get_by_text("2 members").first.click()
    tree.get_by_text("row 0", exact=True).wait_for()
    tree.get_by_text("1 member").first.click()
    tree.get_by_text("row 0", exact=True).wait_for(state="hidden")
    assert len(console.result()) == 450
    assert page.get_by_text("ms · ").count() == 1


def echo(console: Console, value: str) -> Any:
    """Have the server answer with what it was sent.

    @return: the table that shows it.
    """
    page = console.command("shop.echo").page
    console.button("As JSON").click()
    page.get_by_label("Parameters as JSON").fill(f"[{value}]")
    console.send().view("Table")
    return page.get_by_role("region", name="Result as a table")


def test_names_of_javascript(console: Console) -> None:
    """A member that only other rows have is empty, whatever it is called."""
    table = echo(console, '[{"constructor": 1, "toString": 2}, {"__proto__": 3, "name": "x"}, {"name": "y"}]')
    assert table.get_by_role("columnheader").all_inner_texts() == ["constructor", "toString", "__proto__", "name"]
    assert [row.get_by_role("cell").all_inner_texts() for row in table.get_by_role("row").all()[1:]] == [
        ["1", "2", "", ""],
        ["", "", "3", "x"],
        ["", "", "", "y"],
    ]


def test_deep_tables(console: Console) -> None:
    """Tables within tables are drawn to some depth; below that, there are branches to open."""
    depth = 20
    table = echo(console, '[{"a":' * depth + '[{"b":1},{"b":2}]' + "}]" * depth)
    table.get_by_text("1 item").first.wait_for()
    assert table.locator("table").count() == 3


def test_fault(console: Console) -> None:
    """A fault is shown as one, with its code, its text and its data."""
    page = console.command("shop.fault").page
    console.field("code").fill("480")
    console.field("text").fill("Gone <b>Away</b>")
    console.send()
    page.locator(".outcome").get_by_text("Fault 480").wait_for()
    page.locator(".fault").get_by_text("Gone <b>Away</b>").first.wait_for()
    page.get_by_text(str(BIG)).wait_for()
    assert page.locator(".answer b").count() == 0
    page.get_by_text("Faults that it may return").click()
    page.get_by_text("Invalid Parameters").wait_for()


def test_changes_ask_first(console: Console) -> None:
    """What changes something is sent only after a question, in which secrets cannot be read."""
    page = console.command("shop.login").page
    console.field("user").fill("bob")
    console.field("word").fill("hunter2")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url) if request.url.endswith("/RPC") else None)
    console.send()
    assert "hunter2" not in console.dialog.inner_text()
    console.button("Cancel").click()
    console.dialog.wait_for(state="detached")
    assert requests == []
    console.send()
    page.keyboard.press("Escape")
    console.dialog.wait_for(state="detached")
    assert requests == []
    console.send().button("Send").click()
    page.get_by_text("Result", exact=True).wait_for()
    assert len(requests) == 1
    assert page.evaluate("document.activeElement.textContent") == "Call"


def test_dangerous(console: Console) -> None:
    """What is dangerous is sent only once its name is typed."""
    page = console.command("core.kill").page
    console.field("sig").or_(console.field("signal")).or_(console.field("number")).first.fill("0")
    console.send().button("Send").click()
    console.dialog.get_by_text("Type core.kill to send it.").wait_for()
    page.keyboard.press("Escape")
    console.dialog.wait_for(state="detached")
    console.send()
    console.dialog.get_by_label("Type core.kill to send it").fill("core.kill")
    console.button("Send").click()
    page.locator(".outcome").wait_for()


def test_history(console: Console) -> None:
    """The calls of the session are listed without secrets, survive a reload, and fill the form again."""
    page = console.command("shop.login").page
    console.field("user").fill("carol")
    assert console.field("word").get_attribute("type") == "password"
    console.field("word").fill("hunter2")
    console.field("api_token").fill("hunter3")
    console.send().button("Send").click()
    recent = page.get_by_role("region", name="Calls of this session")
    recent.get_by_text("carol").wait_for()
    stored = page.evaluate("JSON.stringify(sessionStorage)")
    assert "carol" in stored
    assert "hunter" not in stored
    page.reload()
    page.get_by_role("region", name="Calls of this session").get_by_role("button").first.click()
    assert console.field("user").input_value() == "carol"
    assert console.field("word").input_value() == ""
    console.command("shop.calls").send().view("Tree")
    page.get_by_text("hunter2").first.wait_for()


def test_suggestions(console: Console) -> None:
    """Fields offer the tables, sets and groups that the server has, and names within a group."""

    def offered(name: str) -> list[str]:
        console.field(name).focus()
        options = console.page.locator(f"datalist#{console.field(name).get_attribute('list')} option")
        options.first.wait_for(state="attached")
        found: list[str] = options.evaluate_all("(all) => all.map((one) => one.value)")
        return found

    console.command("htable.get")
    assert sorted(offered("table")) == ["a", "b"]
    console.command("dispatcher.set_state")
    assert {"1", "7"} <= {*offered("group")}
    console.field("group").fill("7")
    assert offered("address") == ["sip:127.0.0.1:2"]
    console.command("cfg.get")
    assert "shop" in offered("group")
    console.field("group").fill("shop")
    assert "limit" in offered("name")


@pytest.mark.parametrize("params", [["it's", "-x", "$HOME", "5"], [5, -1, BIG], ["", "s:x", 'a b"c`d']])
def test_copied_command_lines(console: Console, params: list[Any], shop: Server) -> None:
    """What is copied for curl and for jsonrpcs makes the same call in a shell."""
    page = console.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    console.command("core.echo").button("As JSON").click()
    page.get_by_label("Parameters as JSON").fill(json.dumps(params))
    console.send()
    expected = console.result()
    console.button("Copy as curl").click()
    console.said("Copied: as curl")
    line = page.evaluate("navigator.clipboard.readText()")
    assert line.startswith("curl --json ")
    assert json.loads(run(line))["result"] == expected
    console.button("Copy as jsonrpcs").click()
    console.said("Copied: as jsonrpcs")
    line = page.evaluate("navigator.clipboard.readText()")
    printed = run(line.replace("jsonrpcs ", f"{command()[0]} ", 1) if len(command()) == 1 else line)
    assert printed.splitlines() == [str(one) for one in expected] or json.loads(printed) == expected
    console.button("Copy reply").click()
    console.said("Copied: reply")
    assert json.loads(page.evaluate("navigator.clipboard.readText()"))["result"] == expected


def run(line: str) -> str:
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=plain_environment(), timeout=60)
    assert done.returncode == 0, (line, done.stderr)
    return done.stdout


def test_exact_json(console: Console) -> None:
    """The page's own parser of JSON agrees with the browser's, keeps digits, and refuses what is not JSON."""
    found = console.page.evaluate("""async () => {
        const { parse, stringify } = await import("./assets/json.js");
        const good = ['[1,2.5,-3e2,true,false,null,"a\\\\n\\\\u0041"]', '{"__proto__":1,"a":{"b":[]}, "c" : {} }',
            ' [ 12345678901234567890 , 1.10 , -0 , 1e400, "1.0" ] ', '{"x":"12345678901234567","y":0.1}', "5", '""'];
        const bad = ["", "[", "[1.0,]", "{1.0:2}", '{"a" 1.0}', "01.0", "[1.0] 2", '"1.0', "+1.0", "[1.0 2]", "tru1.0",
            "1234567890123456789x", "[" .repeat(5000) + "1.0",
            "[".repeat(1001) + "1.0" + "]".repeat(1001), "[".repeat(1001) + "1" + "]".repeat(1001), "[".repeat(9e5)];
        return {
            good: good.map((text) => stringify(parse(text))),
            indented: stringify(parse('[{"a":1.0},[]]'), "  "),
            deep: ["1", "1.0"].map((one) => stringify(parse("[".repeat(1000) + one + "]".repeat(1000))).length),
            long: parse(`["${"x".repeat(2e7)}", 1.0]`)[0].length,
            bad: bad.map((text) => { try { return stringify(parse(text)); } catch (error) { return error.name; } }),
        };
    }""")
    assert found["good"] == [
        '[1,2.5,-3e2,true,false,null,"a\\nA"]',
        '{"__proto__":1,"a":{"b":[]},"c":{}}',
        '[12345678901234567890,1.10,-0,1e400,"1.0"]',
        '{"x":"12345678901234567","y":0.1}',
        "5",
        '""',
    ]
    assert found["indented"] == '[\n  {\n    "a": 1.0\n  },\n  []\n]'
    assert found["deep"] == [2001, 2003]
    assert found["long"] == 20_000_000
    assert set(found["bad"]) == {"SyntaxError"}


def test_reply_that_cannot_be_shown(console: Console) -> None:
    """A reply with too many levels is shown as a fault that says so, as is an error while a reply is drawn."""
    page = console.command("shop.big").page
    deep = f'{{"jsonrpc":"2.0","result":{"[" * 1200}{"]" * 1200},"id":1}}'
    page.route("**/RPC", lambda route: route.fulfill(body=deep, content_type="application/json"))
    console.send()
    page.get_by_text("The reply is not a JSON-RPC document: more than 1000 levels", exact=True).wait_for()
    page.evaluate("""() => {
        const make = Document.prototype.createElement;
        Document.prototype.createElement = function (name) {
            if (new Error().stack.includes("reply.js")) throw new Error("no element");
            return make.call(this, name);
        };
    }""")
    console.send()
    page.get_by_text("The reply cannot be shown: no element").wait_for()
