"""OpenRPC's own tools read what servers say of their commands, and the real Kamailio is described by a gateway."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jsonrpcs_tx import catalogue
from tests.support import PATIENCE, REPOSITORY, Server, environment, http_call
from tests.support.kamailio import Kamailio
from tests.support.openrpc import methods_of
from tests.support.pages import blocks
from tests.support.programs import need

pytestmark = pytest.mark.slow

PAGE = REPOSITORY / "docs" / "openrpc.md"
SECONDS = 300
"""For npm, which loads packages from the network."""

USE = """
const Client = require("./build/index.js").default;
const client = new Client({transport: {type: "http", host: "127.0.0.1", port: PORT, path: "/RPC"}});
(async () => {
    const said = [await client["core.echo"]("a", "b"), await client["shop.order"]({name: "x", count: 2})];
    try {
        await client["shop.order"]({name: 5});
    } catch (error) {
        said.push("refused by the schema");
    }
    console.log(JSON.stringify(said));
})();
"""

COMMANDS = '''
import dataclasses
from jsonrpcs_tx import command


@dataclasses.dataclass
class Item:
    """Something for sale."""

    name: str
    count: int = 1


@command("shop.order")
def order(item: Item) -> list[Item]:
    """Orders an item."""
    return [item] * item.count
'''


def run(directory: Path, *command: str, failing: bool = False) -> str:
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=SECONDS, env=environment(), check=False
    )
    assert failing or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def registry_answers() -> bool:
    """Whether npm is installed and its registry can be reached; neither comes with Debian's packages alone."""
    npm = shutil.which("npm")
    if npm is None:
        return False
    return subprocess.run([npm, "ping"], capture_output=True, timeout=SECONDS, check=False).returncode == 0


@pytest.mark.long
def test_generated_client(tmp_path: Path) -> None:
    """The generator from npm makes a client in TypeScript of the document, as docs/openrpc.md says, and that client
    calls the server.
    """
    if not registry_answers():
        pytest.skip("npm, or its registry, is not there")
    need("curl", "curl")
    (tmp_path / "shop.py").write_text(COMMANDS)
    script = next(block.text for block in blocks(PAGE) if "npm install" in block.text)
    with Server(tmp_path, "--commands=shop") as server:
        port = server.addresses["http"][1]
        said = run(tmp_path, "bash", "-c", script.replace("localhost:8080", f"127.0.0.1:{port}"), failing=True)
        assert "Done!" in said
        remarks = [line for line in said.splitlines() if "error" in line]
        assert all("""Type '"1.3.2"' is not assignable to type 'Openrpc'""" in remark for remark in remarks), said
        client = tmp_path / "client" / "typescript"
        (client / "use.js").write_text(USE.replace("PORT", str(port)))
        answers = json.loads(run(client, "node", "use.js"))
    item = {"name": "x", "count": 2}
    assert answers == [["a", "b"], [item, item], "refused by the schema"]


@pytest.fixture(scope="module")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    with Kamailio(tmp_path_factory.mktemp("kamailio")) as running:
        yield running


def test_kamailio(kamailio: Kamailio, tmp_path: Path) -> None:
    """What a gateway says of Kamailio names all commands that it has, and a call as described is answered."""
    with Server(tmp_path, f"--node=k=unix:{kamailio.unix}") as gateway:
        deadline = time.monotonic() + PATIENCE
        while True:
            page = http_call("http", gateway.addresses["http"], b"", "GET", "/openrpc.json?node=k")
            assert page.status == 200, page.body
            document = json.loads(page.body)
            if document["info"]["version"]:  # the gateway asks for it once the node is up
                break
            assert time.monotonic() < deadline
        methods = methods_of(document)
        request = b'{"jsonrpc":"2.0","method":"system.listMethods","id":1}'
        listed = json.loads(gateway.http(request, path="/RPC/k").body)["result"]
        assert set(methods) == set(listed)
        known = [name for name in methods if catalogue.find(name)]
        assert len(known) > 0.9 * len(methods)
        assert document["info"]["version"].startswith("kamailio")
        get = methods["htable.get"]
        assert [parameter["name"] for parameter in get["params"]] == ["table", "key"]
        assert document["servers"][0]["url"].endswith("/RPC/k")
