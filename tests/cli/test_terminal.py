"""The program and its standard streams: terminals, pipes, full disks, signals, encodings."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support import PATIENCE, Server
from tests.support.cli import OnTerminal, Short, command, jsonrpcs, plain_environment
from tests.support.clients import leftovers
from tests.support.hostile import frozen

pytestmark = pytest.mark.slow


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
    watching = OnTerminal("--to", f"unix:{server.addresses['unix']}", "watch", "-n", "0.05", "stats.fetchn", "unix:")
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
    assert batch.shown.rindex("\r\x1b[K") > batch.shown.rindex("\r[#")


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
