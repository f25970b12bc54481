"""Every module can be the first that is imported, so no order of imports matters anywhere."""

import subprocess
import sys

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
