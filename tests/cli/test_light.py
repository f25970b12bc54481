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
    assert own & {"client.advice", "client.routes", "client.batches", "client.names", "config", "cli.usage"} == set()
    assert len(own) <= 32
