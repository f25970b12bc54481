"""OpenRPC's own tools read what servers say of their commands, and the real Kamailio is described by a gateway."""

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jsonrpcs_tx import catalogue
from tests.support import Server, environment, http_call
from tests.support.kamailio import Kamailio
from tests.support.openrpc import methods_of
from tests.support.programs import need

pytestmark = pytest.mark.slow

GENERATOR = "@open-rpc/generator@1.22.3"
COMPILER = "typescript@5.9.2"
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


@pytest.mark.long
def test_generated_client(tmp_path: Path) -> None:
    """The generator from npm makes a client in TypeScript of the document, and that client calls the server.

    The generator writes names with dots as they are, which TypeScript does not take, and refers to a version of the
    meta-schema that is older than OpenRPC 1.3: the names are put into quotes, and the compiler's remark on the version
    is passed over.
    """
    need("npm", "npm")
    (tmp_path / "shop.py").write_text(COMMANDS)
    tools = tmp_path / "tools"
    tools.mkdir()
    with Server(tmp_path, "--commands=shop") as server:
        page = http_call("http", server.addresses["http"], b"", "GET", "/openrpc.json")
        assert page.status == 200
        methods_of(json.loads(page.body))
        (tmp_path / "openrpc.json").write_bytes(page.body)
        run(tools, "npm", "install", "--no-audit", "--no-fund", GENERATOR, COMPILER)
        programs = tools / "node_modules" / ".bin"
        words = ("generate", "-t", "client", "-l", "typescript", "-n", "client", "-d", str(tmp_path / "openrpc.json"))
        assert "Done!" in run(tools, str(programs / "open-rpc-generator"), *words, "-o", str(tmp_path / "out"))
        client = tmp_path / "out" / "client" / "typescript"
        source = client / "src" / "index.ts"
        source.write_text(re.sub(r"^  public (\w+(?:\.\w+)+): ", r'  public "\1": ', source.read_text(), flags=re.M))
        run(client, "npm", "install", "--omit=dev", "--no-audit", "--no-fund")
        remarks = run(client, str(programs / "tsc"), "-p", ".", "--skipLibCheck", failing=True).splitlines()
        assert all("""Type '"1.3.2"' is not assignable to type 'Openrpc'""" in remark for remark in remarks), remarks
        (client / "use.js").write_text(USE.replace("PORT", str(server.addresses["http"][1])))
        item = {"name": "x", "count": 2}
        said = json.loads(run(client, shutil.which("node") or "node", "use.js"))
    assert said == [["a", "b"], [item, item], "refused by the schema"]


@pytest.fixture(scope="module")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    with Kamailio(tmp_path_factory.mktemp("kamailio")) as running:
        yield running


def test_kamailio(kamailio: Kamailio, tmp_path: Path) -> None:
    """What a gateway says of Kamailio names all commands that it has, and a call as described is answered."""
    with Server(tmp_path, f"--node=k=unix:{kamailio.unix}") as gateway, contextlib.ExitStack():
        page = http_call("http", gateway.addresses["http"], b"", "GET", "/openrpc.json?node=k")
        assert page.status == 200, page.body
        document = json.loads(page.body)
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
