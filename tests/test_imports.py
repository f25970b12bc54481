"""Every module can be the first that is imported, so no order of imports matters anywhere."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY
from tests.support.modules import modules

_EACH_FIRST = """
import os, sys, types
import attrs, msgspec, OpenSSL, twisted.internet.reactor, twisted.web.server  # each child has them already

for name in sys.argv[2:]:
    if not os.fork():
        package = types.ModuleType("jsonrpcs_tx")  # without running its __init__, which imports in one order
        package.__path__ = [sys.argv[1]]
        sys.modules["jsonrpcs_tx"] = package
        try:
            __import__(f"jsonrpcs_tx.{name}")
        except BaseException as error:
            print(f"{name}: {error!r}", flush=True)
        os._exit(0)
    if os.wait()[1]:
        print(f"{name}: the interpreter ended")
print("tried all")
"""


@pytest.mark.slow
def test_each_module_first() -> None:
    """Each module of the package is imported first, in an interpreter that has none of the others."""
    names = sorted(name for name in modules() if name)
    command = [sys.executable, "-c", _EACH_FIRST, str(REPOSITORY / "jsonrpcs_tx"), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("tried all\n", "")


def imported(code: str, directory: Path) -> set[str]:
    """The modules that a program has imported at its end."""
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=directory)
    return set(done.stdout.splitlines()[-1].split())


def beneath(names: set[str], *tops: str) -> set[str]:
    """Those of some modules that are one of the given ones, or in one of these."""
    return {name for name in names for top in tops if name == top or name.startswith(f"{top}.")}


@pytest.mark.slow
def test_options_without_server(tmp_path: Path) -> None:
    """C{twistd jsonrpcs --help}, and what else ends before there is a server, imports none."""
    names = imported("import jsonrpcs_tx.options", tmp_path)
    wings = ("compose", "daemon", "service", "commands", "datagrams", "transports", "web", "rpc")
    server = [f"jsonrpcs_tx.{name}" for name in wings]
    assert not beneath(names, *server, "OpenSSL", "twisted.web", "twisted.internet.reactor")


_STARTED = """
from jsonrpcs_tx.options import Options, makeService
options = Options()
options.parseOptions(["--transport=7", "--http-listen=tcp:0:interface=127.0.0.1", "--run-dir=.", "--console="])
makeService(options)
"""


@pytest.mark.slow
def test_server_without_what_it_does_not_need(tmp_path: Path) -> None:
    """A server imports no part that its settings do not ask for, nor what only such a part needs."""
    names = imported(_STARTED, tmp_path)
    assert "jsonrpcs_tx.transports.http" in names
    parts = [f"jsonrpcs_tx.{part}" for part in ("gateway", "fleet", "redis", "metrics", "console", "cli", "testing")]
    assert not beneath(names, *parts, "automat", "prompt_toolkit", "prometheus_client")
