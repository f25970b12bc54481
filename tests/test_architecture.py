"""The picture in docs/architecture.md is the code: who imports whom, read from the source."""

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support import REPOSITORY
from tests.support.modules import PACKAGE, modules

HELPERS = ("tests", "bench", "fuzz")
"""What is beside the package, and tests or measures it."""
PAGE = REPOSITORY / "docs" / "architecture.md"


def statements(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements in a node, at any depth. There are far more expressions, which hold none."""
    for field in ("body", "handlers", "orelse", "finalbody", "cases"):
        inner = getattr(node, field, ())
        for child in inner if isinstance(inner, list) else ():
            if isinstance(child, ast.stmt):
                yield child
            yield from statements(child)


@functools.cache
def imported_names(path: Path) -> tuple[str, ...]:
    """What a file imports, wherever in it and for whatever reason, TYPE_CHECKING included: modules or names in them."""
    names: list[str] = []
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.extend(f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(names)


def imports(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules of the package that a file imports."""
    for name in imported_names(path):
        if name.partition(".")[0] == PACKAGE.name:
            inner = name.partition(".")[2]
            yield inner if inner in known else inner.rpartition(".")[0]


def graph() -> dict[str, set[str]]:
    """Each module with those that it imports."""
    known = modules()
    return {name: set(imports(path, known)) - {name} for name, path in known.items()}


def wing(module: str) -> str:
    """The wing that a module is in; of one on the top floor its own name."""
    return module.partition(".")[0]


def table() -> dict[str, set[str]]:
    """The wings in docs/architecture.md, from the top floor down, each with those that it imports."""
    row = re.compile(r"^\| `(\w+)/?` \|.*\|([^|]*)\|$", re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)/?`", listed)) for name, listed in row.findall(PAGE.read_text())}


def test_page_names_what_is_there() -> None:
    """Every module has its place on the page, every name on the page is in the code, and no wing has two rows."""
    page = PAGE.read_text()
    names = {word for quoted in re.findall(r"`([^`\n]+)`", page) for word in re.findall(r"\w+", quoted)}
    known = modules()
    assert {name for name in known if name.rpartition(".")[2] not in names} == {""}
    files = {str(path.relative_to(root)) for root in (PACKAGE, REPOSITORY) for path in root.rglob("*.py")}
    assert set(re.findall(r"`(\w[\w/]*\.py)`", page)) <= files
    assets = {path.name: path for path in (PACKAGE / "console" / "assets").iterdir()}
    assert set(re.findall(r"`(\w+\.(?:js|css|html))`", page)) <= assets.keys()
    code = "\n".join(path.read_text() for path in (*known.values(), *assets.values()))
    written = set(re.findall(r"\w+", code)) | {word for name in (*files, *assets) for word in re.findall(r"\w+", name)}
    assert names <= written
    rows = re.findall(r"^\| `(\w+)/?` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(set(rows))


def test_no_circle() -> None:
    """No module imports itself by way of others."""
    order = TopologicalSorter(graph())
    order.prepare()  # raises CycleError, which names the circle


def test_face() -> None:
    """Nobody in the package imports the public names of its C{__init__}: it is for programs."""
    assert [name for name, imported in graph().items() if "" in imported] == []


def test_every_module_is_in_the_table() -> None:
    """docs/architecture.md has a row for each wing and each module beside them."""
    assert set(table()) == {wing(name) for name in modules()} - {""}


def test_imports_are_those_of_the_table() -> None:
    """Each wing imports exactly the wings that its row in docs/architecture.md names."""
    actual: dict[str, set[str]] = {name: set() for name in table()}
    for name, imported in graph().items():
        if name:
            actual[wing(name)] |= {wing(other) for other in imported} - {wing(name)}
    assert actual == table()


def test_imports_point_down() -> None:
    """A wing imports those below it only."""
    floors = list(table())
    for name, below in table().items():
        assert below <= set(floors[floors.index(name) + 1 :]), name


def test_one_reader() -> None:
    """Requests are decoded in one place: no other module that serves requests decodes JSON."""
    decoding = re.compile(r"\bjson\.(?:load|decode|Decoder)|\bsimplejson\b|^(?:import json|from json)\b", re.MULTILINE)
    wings = ("rpc", "transports", "datagrams", "web", "service", "worker")
    serving = {name: path for name, path in modules().items() if wing(name) in wings}
    assert [name for name, path in serving.items() if decoding.search(path.read_text())] == ["rpc.envelope"]


@pytest.mark.parametrize("name", sorted({wing(name) for name in modules()} - {""}))
def test_one_sub_level(name: str) -> None:
    """A wing has modules, and no further wings."""
    assert not list(PACKAGE.glob(f"{name}/*/*.py"))


@pytest.mark.parametrize("directory", HELPERS)
def test_shared_is_in_support(directory: str) -> None:
    """Neither a test module nor bench nor fuzz imports a test module: what they share is in C{tests/support/}."""
    test_module = re.compile(r"^tests\b.*\.(test_\w+|conftest)\b")
    borrowed = {
        f"{path.relative_to(REPOSITORY)}: {name}"
        for path in REPOSITORY.glob(f"{directory}/**/*.py")
        for name in imported_names(path)
        if test_module.match(name)
    }
    assert borrowed == set()
