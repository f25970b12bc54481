"""What docs/openrpc.md shows is what a server says."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support import PATIENCE, REPOSITORY, Server, environment
from tests.support.openrpc import methods_of
from tests.support.pages import blocks
from tests.support.programs import need

PAGE = REPOSITORY / "docs" / "openrpc.md"


@pytest.mark.slow
def test_page(tmp_path: Path) -> None:
    """The commands of the page print what it shows, and all that it says of members is so."""
    need("curl", "curl")
    (tmp_path / "shop.py").write_text(next(block.text for block in blocks(PAGE) if block.language == "python"))
    shown = [block for block in blocks(PAGE) if block.printed]
    assert len(shown) == 2
    with Server(tmp_path, "--commands=shop") as server:
        for block in shown:
            script = block.text.replace(":8080/", f":{server.addresses['http'][1]}/").replace("localhost", "127.0.0.1")
            done = subprocess.run(
                ["bash", "-c", script], capture_output=True, text=True, timeout=PATIENCE, env=environment(), check=True
            )
            assert done.stdout == block.printed
        document = json.loads(server.call("unix", b'{"jsonrpc":"2.0","method":"rpc.discover","id":1}'))["result"]
    methods = methods_of(document)
    rows = re.findall(r"^\| (`.*?) \|", PAGE.read_text(), re.MULTILINE)
    members = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    used = {name for method in methods.values() for part in (method, *method["params"]) for name in part}
    assert used - {"name", "required", "schema"} <= members
