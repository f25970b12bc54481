"""Whatever goes wrong with the program as a process is one clear line and the right exit code, in time."""

import itertools
import re
import time
from pathlib import Path

import pytest

from tests.support import Server, target_text
from tests.support.cli import Short, jsonrpcs
from tests.support.hostile import Answer, Hostile, frozen, http

pytestmark = pytest.mark.slow

ANSWERS: list[tuple[str, Answer, int, str]] = [
    ("no JSON", b"hello", 1, "the reply is not JSON: Expecting value: line 1 column 1 (char 0); check that a JSON-RPC"),
    ("cut off", b'{"jsonrpc":"2.0","res', 1, "the reply is not JSON: Unterminated string"),
    ("nothing", b"", 1, "the connection was closed before the reply was whole; the command may have been run"),
    ("no reply", b'{"jsonrpc":"2.0"}', 1, "the reply is JSON, but has neither a result nor an error; check that"),
    ("another's", b'{"jsonrpc":"2.0","result":1,"id":7}', 1, "the reply is to another request; check that"),
    ("deep", b"[" * 100_000, 1, "the reply is not JSON: it is nested too deeply; check that"),
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


def test_deep_result() -> None:
    """A result that is nested too deeply to be laid out is told, and can be printed in other ways."""
    hostile = Hostile(b'{"jsonrpc":"2.0","result":' + b"[" * 700 + b"]" * 700 + b',"id":1}')
    to = ["--to", f"tcp:127.0.0.1:{hostile.port}", "a.b"]
    done = jsonrpcs(*to)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("jsonrpcs: the result is nested too deeply to be printed in this way; --raw")
    assert jsonrpcs(*to, "--json").out == "[" * 700 + "]" * 700 + "\n"
    hostile.close()


def test_hostile_lists() -> None:
    """A server that answers questions about itself with nonsense harms nobody."""
    hostile = Hostile(http(b'{"jsonrpc":"2.0","result":[5,null,{"\\u001b":[]},"a\\u009bb"],"id":1}'))
    to = ["--to", f"http://127.0.0.1:{hostile.port}"]
    for words in (["methods"], ["help", "a.b"], ["targets"], ["a.b", "5"], ["check", "a.b"], ["watch", "a.b", "-c1"]):
        done = jsonrpcs(*to, *words)
        assert (done.code, done.err.count("\n")) in ((0, 0), (1, 1)), done
        assert (done.out + done.err).replace("\n", "").isprintable()
    hostile.close()


def test_forbidden(strict: Server) -> None:
    """What rules forbid, and a user who is not known, are code 5."""
    done = jsonrpcs("--to", f"unix:{strict.addresses['unix']}", "core.kill")
    assert (done.code, done.out) == (5, "")
    assert done.err.endswith(": core.kill: 403 Forbidden; ask for a rule that allows it\n")
    hostile = Hostile(http(b"", b"401 Unauthorized"))
    assert jsonrpcs("--to", f"http://127.0.0.1:{hostile.port}/", "a.b").code == 5
    hostile.close()


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
        ("unix:/nowhere/x", "No such file or directory; start the server, or check its path"),
        ("fifo:/nowhere/x", "No such file or directory; start the server, or check its path"),
        ("unix:/dev/null", "Connection refused; use the path of the server's socket: this is another file"),
        ("unix:/", "Connection refused; use the path of the server's socket: this is another file"),
        ("fifo:/etc/hostname", "it is not a FIFO; use the path of the server's FIFO: this is another file"),
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


def test_wrong_kind_of_file(server: Server) -> None:
    """Who takes the socket for the FIFO is told so, not that nobody is there."""
    unix, fifo = server.addresses["unix"], server.addresses["fifo"]
    assert jsonrpcs("--to", f"fifo:{unix}", "a.b").err.endswith(f"; it is a socket: use unix:{unix}\n")
    assert jsonrpcs("--to", f"unix:{fifo}", "a.b").err.endswith(f"; it is a FIFO: use fifo:{fifo}\n")


def test_no_reply_dir(server: Server, tmp_path: Path) -> None:
    """Where there is no directory for replies, the server is not blamed."""
    advice = "set reply_dir to a directory where you and the server may write"
    for scheme, name in (("unix", "socket"), ("fifo", "FIFO")):
        place = f"{scheme}:{server.addresses[scheme]}"
        done = jsonrpcs("--to", place, "--reply-dir", str(tmp_path / "none"), "a.b")
        why = f"no reply {name} in reply_dir {tmp_path}/none: No such file or directory"
        assert (done.code, done.err) == (3, f"jsonrpcs: {place}: a.b: {why}; {advice}\n")


def test_wrong_scheme(server: Server) -> None:
    """Who takes HTTPS for HTTP is told what to try."""
    done = jsonrpcs("--to", target_text("http", server.addresses["https"]), "a.b")
    assert (done.code, done.err.endswith("look at the server's log, or try https:\n")) == (1, True)


def test_untrusted_certificate(server: Server) -> None:
    """A certificate that is not trusted is as good as no server."""
    done = jsonrpcs("--to", target_text("https", server.addresses["https"]), "core.uptime")
    assert (done.code, done.out) == (3, "")
    assert "core.uptime: TLS: " in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a method or a sub-command is missing; see jsonrpcs --help"),
        ([""], "call: METHOD is empty; usage: jsonrpcs call "),
        (["check", ""], "check: METHOD is empty; usage: jsonrpcs check "),
        (["--to", "", "a.b"], "'': neither a target nor a profile; allowed: unix:PATH, "),
        (
            ["--to", "unix:/x", "--user", "ann", "a.b"],
            "target 'unix:/x': it does not take user; allowed: user with http and https",
        ),
        (["--to", "nobody", "a.b"], "nobody: neither a target nor a profile; allowed: unix:PATH, "),
        (
            ["--to", "htps://ann:geheim@x/y", "a.b"],
            "htps://ann:***@x/y: neither a target nor a profile; allowed: unix:PATH, ",
        ),
        (["--to", "ftp://x/y", "a.b"], "ftp://x/y: neither a target nor a profile; allowed: unix:PATH, "),
        (["--to", "udp:127.0.0.1", "a.b"], "target 'udp:127.0.0.1': the port is missing; allowed: unix:PATH, "),
        (
            ["--to", "tcp:x:1", "--reply-dir", "/x", "a.b"],
            "target 'tcp:x:1': it does not take reply_dir; allowed: reply_dir ",
        ),
        (["--to", "tcp:x:1", "--all", "a.b"], "--all and --to: only one of them is allowed"),
        (["--to", "tcp:x:1", "--to", "tcp:x:2", "methods"], "methods: 2 servers are named; allowed: one"),
        (["--to", "tcp:x:1", "a.b", "\udcff"], "tcp:x:1: a.b: the parameters cannot be written as JSON: "),
        (["--to", "http://x:1", "--password-file", "/x", "a.b"], "--password-file: a password without a user; allowed"),
        (
            ["--to", "http://b:c@x:1", "--user", "ann", "a.b"],
            "http://x:1: the password of ann cannot be asked for; allowed: ",
        ),
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
