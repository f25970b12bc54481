"""What the program loads for a call."""

import subprocess
import sys

import pytest

from tests.support import PATIENCE, Server
from tests.support.cli import plain_environment

pytestmark = pytest.mark.slow

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
    assert own & {"cli.completing", "cli.shell", "cli.prompt", "cli.lists"} == set()
    assert own & {"client.advice", "client.routes", "client.batches", "client.names", "config", "cli.usage"} == set()
    assert len(own) <= 32


@pytest.mark.parametrize("words", [["methods"], ["help", "core.uptime"], ["completion", "fish"]])
def test_without_frameworks(server: Server, words: list[str]) -> None:
    """Only the shell loads prompt_toolkit, and nothing loads Twisted: completion has to be quick as well."""
    to = ["--to", f"unix:{server.addresses['unix']}"]
    all_words = [*words, "--", *to, "core.up"] if words[0] == "completion" else [*to, *words]
    argv = [sys.executable, "-c", LOADED, *all_words]
    done = subprocess.run(argv, env=plain_environment(), capture_output=True, text=True, timeout=PATIENCE, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split("modules ")[1].split()}
    assert loaded & {"twisted", "prompt_toolkit", "asyncio", "msgspec"} == set()
