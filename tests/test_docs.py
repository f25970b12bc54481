"""What README.md and docs/ show is what happens: their commands and programs are run as they stand."""

import ast
import base64
import contextlib
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from twisted.internet import reactor

import jsonrpcs_tx
from fuzz.targets import TARGETS
from jsonrpcs_tx import Settings, makeService
from jsonrpcs_tx.config.reference import document
from tests.support import PATIENCE, REPOSITORY, Server, environment, http_call, is_json
from tests.support.cli import command, plain_environment
from tests.support.pages import Block, blocks
from tests.support.programs import lacks

README = REPOSITORY / "README.md"
DOCS = REPOSITORY / "docs"
OTHER_ERRORS = ("NotAllowed", "NoDestination", "UnknownVariable")
"""Exceptions of the package whose names do not end in Error."""
PAGES = (*REPOSITORY.glob("*.md"), *DOCS.glob("*.md"))

NOT_RUN = "not run"
INSTALLS = {"venv/bin/pip install": NOT_RUN}
"""That is done by what runs the tests (.ci/run runs it for README.md), and the tests use what it has installed."""
OPERATIONS, PAGES_TEST = "tests/real/test_operations.py", "tests/real/test_pages.py"
HERE, HOWTOS = "tests/test_docs.py", "tests/real/test_howtos.py"
RUN_BY: dict[str, dict[str, str]] = {
    "CONTRIBUTING": {
        "apt-get install": f"{HERE}::test_packages",
        "bench": f"{PAGES_TEST}::test_tools_of_developers",
        "fuzz": f"{PAGES_TEST}::test_tools_of_developers",
        "nox": f"{PAGES_TEST}::test_tools_of_developers",
        "config.reference": f"{HERE}::test_settings_reference",
    },
    "README": {
        "'.[dev]'": NOT_RUN,
        "twistd -n jsonrpcs": f"{HERE}::test_readme_commands",
        "/metrics |": "tests/console/browser/test_walk.py::test_readme",
        "bin/jsonrpcs ": f"{HERE}::test_readme_program",
        "```sh": f"{HERE}::test_readme_commands",
        "```python": f"{HERE}::test_readme_command_module",
    },
    "access": {
        " allow ": "tests/access/test_parameters.py::test_rules_of_the_page",
        "```text": f"{PAGES_TEST}::test_access",
        "```sh": f"{PAGES_TEST}::test_access",
    },
    "architecture": {"```text": "tests/test_architecture.py::test_page_names_what_is_there"},
    "cli": {
        "jsonrpcs SUBCOMMAND": "tests/cli/test_reference.py::test_page",
        "[profiles.proxy1]": "tests/cli/test_reference.py::test_page",
        "completion zsh": f"{PAGES_TEST}::test_command_line",
        "```toml": f"{PAGES_TEST}::test_command_line",
        "```text": f"{PAGES_TEST}::test_command_line",
    },
    "client": {"```python": f"{HERE}::test_client_prints"},
    "commands": {"shop.restock": f"{HERE}::test_commands_page", "```python": f"{HERE}::test_embedding_prints"},
    "console": {
        " role ": f"{PAGES_TEST}::test_rules",
        "```sh": f"{PAGES_TEST}::test_console",
        "```text": f"{PAGES_TEST}::test_console",
    },
    "debian": {
        "packaging/build-deb": NOT_RUN,  # but both of its steps are, by test_deb, the second one in a chroot
        "```sh": "tests/packaging/test_deb.py::test_by_the_guide",
        "```console": "tests/packaging/test_deb.py::test_by_the_guide",
    },
    "embedding": {
        "Application(": f"{HERE}::test_embedding_application",
        'call("counter.add"': f"{HERE}::test_embedding_application",
        "jsonrpc_dispatch)": f"{HERE}::test_embedding_dispatch",
        "HTTPAuthSessionWrapper(": f"{HERE}::test_embedding_site_users",
        "asyncio.timeout(": f"{HERE}::test_embedding_asyncio",
        "```python": f"{HERE}::test_embedding_prints",
    },
    "faults": {"```json": f"{PAGES_TEST}::test_error_reply"},
    "fleet": {**INSTALLS, "```text": f"{PAGES_TEST}::test_fleet_user", "```sh": "tests/real/test_fleet.py::test_page"},
    "gateway": {
        **INSTALLS,
        "```text": f"{PAGES_TEST}::test_gateway_nodes",
        "```sh": "tests/real/test_gateway.py::test_page",
    },
    "howto-certificates": {"```sh": f"{HOWTOS}::test_certificates"},
    "howto-migration": {"```sh": f"{HOWTOS}::test_migration"},
    "howto-proxies": {"```sh": f"{HOWTOS}::test_proxies", "```caddyfile": f"{PAGES_TEST}::test_caddy"},
    "kamailio": {"```ini": f"{PAGES_TEST}::test_kamcli"},
    "metrics": {
        "```text": f"{PAGES_TEST}::test_rules",
        "```sh": f"{PAGES_TEST}::test_metrics",
        "```yaml": f"{PAGES_TEST}::test_metrics",
    },
    "openrpc": {
        "npm install": "tests/real/test_openrpc.py::test_generated_client",
        " allow ": f"{PAGES_TEST}::test_rules",
        "venv/bin/twistd jsonrpcs": f"{PAGES_TEST}::test_openrpc",
        "rpc.discover >": f"{PAGES_TEST}::test_openrpc",
        "curl": "tests/openrpc/test_documentation.py::test_page",
        "```python": "tests/openrpc/test_documentation.py::test_page",
    },
    "operations": {
        "--example-config": f"{OPERATIONS}::test_before_the_start",
        "fifo_nmae": f"{OPERATIONS}::test_errors_of_check",
        "--logfile=": f"{OPERATIONS}::test_places",
        "--uid": f"{OPERATIONS}::test_users_and_files",
        "tls_private_key": f"{OPERATIONS}::test_users_and_files",
        "certificates reloaded": f"{OPERATIONS}::test_signals",
        "systemctl": f"{OPERATIONS}::test_systemd",
        "systemd:http": f"{OPERATIONS}::test_systemd",
        "podman": f"{OPERATIONS}::test_container",
        '"checks"': f"{OPERATIONS}::test_health",
        "option httpchk": f"{OPERATIONS}::test_haproxy",
        '"level":"critical"': f"{OPERATIONS}::test_json_log",
        "journalctl": f"{OPERATIONS}::test_journal",
        "logs reopened": f"{OPERATIONS}::test_log_lines",
        "are lost here": f"{OPERATIONS}::test_log_lines",
        "audit_required": f"{OPERATIONS}::test_audit",
        '"outcome"': f"{OPERATIONS}::test_audit",
        "jq ": f"{OPERATIONS}::test_audit",
        "lines are missing here": f"{OPERATIONS}::test_lost_audit_lines",
        "outside http_allow": f"{OPERATIONS}::test_refused_clients",
        "fail2ban": f"{OPERATIONS}::test_refused_clients",
    },
    "performance": {"```sh": f"{PAGES_TEST}::test_tools_of_developers"},
    "reliability": {"```sh": f"{PAGES_TEST}::test_tools_of_developers"},
    "tutorial": {**INSTALLS, "```sh": f"{HOWTOS}::test_tutorial", "```python": f"{HOWTOS}::test_tutorial"},
}
"""For each page, which test runs a block: by a text in it, or by its language; the first entry counts."""


def shell_blocks() -> list[Block]:
    return [block for block in blocks(README) if block.language == "sh" and is_json(block.printed.encode())]


def start_command() -> tuple[str, ...]:
    """The arguments of twistd in the README's first command."""
    first = next(block.text for block in blocks(README) if block.language == "sh")
    return tuple(first.rpartition("venv/bin/twistd ")[2].split())


class ReadmeServer(Server):
    """The server of the README, but on free ports, so that one that already runs does not get in the way."""

    ports = MappingProxyType({"8080": "http", "8443": "https", "8090": "udp4", "8092": "tcp"})

    def __init__(self, directory: Path) -> None:
        arguments = [re.sub(r":80\d\d$", ":0", argument) for argument in start_command()]
        http = [f"--{kind}-listen=tcp:0:interface=127.0.0.1" for kind in ("http", "https")]
        super().__init__(directory, command=(*arguments, *http))

    def adapt(self, text: str) -> str:
        """A command of the README for this server's ports, with a reply FIFO of its own."""
        text = text.replace("my_reply", f"my_reply{self.process.pid}")
        return re.sub("|".join(self.ports), lambda match: str(self.addresses[self.ports[match[0]]][1]), text)


@pytest.fixture(scope="module")
def readme_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadmeServer]:
    with ReadmeServer(tmp_path_factory.mktemp("readme")) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", shell_blocks(), ids=lambda block: re.findall(r"nc -\w+|kamctl|mkfifo|curl", block.text)[0]
)
def test_readme_commands(readme_server: ReadmeServer, block: Block) -> None:
    """Each command of the README, pasted into a shell, prints what the README shows."""
    for program in ("nc", "curl", "kamctl"):
        if re.search(rf"\b{program} ", block.text) and lacks(program):
            pytest.skip(f"{program} is not installed")
    done = subprocess.run(
        ["bash", "-c", readme_server.adapt(block.text)],
        cwd=readme_server.directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "HOME": str(readme_server.directory)},
    )
    shown, printed = json.loads(block.printed), json.loads(done.stdout)
    if "kamctl" in block.text:  # its id is its process id
        shown.pop("id"), printed.pop("id")
    assert printed == shown
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_readme_program(readme_server: ReadmeServer) -> None:
    """The program jsonrpcs prints what the README shows."""
    block = next(block for block in blocks(README) if block.language == "sh" and "bin/jsonrpcs " in block.text)
    script = block.text.replace("venv/bin/jsonrpcs", command()[0])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=readme_server.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        env=plain_environment(),
    )
    assert done.stdout == block.printed


@pytest.mark.slow
def test_readme_command_module(tmp_path: Path) -> None:
    """The README's module of commands is loaded from the directory that twistd runs in."""
    (tmp_path / "greeter.py").write_text(next(block.text for block in blocks(README) if block.language == "python"))
    with Server(tmp_path, "--commands", "greeter") as server:
        reply = server.call("unix", b'{"jsonrpc":"2.0","method":"greeter.greet","params":["Ann",2],"id":1}')
        assert json.loads(reply)["result"] == ["Hello, Ann!", "Hello, Ann!"]


def test_readme_names_files_that_exist() -> None:
    """Every link of a page to a file of the repository leads to one."""
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_table_of_contents() -> None:
    """docs/index.md lists every other page of docs/ once, in each section the same for readers of the file and for the
    site.
    """
    listed: list[str] = []
    for section in (DOCS / "index.md").read_text().split("\n## ")[1:]:
        text, _, tree = section.partition("```{toctree}")
        entries = re.findall(r"^([\w-]+)$", tree.partition("```")[0], re.MULTILINE)
        assert re.findall(r"\]\(([\w-]+)\.md\)", text) == entries, section
        listed += entries
    assert sorted(listed) == sorted(page.stem for page in DOCS.glob("*.md") if page.stem != "index")


def test_api_page() -> None:
    """docs/api.md names everything that the package exports, and nothing that there is not."""
    table = (DOCS / "api.md").read_text().partition("| names |")[2]
    named = {
        name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    }
    modules = {name for name in named if "." in name}
    assert modules
    assert all(importlib.import_module(name) for name in modules)
    errors = {name for name in jsonrpcs_tx.__all__ if name.endswith("Error") or name in OTHER_ERRORS}
    assert named - modules == set(jsonrpcs_tx.__all__) - errors - {"__version__"} | {"JsonRpcsError"}


def test_width_of_pages() -> None:
    """The lines of docs/ have at most 120 columns, but for tables, code, and what is generated."""
    for page in DOCS.glob("*.md"):
        text = page.read_text()
        if page.name == "cli.md":
            text = text.partition("\n## Reference\n")[0]
        text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
        too_long = [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")]
        assert not too_long or page.name == "settings.md", (page.name, too_long)


def test_named_tests_exist() -> None:
    """Every test file that a page names is there, and has the test that is named with it; paths start in tests/."""
    for page in PAGES:
        for path, name in re.findall(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)(?:::(\w+))?`", page.read_text()):
            file = REPOSITORY / "tests" / path
            assert file.is_file(), f"{page.name}: {path}"
            assert not name or re.search(rf"^ *(?:(?:async )?def|class) {name}\(", file.read_text(), re.MULTILINE), (
                f"{page.name}: {path}::{name}"
            )


def test_every_block_is_run() -> None:
    """A test runs each block of the pages, with what it prints; a new block needs one."""
    used: set[tuple[str, str]] = set()
    for page in PAGES:
        found = blocks(page)
        shown = len(re.findall(r"^```\w+$", page.read_text(), re.MULTILINE))
        assert shown == len(found) + sum(bool(one.printed) for one in found), f"{page.name}: a block is not read"
        for one in found:
            keys = [key for key in RUN_BY[page.stem] if key in f"```{one.language}\n{one.text}"]
            assert keys, f"{page.name}: no test runs {one.text}"
            used.add((page.stem, keys[0]))
    assert used == {(page, key) for page, keys in RUN_BY.items() for key in keys}
    for test in {test for keys in RUN_BY.values() for test in keys.values()} - {NOT_RUN}:
        path, _, name = test.partition("::")
        assert re.search(rf"^ *(?:async )?def {name}\(", (REPOSITORY / path).read_text(), re.MULTILINE), test


def test_fuzz_targets_are_listed() -> None:
    """docs/reliability.md has a row for each target of the fuzzer."""
    table = (DOCS / "reliability.md").read_text().partition("\n## Fuzzing")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(TARGETS)


def test_settings_reference() -> None:
    """docs/settings.md is what the settings say of themselves; made by config.reference.document()."""
    assert (DOCS / "settings.md").read_text() == document()


@pytest.mark.slow
def test_embedding_application(tmp_path: Path) -> None:
    """The .tac file of docs/embedding.md counts, called by the program below it."""
    source = embedding("Application(")
    (tmp_path / "counter.tac").write_text(source.replace(":8090", ":0"))
    with Server(tmp_path, command=("-ny", "counter.tac")) as server:
        program = embedding('call("counter.add"').replace(":8090", f":{server.addresses['udp4'][1]}")
        assert run(program, tmp_path) == "2 3\n"


@pytest.mark.slow
def test_embedding_dispatch(tmp_path: Path) -> None:
    """jsonrpc_dispatch, mounted as docs/embedding.md does, answers over HTTP."""
    source = embedding("jsonrpc_dispatch)")
    served = source.replace('"tcp:8088:interface=127.0.0.1").listen(site)', '"tcp:0:interface=127.0.0.1").listen(site)'
                            ".addCallback(lambda port: print(port.getHost().port, flush=True))")  # fmt: skip
    assert served != source
    with program(served, tmp_path) as port:
        reply = http_call("http", ("127.0.0.1", port), b'{"jsonrpc":"2.0","method":"core.echo","params":["x"],"id":1}')
        assert (reply.status, reply.body) == (200, b'{"jsonrpc":"2.0","result":["x"],"id":1}')


@pytest.mark.slow
def test_embedding_site_users(tmp_path: Path) -> None:
    """The site of docs/embedding.md hands over its users, for rules and for commands."""
    source = embedding("HTTPAuthSessionWrapper(")
    listen = "Site(root, parsePOSTFormSubmission=False))"
    served = source.replace(":8088:", ":0:").replace(
        listen, f"{listen}.addCallback(lambda port: print(port.getHost().port, flush=True))"
    )
    with program(served, tmp_path) as port:
        ask = b'{"jsonrpc":"2.0","method":"site.whoami","id":1}'
        for user, status, result in (("ann", 200, "ann"), ("bob", 200, "bob"), ("eve", 401, None)):
            login = base64.b64encode(f"{user}:sesame".encode()).decode()
            reply = http_call("http", ("127.0.0.1", port), ask, headers={"Authorization": f"Basic {login}"})
            assert reply.status == status
            assert result is None or json.loads(reply.body)["result"] == result
        everything = b'{"jsonrpc":"2.0","method":"system.listMethods","id":1}'
        login = base64.b64encode(b"bob:sesame").decode()
        reply = http_call("http", ("127.0.0.1", port), everything, headers={"Authorization": f"Basic {login}"})
        assert reply.status == 403


@pytest.mark.slow
@pytest.mark.parametrize("reactor_name", ["asyncio", "epoll"])
def test_embedding_asyncio(tmp_path: Path, reactor_name: str) -> None:
    """The command of docs/embedding.md that awaits asyncio runs on its loop, and elsewhere says what to do."""
    (tmp_path / "fetching.py").write_text(embedding("asyncio.timeout("))
    options = ("--http-listen=tcp:0:interface=127.0.0.1", "--commands=fetching")
    with Server(tmp_path, command=(f"--reactor={reactor_name}", "-n", "jsonrpcs", *options)) as server:
        reply = json.loads(server.call("http", b'{"jsonrpc":"2.0","method":"shop.fetch","params":["x"],"id":1}'))
        if reactor_name == "asyncio":
            assert reply["result"] == ["the price of x", "the stock", "shop.fetch"]
        else:
            assert "(twistd --reactor=asyncio)" in reply["error"]["message"]
            server.wait_for_log("use its reactor")


@contextlib.contextmanager
def program(source: str, directory: Path) -> Iterator[int]:
    """Run a program that serves and prints its port first, and give that."""
    process = subprocess.Popen(
        [sys.executable, "-c", source], cwd=directory, env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def embedding(containing: str) -> str:
    """The program of docs/embedding.md that contains a text."""
    return next(block.text for block in blocks(DOCS / "embedding.md") if containing in block.text)


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [block for page in ("embedding", "commands") for block in blocks(DOCS / f"{page}.md") if block.printed]
)
def test_embedding_prints(tmp_path: Path, block: Block) -> None:
    """Each program of docs/embedding.md and docs/commands.md prints what the page shows below it."""
    assert run(block.text, tmp_path) == block.printed


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in blocks(DOCS / "client.md") if block.printed])
def test_client_prints(tmp_path: Path, server: Server, block: Block) -> None:
    """Each program of docs/client.md prints what the page shows below it."""
    assert (
        run(block.text.replace("/run/kamailio/kamailio_rpc.sock", server.addresses["unix"]), tmp_path) == block.printed
    )


def run(source: str, directory: Path) -> str:
    """Run a program to its end, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_commands_page(tmp_path: Path) -> None:
    """The commands of docs/commands.md do what it says of them."""
    source = next(block.text for block in blocks(DOCS / "commands.md") if block.language == "python")
    (tmp_path / "shop.py").write_text(source)
    calls: list[tuple[str, list[Any], Any]] = [
        ("shop.add", ["apple", 0.5], "1 x apple at 0.5"),
        ("shop.find", [5], [{"item": "5"}]),
        ("shop.find", [5, 0], []),
        ("shop.restock", ["a", "b"], 2),
        ("shop.count", [], 3),
    ]
    with Server(tmp_path, "--commands", "shop") as server:
        for method, params, result in calls:
            request = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
            assert json.loads(server.call("http", json.dumps(request).encode()))["result"] == result


@pytest.mark.slow
def test_commands_page_lists_all(server: Server) -> None:
    """docs/commands.md names every built-in command, and no other."""
    table = (DOCS / "commands.md").read_text().partition("## The built-in ones")[2]
    named = {
        name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    }
    listed = json.loads(server.call("unix", b'{"jsonrpc":"2.0","method":"system.listMethods","id":1}'))["result"]
    assert named == set(listed)


def test_commands_page_parameters() -> None:
    """The parameters in the table of docs/commands.md are those that the commands take: so many, in brackets those that
    may be left out, with an ellipsis those that may come any number of times.
    """
    registry = makeService(Settings(load="all"), reactor).registry
    table = (DOCS / "commands.md").read_text().partition("## The built-in ones")[2]
    for names, parameters in re.findall(r"^\| (`.*?) \| (.*?) ?\|", table, re.MULTILINE):
        shown = parameters.split(", ") if parameters else []
        optional = [one.startswith("[") for one in shown if not one.endswith("…")]
        for name in re.findall(r"`([^`]+)`", names):
            binding = registry[name].binding
            assert [not one.required for one in binding.parameters] == optional, name
            assert (binding.rest is not None) == any(one.endswith("…") for one in shown), name


def test_python_blocks_parse() -> None:
    """Every Python block of the documentation is Python."""
    for page in PAGES:
        for block in blocks(page):
            if block.language == "python":
                ast.parse(block.text)


def test_packages() -> None:
    """README.md, CONTRIBUTING.md and .ci/run name the same packages of Debian for the tests."""
    (listed,) = re.findall(r'^packages="(.*)"$', (REPOSITORY / ".ci" / "run").read_text(), re.MULTILINE)
    tested = README.read_text().partition("## Test it")[2]
    (of_readme,) = re.findall(r"`apt-get install ([^`]+)`", tested)
    (of_contributing,) = re.findall(
        r"^apt-get install ((?:.*\\\n)*.*)$", (REPOSITORY / "CONTRIBUTING.md").read_text(), re.M
    )
    assert of_readme.split() == listed.split()
    assert of_contributing.replace("\\\n", " ").split() == listed.split()
