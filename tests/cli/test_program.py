"""The program as a process: each transport, each exit code, and whatever a server or a user may do to it."""

import itertools
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from jsonrpcs_tx.client.targets import Target
from tests.support import PATIENCE, Server, target_text
from tests.support.cli import command, jsonrpcs, plain_environment
from tests.support.clients import TRANSPORTS, kamailio_targets, leftovers, our_target
from tests.support.hostile import Answer, Hostile, http
from tests.support.kamailio import Kamailio

pytestmark = pytest.mark.slow

REAL = ("unix", "fifo", "http")

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


def options(target: Target) -> list[str]:
    """The options of a command line for a target."""
    words = ["--to", target.url]
    if target.tls_ca:
        words += ["--tls-ca", target.tls_ca]
    if target.reply_dir and target.scheme == "fifo":
        words += ["--reply-dir", target.reply_dir]
    return words


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
    assert (done.code, done.err) == (2, "jsonrpcs: --json and --raw: only one of them can be followed\n")
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


ANSWERS: list[tuple[str, Answer, int, str]] = [
    ("no JSON", b"hello", 1, "the reply is not JSON: Expecting value: line 1 column 1 (char 0); see that a JSON-RPC"),
    ("cut off", b'{"jsonrpc":"2.0","res', 1, "the reply is not JSON: Unterminated string"),
    ("nothing", b"", 1, "the connection was closed before the reply was whole; the command may have been run"),
    ("no reply", b'{"jsonrpc":"2.0"}', 1, "the reply is JSON, but has neither a result nor an error; see that"),
    ("another's", b'{"jsonrpc":"2.0","result":1,"id":7}', 1, "the reply is to another request; see that"),
    ("deep", b"[" * 100_000, 1, "the reply is not JSON: it is nested too deeply; see that"),
    ("huge", itertools.repeat(b" " * 1_048_576, 100), 1, "the reply is larger than 67108864 bytes; ask for less"),
    ("endless", itertools.repeat(b" ", 10_000), 4, "no reply within 1 s; the server may be busy with another client"),
]


@pytest.mark.parametrize(("answer", "code", "message"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_bad_replies(answer: Answer, code: int, message: str) -> None:
    """Whatever a server answers, there is one clear line, in time."""
    server = Hostile(answer)
    began = time.monotonic()
    timeout = "1" if code == 4 else "30"
    done = jsonrpcs("--to", f"tcp:127.0.0.1:{server.port}", "a.b", "--timeout", timeout)
    server.close()
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"jsonrpcs: tcp:127.0.0.1:{server.port}: a.b: {message}")
    assert done.err.count("\n") == 1
    assert time.monotonic() - began < 20


def test_forbidden(strict: Server) -> None:
    """What rules forbid, and a user who is not known, are code 5."""
    done = jsonrpcs("--to", f"unix:{strict.addresses['unix']}", "core.kill")
    assert (done.code, done.out) == (5, "")
    assert done.err.endswith(": core.kill: 403 Forbidden; ask for a rule that allows it\n")
    hostile = Hostile(http(b"", b"401 Unauthorized"))
    assert jsonrpcs("--to", f"http://127.0.0.1:{hostile.port}/", "a.b").code == 5
    hostile.close()


def frozen(scheme: str, directory: Path) -> tuple[str, Any]:
    """A server that takes requests and never answers."""
    if scheme == "fifo":
        path = directory / "fifo"
        os.mkfifo(path)
        return f"fifo:{path}", os.fdopen(os.open(path, os.O_RDWR), "rb")
    family = socket.AF_UNIX if scheme == "unix" else socket.AF_INET
    kind = socket.SOCK_DGRAM if scheme in ("unix", "udp") else socket.SOCK_STREAM
    server = socket.socket(family, kind)
    server.bind(str(directory / "s") if scheme == "unix" else ("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        server.listen()
    return target_text(scheme, server.getsockname()), server


@pytest.mark.parametrize("scheme", ["unix", "udp", "fifo", "tcp", "http", "https"])
def test_frozen_server(scheme: str) -> None:
    """A server that does not answer is given up in time."""
    # The path of a Unix socket has a limit that pytest's directories exceed.
    with Short() as directory:
        target, server = frozen(scheme, directory)
        with server:
            began = time.monotonic()
            done = jsonrpcs("--to", target, "a.b", "--timeout", "0.3")
            assert (done.code, done.out) == (4, "")
            assert re.fullmatch(r"jsonrpcs: \S+: a\.b: no reply within 0\.3 s; [^\n]+\n", done.err)
            assert time.monotonic() - began < 5


def test_frozen_while_it_is_asked_for_types() -> None:
    """A server that is asked for the types of a method first has no more time for that."""
    with Short() as directory:
        target, server = frozen("unix", directory)
        with server:
            done = jsonrpcs("--to", target, "a.b", "5", "--timeout", "0.3")
            assert (done.code, "no reply within 0.3 s" in done.err) == (4, True)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("unix:/nowhere/x", "No such file or directory; start the server, or look for its path"),
        ("fifo:/nowhere/x", "No such file or directory; start the server, or look for its path"),
        ("unix:/dev/null", "Connection refused; start the server: nobody listens there"),
        ("udp:127.0.0.1:1", "Connection refused; start the server: nobody listens there"),
        ("tcp:127.0.0.1:1", "Connection refused; start the server: nobody listens there"),
        ("http://127.0.0.1:1/RPC", "Connection refused; start the server: nobody listens there"),
        ("https://127.0.0.1:1/RPC", "Connection refused; start the server: nobody listens there"),
    ],
)
def test_not_reachable(target: str, message: str) -> None:
    """Where nobody is, that is said."""
    done = jsonrpcs("--to", target, "a.b")
    assert (done.code, done.out, done.err) == (3, "", f"jsonrpcs: {target}: a.b: {message}\n")


def test_untrusted_certificate(server: Server) -> None:
    """A certificate that is not trusted is as good as no server."""
    done = jsonrpcs("--to", target_text("https", server.addresses["https"]), "core.uptime")
    assert (done.code, done.out) == (3, "")
    assert "core.uptime: TLS: " in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a method or a sub-command is missing; see jsonrpcs --help"),
        (["--to", "nobody", "a.b"], "nobody: no target, and no profile; allowed: unix:PATH, "),
        (["--to", "ftp://x/y", "a.b"], "ftp://x/y: no target, and no profile; allowed: unix:PATH, "),
        (["--to", "udp:127.0.0.1", "a.b"], "target 'udp:127.0.0.1': the port is missing; allowed: unix:PATH, "),
        (
            ["--to", "tcp:x:1", "--reply-dir", "/x", "a.b"],
            "target 'tcp:x:1': it takes no reply_dir; allowed: reply_dir ",
        ),
        (["--to", "tcp:x:1", "--all", "a.b"], "--all and --to: only one of them can be followed"),
        (["--to", "tcp:x:1", "--to", "tcp:x:2", "methods"], "methods: 2 servers are named; allowed: one"),
        (["--to", "tcp:x:1", "a.b", "\udcff"], "tcp:x:1: a.b: the parameters have no form in JSON: "),
        (["--to", "http://x:1", "--password-file", "/x", "a.b"], "--password-file: a password without a user; allowed"),
        (["--to", "http://x:1", "--user", "ann", "a.b"], "http://x:1: the password of ann cannot be asked for where "),
        (["batch", "/nowhere/x"], "/nowhere/x: No such file or directory; allowed: a file that can be read, or -"),
        (["batch", "/"], "/: Is a directory; allowed: a file that can be read, or -"),
    ],
)
def test_wrong_usage(words: list[str], message: str) -> None:
    """What cannot be followed is said in one line, and nothing is sent."""
    done = jsonrpcs(*words, variables={"JSONRPCS_TO": "tcp:127.0.0.1:1"})
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"jsonrpcs: {message}")
    assert done.err.count("\n") == 1


def test_too_large_request(server: Server) -> None:
    """A request that a target cannot carry is wrong usage: it has not been run."""
    done = jsonrpcs("--to", f"unix:{server.addresses['unix']}", "core.echo", "x" * 100_000, "--params", "-", given="[]")
    assert done.code == 2
    words = ["--to", target_text("udp", server.addresses["udp4"]), "core.echo", "x" * 70_000]
    done = jsonrpcs(*words)
    assert (done.code, done.out) == (2, "")
    assert "is too large for a datagram; try fifo: or http:" in done.err


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
    assert found == "method       what it does\ncore.uptime  Tells since when the server has been running.\n"
    assert json.loads(jsonrpcs(*to, "core.u*", "--json").out) == ["core.uptime"]
    assert (jsonrpcs(*to, "nothing").out, jsonrpcs(*to, "nothing", "--json").out) == ("", "[]\n")


def test_help_of_a_method(strict: Server, kamailio: Kamailio) -> None:
    """What a method takes is known from the catalogue, the server, or both."""
    ours = ["--to", f"unix:{strict.addresses['unix']}", "help"]
    out = jsonrpcs(*ours, "htable.seti").out
    assert out.startswith("htable.seti TABLE KEY VALUE\n  Sets an item to a number.\n")
    assert "  VALUE: a whole number\n  It changes something.\n" in out
    out = jsonrpcs(*ours, "shop.echo").out
    assert "  Returns what it gets.\n  (string, int) gives array\n" in out
    theirs = jsonrpcs("--to", f"unix:{kamailio.unix}", "help", "core.psx")
    assert theirs.out.endswith("says:\n  Returns the detailed description of running processes.\n")
    done = jsonrpcs(*ours, "shop.ecko")
    assert (done.code, done.err.endswith("the server has no such method; did you mean shop.echo?\n")) == (1, True)
    done = jsonrpcs("--to", "unix:/nowhere/x", "help", "core.uptime")
    assert (done.code, done.out.startswith("core.uptime\n"), "No such file" in done.err) == (0, True, True)
    assert jsonrpcs("--to", "unix:/nowhere/x", "help", "shop.echo").code == 3


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
    out = jsonrpcs(*to, "stats.fetchn", "unix.requests", "--changes").out
    rounds = out.split("# ")[1:]
    assert len(rounds) == 3
    assert rounds[0].splitlines()[1:] != []
    for one in rounds[1:]:
        assert re.fullmatch(r"\* \S+: \d+  \+1  \+[\d.]+/s", one.splitlines()[1])
    out = jsonrpcs(*to, "jsonrpc.echo", "x", "1", "--json").out
    assert out == '["x",1]\n' * 3
    done = jsonrpcs("--to", "unix:/nowhere/x", "watch", "-n", "0.05", "-c", "2", "a.b")
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 2)


class OnTerminal:
    """The program with a terminal for its output, or a part of it.

    @ivar shown: what has been written to the terminal so far.
    """

    def __init__(
        self, *words: str, streams: tuple[str, ...] = ("stdout", "stderr"), variables: Mapping[str, str] = {}
    ) -> None:
        self._ours, theirs = os.openpty()
        others = {name: theirs if name in streams else subprocess.PIPE for name in ("stdout", "stderr")}
        environment = plain_environment(**{"TERM": "xterm", **variables})
        self.process = subprocess.Popen(command(*words), env=environment, stdin=subprocess.DEVNULL, **others)  # type: ignore[call-overload]
        os.close(theirs)
        self.shown = ""

    def wait_for(self, pattern: str) -> None:
        """Read until something has been shown."""
        while not re.search(pattern, self.shown):
            assert select.select([self._ours], [], [], PATIENCE)[0], f"not shown: {pattern}\n{self.shown!r}"
            assert self._read(), self.shown

    def end(self) -> int:
        """Read all that is left.

        @return: the exit code.
        """
        while self._read():
            pass
        os.close(self._ours)
        return int(self.process.wait(PATIENCE))

    def _read(self) -> bool:
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            return False
        self.shown += data.decode()
        return bool(data)


def test_colours(server: Server) -> None:
    """There are colours on a terminal that knows them, unless somebody objects."""
    words = ("--to", f"unix:{server.addresses['unix']}", "core.uptime")
    coloured = OnTerminal(*words)
    assert coloured.end() == 0
    assert "\x1b[36muptime\x1b[0m: " in coloured.shown
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = OnTerminal(*words, variables=variables)
        assert plain.end() == 0
        assert "\x1b" not in plain.shown


def test_hostile_bytes_on_a_terminal(strict: Server) -> None:
    """Not even the bytes of a reply get to a terminal as they are."""
    shown = OnTerminal("--to", f"unix:{strict.addresses['unix']}", "shop.hostile", "--raw")
    assert shown.end() == 0
    assert shown.shown.replace("\r\n", "").isprintable()


def test_watch_on_a_terminal(server: Server) -> None:
    """On a terminal, it stays in one place until Ctrl-C ends it, quietly."""
    watching = OnTerminal("--to", f"unix:{server.addresses['unix']}", "watch", "-n", "0.05", "stats.fetchn", "unix.")
    watching.wait_for(r"\x1b\[H[^\x1b]*\x1b\[1m[^\x1b]*stats\.fetchn")
    watching.wait_for(r"\x1b\[1;33m\* unix\.requests: \d+  \+1")
    watching.process.send_signal(signal.SIGINT)
    assert watching.end() == -signal.SIGINT
    assert "Traceback" not in watching.shown


def test_bar(server: Server, tmp_path: Path) -> None:
    """A batch shows on a terminal how far it is, and takes that away in the end."""
    file = tmp_path / "calls"
    file.write_text("no.such\n" * 3)
    to = ("--to", f"unix:{server.addresses['unix']}", "batch", str(file), "-k")
    batch = OnTerminal(*to, streams=("stderr",))
    out, _ = batch.process.communicate(timeout=PATIENCE)
    assert (batch.end(), out.count(b"\n")) == (1, 3)
    assert re.search(r"\r\[#+ +\] \d/3, \d failed", batch.shown)
    assert batch.shown.endswith("\x1b[K")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals(number: signal.Signals) -> None:
    """A signal ends it quietly, in the way that a shell expects, and nothing is left behind."""
    with Short() as directory:
        target, server = frozen("fifo", directory)
        words = command("--to", target, "--reply-dir", str(directory), "a.b")
        with server, subprocess.Popen(words, env=plain_environment(), stderr=subprocess.PIPE) as waiting:
            assert b"a.b" in server.read1()
            assert len(leftovers(directory)) == 1
            waiting.send_signal(number)
            assert waiting.wait(PATIENCE) == -number
            assert waiting.stderr is not None
            assert waiting.stderr.read() == b""
        assert leftovers(directory) == []


def test_broken_pipe(server: Server) -> None:
    """Whoever stops reading ends it quietly."""
    reader, writer = os.pipe()
    os.close(reader)
    words = command("--to", f"unix:{server.addresses['unix']}", "methods")
    done = subprocess.run(words, env=plain_environment(), stdout=writer, stderr=subprocess.PIPE, timeout=PATIENCE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def test_output_that_takes_nothing(server: Server) -> None:
    """A full disk is told; a closed stream is not."""
    words = command("--to", f"unix:{server.addresses['unix']}", "core.version")
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, env=plain_environment(), stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (1, b"jsonrpcs: No space left on device\n")
    for closed in (">&-", "2>&-", "<&-", ">&- 2>&- <&-"):
        shell = ["sh", "-c", f'"$@" {closed}', "sh", *words]
        assert (
            subprocess.run(shell, env=plain_environment(), stdout=subprocess.DEVNULL, timeout=PATIENCE).returncode == 0
        )


def test_other_encoding(strict: Server) -> None:
    """What the terminal's encoding lacks is escaped."""
    words = ("--to", f"unix:{strict.addresses['unix']}", "core.echo", "é€")
    done = jsonrpcs(*words, variables={"PYTHONIOENCODING": "ascii"})
    assert (done.code, done.out) == (0, "\\xe9\\u20ac\n")


LOADED = """if True:
    import sys
    from jsonrpcs_tx.cli.main import main
    assert main(sys.argv[1:]) == 0
    print("modules", *sys.modules)
"""

SLOW = {
    *("twisted", "prompt_toolkit", "msgspec", "attr", "attrs", "typing", "ssl", "argparse", "asyncio", "http"),
    *("tempfile", "dataclasses", "decimal", "threading", "subprocess", "logging", "tomllib", "urllib", "email"),
    *("shlex", "textwrap", "fnmatch", "difflib", "inspect", "contextlib", "shutil", "datetime", "pathlib"),
}


@pytest.mark.parametrize("words", [["core.uptime"], ["core.echo", "x", "5"], ["core.uptime", "--json"]])
def test_light(server: Server, words: list[str]) -> None:
    """A call loads nothing that is slow to import, and of the package only what it needs."""
    argv = [sys.executable, "-c", LOADED, "--to", f"unix:{server.addresses['unix']}", *words]
    environment = {name: value for name, value in plain_environment().items() if not name.startswith("COV")}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True)
    loaded = done.stdout.split("modules ")[1].split()
    assert {name.partition(".")[0] for name in loaded} & SLOW == set()
    own = {name.removeprefix("jsonrpcs_tx.") for name in loaded if name.startswith("jsonrpcs_tx.")}
    assert own & {"client.advice", "client.routes", "client.batches", "client.names", "config", "cli.usage"} == set()
    assert len(own) <= 32


class Short:
    """A directory with a short path, since that of a Unix socket has a limit."""

    def __enter__(self) -> Path:
        import tempfile

        self._directory = tempfile.TemporaryDirectory(prefix="cli")
        return Path(self._directory.name)

    def __exit__(self, *exc_info: object) -> None:
        self._directory.cleanup()
