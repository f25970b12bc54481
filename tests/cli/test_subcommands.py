"""The sub-commands of the program as processes."""

import json
import re
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote, unquote

import pytest

from tests.support import PATIENCE, Server, target_text
from tests.support.cli import command, jsonrpcs, plain_environment
from tests.support.kamailio import Kamailio

pytestmark = pytest.mark.slow


def test_help_and_version() -> None:
    """The help and the version need no server."""
    assert jsonrpcs("--version").out.startswith("jsonrpcs 0.")
    assert jsonrpcs("--help").out == jsonrpcs("help").out
    assert jsonrpcs("watch", "--help").out == jsonrpcs("help", "watch").out


def test_methods(server: Server) -> None:
    """The methods of a server, those with a pattern in the name."""
    to = ["--to", f"unix:{server.addresses['unix']}", "methods"]
    every = jsonrpcs(*to, "-f", r"%v\n").out.splitlines()
    assert every == json.loads(jsonrpcs(*to, "--json").out)
    assert {"core.uptime", "htable.get"} <= set(every)
    found = jsonrpcs(*to, "UPTIME").out
    assert found == "method       what it does\ncore.uptime  Shows how long the server has been running.\n"
    assert json.loads(jsonrpcs(*to, "core.up*", "--json").out) == ["core.uptime"]
    assert (jsonrpcs(*to, "nothing").out, jsonrpcs(*to, "nothing", "--json").out) == ("", "[]\n")


def test_help_of_a_method(strict: Server, kamailio: Kamailio) -> None:
    """What a method takes is known from the catalogue, the server, or both."""
    ours = ["--to", f"unix:{strict.addresses['unix']}", "help"]
    out = jsonrpcs(*ours, "htable.seti").out
    assert out.startswith("htable.seti TABLE KEY VALUE\n  Sets an item to a number.\n")
    assert "  VALUE: a whole number\n  It changes something.\n" in out
    out = jsonrpcs(*ours, "shop.echo").out
    assert "  Returns what it gets.\n  (string, int) gives array\n" in out
    url = target_text("http", strict.addresses["http"])
    out = jsonrpcs("--to", url, "help", "shop.echo").out
    assert "  Returns what it gets.\n  shop.echo text number [flag] [rest...]\n  (string, int) gives array\n" in out
    theirs = jsonrpcs("--to", f"unix:{kamailio.unix}", "help", "core.psx")
    assert theirs.out.endswith("says:\n  Returns the detailed description of running processes.\n")
    done = jsonrpcs(*ours, "shop.ecko")
    assert (done.code, done.err.endswith("the server has no such method; did you mean shop.echo?\n")) == (1, True)
    done = jsonrpcs("--to", "unix:/nowhere/x", "help", "core.uptime")
    assert (done.code, done.out.startswith("core.uptime\n"), "No such file" in done.err) == (0, True, True)
    assert jsonrpcs("--to", "unix:/nowhere/x", "help", "shop.echo").code == 3


class Described(BaseHTTPRequestHandler):
    """A server that describes its method with parameters from its path."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method = {"name": "a.b", "params": json.loads(unquote(self.path[1:]))}
        results = {
            "system.methodHelp": "Helps.",
            "system.methodSignature": [["int", "string"]],
            "rpc.discover": {"methods": [None, method]},
        }
        body = json.dumps({"jsonrpc": "2.0", "result": results[request["method"]], "id": request["id"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # as the class it extends names it
        """Say nothing."""


@pytest.mark.parametrize(
    ("params", "shown"),
    [
        ("[]", "  a.b\n"),
        ('[{"name":"x","required":true},{"name":"y","required":false}]', "  a.b x [y]\n"),
        ("5", ""),
        ("[5,null]", "  a.b ? ?\n"),
        ('[{"name":"\\u009b","required":[1],"x-variadic":"x"}]', "  a.b \\x9b...\n"),
    ],
)
def test_described(params: str, shown: str) -> None:
    """The names of parameters are those of the server's description; one that is nonsense harms nobody."""
    server = HTTPServer(("127.0.0.1", 0), Described)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/{quote(params)}"
    done = jsonrpcs("--to", url, "help", "a.b")
    server.shutdown()
    server.server_close()
    assert (done.code, done.err) == (0, "")
    assert done.out.partition("\n")[2] == f"  Helps.\n{shown}  (string) gives int\n"


def test_check(server: Server) -> None:
    """One line, and the codes of Nagios."""
    to = ["--to", f"unix:{server.addresses['unix']}", "check"]
    name = f"unix:{server.addresses['unix']}"
    done = jsonrpcs(*to, "jsonrpc.echo", "a|b", "5", "--expect", "1>4.5", "--expect", "0~b")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(rf'OK - {name}: jsonrpc\.echo: \["a/b",5\] \| time=0\.\d+s \'1\'=5\n', done.out)
    done = jsonrpcs(*to, "jsonrpc.echo", "x", "5", "-w", "1<5", "-e", "*!=7")
    assert (done.code, done.out.startswith(f"WARNING - {name}: jsonrpc.echo: 1 is 5, not <5 | ")) == (1, True)
    done = jsonrpcs(*to, "jsonrpc.echo", "x", "5", "-w", "1<5", "-e", "*=5", "-e", "2=1")
    assert done.code == 2
    assert done.out.startswith(f"CRITICAL - {name}: jsonrpc.echo: * is x, not =5; 2 is missing | ")
    assert jsonrpcs(*to, "no.such").code == 2
    assert jsonrpcs("--to", "unix:/nowhere/x", "check", "core.uptime").code == 2
    done = jsonrpcs(*to, "core.uptime", "-e", "uptime")
    assert (done.code, done.out.startswith("UNKNOWN - 'uptime': there is no operator; allowed: PATH OP")) == (3, True)
    assert jsonrpcs("--to", "nobody", "check", "core.uptime").code == 3


BATCH = """# a comment

jsonrpc.echo "a b" 5
{"jsonrpc":"2.0","method":"jsonrpc.echo","params":["1",2],"id":"q"}
no.such
[{"method":"jsonrpc.echo"},{"method":"jsonrpc.echo","params":["é"],"id":null}]
"""


def test_batch(server: Server, tmp_path: Path) -> None:
    """Each line is a call, each result a line; the first that fails ends it unless it is to go on."""
    file = tmp_path / "calls"
    file.write_text(BATCH)
    to = ["--to", f"unix:{server.addresses['unix']}", "batch"]
    first = [
        {"line": 3, "method": "jsonrpc.echo", "result": ["a b", 5]},
        {"line": 4, "method": "jsonrpc.echo", "id": "q", "result": ["1", 2]},
        {"line": 5, "method": "no.such", "error": {"code": 500, "message": "Method Not Found"}},
    ]
    more = [
        {"line": 6, "method": "jsonrpc.echo", "result": []},
        {"line": 6, "method": "jsonrpc.echo", "id": None, "result": ["é"]},
    ]
    for words, given in ((["batch", str(file)], ""), (["batch", "-"], BATCH)):
        done = jsonrpcs(*to[:2], *words, given=given)
        assert (done.code, [json.loads(line) for line in done.out.splitlines()]) == (1, first)
        assert done.err.startswith("jsonrpcs: line 5: unix:")
        done = jsonrpcs(*to[:2], *words, "--keep-going", given=given)
        assert (done.code, [json.loads(line) for line in done.out.splitlines()]) == (1, first + more)


@pytest.mark.parametrize(
    "bad", ['core.echo "x', "{", "[5]", '{"method":5}', '{"method":"a","params":5}', '{"a":\udcff}']
)
def test_batch_with_a_bad_line(server: Server, tmp_path: Path, bad: str) -> None:
    """Nothing of a file is run if a line is no call; of a stream, what comes before it."""
    file = tmp_path / "calls"
    lines = f"core.version\n{bad}\ncore.version\n".encode(errors="surrogateescape")
    file.write_bytes(lines)
    to = ["--to", f"unix:{server.addresses['unix']}", "batch"]
    done = jsonrpcs(*to, str(file))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"jsonrpcs: {file}: line 2: ")
    done = jsonrpcs(*to, "-", given=lines)
    assert (done.code, [json.loads(line)["line"] for line in done.out.splitlines()]) == (2, [1, 2])
    done = jsonrpcs(*to, "-", "-k", given=lines)
    assert (done.code, [json.loads(line)["line"] for line in done.out.splitlines()]) == (2, [1, 2, 3])


def test_batch_answers_at_once(server: Server) -> None:
    """A program may talk to it: each line is answered before the next one comes."""
    words = command("--to", f"unix:{server.addresses['unix']}", "batch", "-")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, env=plain_environment(), text=True, **pipes) as talking:  # type: ignore[call-overload]
        for number in range(3):
            talking.stdin.write(f"jsonrpc.echo x {number}\n")
            talking.stdin.flush()
            assert json.loads(talking.stdout.readline())["result"] == ["x", number]
        talking.stdin.close()
        assert talking.wait(PATIENCE) == 0


def test_watch(server: Server) -> None:
    """A method is called again and again, and what changes is marked, with the rate."""
    to = ["--to", f"unix:{server.addresses['unix']}", "watch", "-n", "0.05", "-c", "3"]
    out = jsonrpcs(*to, "stats.fetchn", "requests", "--changes").out
    rounds = out.split("# ")[1:]
    assert len(rounds) == 3
    assert rounds[0].splitlines()[1:] != []
    for one in rounds[1:]:
        assert re.fullmatch(r"\* \S+: \d+  \+1  \+[\d.]+/s", one.splitlines()[1])
    out = jsonrpcs(*to, "jsonrpc.echo", "x", "1", "--json").out
    assert out == '["x",1]\n' * 3
    done = jsonrpcs("--to", "unix:/nowhere/x", "watch", "-n", "0.05", "-c", "2", "a.b")
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 2)


def test_methods_that_may_be_called(tmp_path: Path) -> None:
    """Where a caller may not call all methods, the list says which, if the server tells."""
    with Server(tmp_path, "--rule=any allow system.listMethods rpc.discover core.up*", "--transport=8") as closed:
        host, port = closed.addresses["tcp"]
        to = ["--to", f"tcp:{host}:{port}", "methods"]
        lines = jsonrpcs(*to, "core.").out.splitlines()
        assert lines[0].split() == ["method", "allowed", "what", "it", "does"]
        assert [line.split()[0] for line in lines if line.split()[1] == "yes"] == ["core.uptime"]
        assert [line.split()[1] for line in lines if line.startswith("core.kill")] == ["no"]
        assert "core.kill" in json.loads(jsonrpcs(*to, "--json").out)
        assert jsonrpcs(*to, "core.uptime").out.splitlines()[1].split()[:2] == ["core.uptime", "yes"]
