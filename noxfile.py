"""The checks of this repository, each in an environment of its own. C{nox -l} lists them.

C{.ci/run} makes the same checks on a bare machine.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "docs", "reference", "site", "tests"]
nox.options.reuse_existing_virtualenvs = True

PROJECT = nox.project.load_toml("pyproject.toml")["project"]


def lowest_versions() -> Iterator[str]:
    """A constraint for each dependency of the package and of its tests: the lowest version that is allowed."""
    for requirement in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]):
        found = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement)
        if found is None:
            raise ValueError(f"pyproject.toml: {requirement!r}; allowed: NAME>=VERSION")
        yield f"{found[1]}=={found[2]}\n"


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: the rules of pyproject.toml, and the layout."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict: the package, tests, bench and fuzz. pyright, and mypy without its plugin: what programs see."""
    session.install("-e", ".[dev]")
    session.run("mypy")
    session.run("pytest", "-m", "long", "tests/test_types.py")


@nox.session
def docs(session: nox.Session) -> None:
    """The tests that hold the documentation against the code."""
    session.install("-e", ".[dev]")
    session.run("pytest", "tests/test_docs.py", "tests/test_architecture.py")


@nox.session
def reference(session: nox.Session) -> None:
    """The API reference, built by pydoctor from the docstrings into C{build/reference}; a warning is an error."""
    session.install("-e", ".[dev]")
    session.run("pydoctor", *session.posargs)


@nox.session
def site(session: nox.Session) -> None:
    """The documentation as a site in C{build/site}, with the API reference at C{api/}; a warning is an error."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "build/site")
    session.run("pydoctor", "-q", "--html-output", "build/site/api")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, with the newest versions of the dependencies; with arguments of pytest those that they choose."""
    session.install("--upgrade", "--upgrade-strategy", "eager", "-e", ".[dev]")
    session.run("pytest", *session.posargs)
    if not session.posargs:
        session.run("pytest", "-m", "long", "-n", "0")


@nox.session
def lowest(session: nox.Session) -> None:
    """The tests, with the lowest versions of the dependencies that pyproject.toml allows. Arguments are pytest's."""
    constraints = Path(session.create_tmp(), "lowest.txt")
    constraints.write_text("".join(lowest_versions()))
    session.install("-e", ".[test]", "-c", str(constraints))
    # Older versions of Twisted leave sockets open where a port cannot be listened on.
    session.run("pytest", "-W", "default::ResourceWarning", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """The lines and branches that the tests reach; fails below the floor in pyproject.toml."""
    session.install("-e", ".[dev]")
    session.env["COVERAGE_FILE"] = str(Path(session.create_tmp(), "data").resolve())
    session.run("coverage", "erase")
    # Tests that measure time may fail while they are traced: whether they pass, the session tests says.
    session.run("coverage", "run", "-m", "pytest", *session.posargs, success_codes=[0, 1])
    session.run("coverage", "combine")
    session.run("coverage", "report", "--skip-covered")
