"""Calls by the program as a process: over each transport, with typed parameters, printed in each way."""

import json
from pathlib import Path

import pytest

from tests.support import Server
from tests.support.cli import jsonrpcs, options
from tests.support.clients import TRANSPORTS, kamailio_targets, leftovers, our_target
from tests.support.hostile import Hostile, http
from tests.support.kamailio import Kamailio

pytestmark = pytest.mark.slow

REAL = ("unix", "fifo", "http")


def check_calls(words: list[str], unknown: str) -> None:
    """A server is called, and a fault of it is told."""
    done = jsonrpcs(*words, "jsonrpc.echo", "5", "5", "--json")
    assert (done.code, done.out, done.err) == (0, '["5",5]\n', "")
    done = jsonrpcs(*words, "core.uptme")
    target = words[1]
    assert (done.code, done.out) == (1, "")
    assert done.err == f"jsonrpcs: {target}: core.uptme: {unknown}; did you mean core.uptime?\n"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_ours(server: Server, transport: str) -> None:
    """Each transport of our server."""
    check_calls(options(our_target(server, transport)), "500 Method Not Found")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_ours_strict(strict: Server, transport: str) -> None:
    """The same in dialect jsonrpc2."""
    check_calls(options(our_target(strict, transport)), "-32601 Method not found")


@pytest.mark.parametrize("transport", REAL)
def test_real(kamailio: Kamailio, transport: str) -> None:
    """Each transport of the real Kamailio."""
    before = leftovers(Path("/tmp"))
    check_calls(["--to", kamailio_targets(kamailio)[transport]], "500 Method Not Found")
    assert leftovers(Path("/tmp"), Path(kamailio.unix).parent) == before


def test_module_not_loaded(server: Server, kamailio: Kamailio) -> None:
    """A method of a module that the server has not loaded is not taken for a mistyped one."""
    for place in (server.addresses["unix"], kamailio.unix):
        for words in (["dlg.list"], ["help", "dlg.list"]):
            done = jsonrpcs("--to", f"unix:{place}", *words)
            assert done.err.endswith("; it is in Kamailio's module dialog, which is not loaded there\n")


def test_data_of_a_fault(strict: Server) -> None:
    """What a fault says to programs is told as well."""
    done = jsonrpcs("--to", f"unix:{strict.addresses['unix']}", "--params", '["x"]', "shop.echo")
    data = '{"parameter":"number","reason":"is missing","allowed":"int"}'
    assert done.code == 1
    assert done.err.endswith(f": shop.echo: -32602 Invalid params: {data}; see jsonrpcs help shop.echo\n")
    many = "[" + ",".join(["10"] * 100) + "]"
    assert told(many) == f"9 x: {many[:200]}..."
    assert told('"\x9b"') == r'9 x: "\x9b"'
    for depth in range(940, 1000, 4):  # some can be read, but not written in the place where that is
        assert "\n" not in told("[" * depth + "]" * depth)


def told(data: str) -> str:
    """What the program tells of a fault with data."""
    hostile = Hostile(f'{{"jsonrpc":"2.0","error":{{"code":9,"message":"x","data":{data}}},"id":1}}'.encode())
    done = jsonrpcs("--to", f"tcp:127.0.0.1:{hostile.port}", "a.b")
    hostile.close()
    start, end = f"jsonrpcs: tcp:127.0.0.1:{hostile.port}: a.b: ", "\n"
    assert (done.code, done.err[: len(start)], done.err[-1]) == (1, start, end)
    return done.err[len(start) : -1]


def test_types_from_the_server(strict: Server) -> None:
    """Where the catalogue does not know a method, its server tells the types."""
    to = ["--to", f"unix:{strict.addresses['unix']}", "--json"]
    assert jsonrpcs(*to, "shop.echo", "5", "6", "true").out == '["5",6,true]\n'
    assert jsonrpcs(*to, "shop.echo", "s:x", "7", "json:false", "5", "x", "1.5").out == '["x",7,false,5,"x",1.5]\n'
    done = jsonrpcs(*to, "shop.echo", "x", "y", "true")
    message = "jsonrpcs: shop.echo: parameter 2: 'y' is not allowed; allowed: a whole number, or s:y for text\n"
    assert (done.code, done.out, done.err) == (2, "", message)


def test_parameters_as_a_document(strict: Server) -> None:
    """All parameters may be one document, by name if the server takes that, and may come from elsewhere."""
    to = ["--to", f"unix:{strict.addresses['unix']}", "--json", "shop.echo", "--params"]
    assert jsonrpcs(*to, '["a",5]').out == '["a",5,false]\n'
    assert jsonrpcs(*to, "-", given='{"number":7,"text":"s:x"}').out == '["s:x",7,false]\n'
    assert jsonrpcs(*to, "[]", "word").code == 2


def test_method_with_the_name_of_a_subcommand(strict: Server) -> None:
    """The word C{call} calls any method."""
    assert jsonrpcs("call", "targets", "--to", f"unix:{strict.addresses['unix']}").out == "a method\n"


def test_ways_to_print(strict: Server) -> None:
    """A result is printed for people, as JSON, YAML, the bytes of the reply, or in a form."""
    to = ["--to", f"unix:{strict.addresses['unix']}"]
    assert jsonrpcs(*to, "htable.seti", "a", "1001", "5").out == "Ok. Key set to new value.\n"
    dump = [*to, "htable.dump", "a"]
    table = "  name  value  type\n    1001      5  int\n"
    assert jsonrpcs(*dump).out == f"- entry: 12\n  size: 1\n  slot:\n  {table}"
    record = '{"name":"1001","value":5,"type":"int"}'
    assert jsonrpcs(*dump, "--json").out == f'[{{"entry":12,"size":1,"slot":[{record}]}}]\n'
    raw = f'{{"jsonrpc":"2.0","result":[{{"entry":12,"size":1,"slot":[{record}]}}],"id":1}}'
    assert jsonrpcs(*dump, "--raw").out == raw
    assert jsonrpcs(*dump, "-f", r"%v/%v\n").out == "12/1\n1001/5\nint/\n"
    assert jsonrpcs(*dump, "-y").out.startswith('- entry: 12\n  size: 1\n  slot:\n    - name: "1001"\n')
    done = jsonrpcs(*dump, "--json", "--raw")
    assert (done.code, done.err) == (2, "jsonrpcs: --json and --raw: only one of them is allowed\n")
    fault = jsonrpcs(*to, "htable.dump", "b", "--raw")
    assert (fault.code, json.loads(fault.out)["error"]["code"]) == (1, 500)


def test_hostile_text(strict: Server) -> None:
    """What a server sends moves no cursor and rings no bell, however it is printed; only the bytes are as they are."""
    to = ["--to", f"unix:{strict.addresses['unix']}", "shop.hostile"]
    for words in ((), ("--json",), ("--yaml",), ("-f", "%v ")):
        done = jsonrpcs(*to, *words)
        assert done.code == 0
        assert done.out.replace("\n", "").isprintable()
    assert "\u202e" in jsonrpcs(*to, "--raw").out


def test_hostile_error() -> None:
    """The same goes for errors, which are one line."""
    hostile = Hostile(http(b'{"jsonrpc":"2.0","error":{"code":-1,"message":"a\\n\\u001b[2Jb"},"id":1}'))
    done = jsonrpcs("--to", f"http://127.0.0.1:{hostile.port}", "a.b")
    hostile.close()
    assert (done.code, done.err) == (1, f"jsonrpcs: http://127.0.0.1:{hostile.port}/RPC: a.b: -1 a\\n\\x1b[2Jb\n")


def test_environment(server: Server) -> None:
    """C{JSONRPCS_TO} says where the server is, unless an option does."""
    variables = {"JSONRPCS_TO": f"unix:{server.addresses['unix']}"}
    assert jsonrpcs("core.version", variables=variables).out.startswith("jsonrpcs_tx ")
    assert jsonrpcs("core.version", "--to", "unix:/nowhere/x", variables=variables).code == 3


def test_large_reply(kamailio: Kamailio) -> None:
    """What no datagram holds comes over another way, if the method only reads."""
    targets = kamailio_targets(kamailio)
    lines = "".join(f"htable.sets a k{number} {'x' * 1000}\n" for number in range(300))
    assert jsonrpcs("batch", "-", "--to", targets["http"], given=lines).code == 0
    done = jsonrpcs("--to", f"{targets['unix']},{targets['fifo']}", "htable.dump", "a", "--json", "--timeout", "2")
    assert (done.code, len(json.loads(done.out)) > 0, len(done.out) > 300_000) == (0, True, True)
    assert jsonrpcs("--to", targets["http"], "htable.flush", "a").code == 0


def test_several(server: Server, strict: Server) -> None:
    """One call goes to many at once: a result each, and the code of the worst."""
    first, second = (f"unix:{one.addresses['unix']}" for one in (server, strict))
    both = ["--to", first, "--to", second]
    done = jsonrpcs(*both, "jsonrpc.echo", "x", "1")
    assert (done.code, done.out) == (0, f"# {first}\nx\n1\n# {second}\nx\n1\n")
    done = jsonrpcs(*both, "--to", "unix:/nowhere/x", "htable.get", "a", "none", "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["target"] for line in lines] == [first, second, "unix:/nowhere/x"]
    assert [line["error"]["code"] for line in lines] == [500, 500, None]
    assert (done.code, done.err.count("\n")) == (3, 3)
    assert jsonrpcs(*both, "jsonrpc.echo", "x", "--raw").out == '{"jsonrpc":"2.0","result":["x"],"id":1}\n' * 2
