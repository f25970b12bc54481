"""The checks of this repository, each in an environment of its own: ``nox -l`` lists them, ``.ci/run`` runs them."""

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

LOWEST = "tests/lowest.txt"
"""The lowest versions of the dependencies that pyproject.toml allows."""


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, and the layout that it wants."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict."""
    session.install("-e", ".[dev]")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, with the newest versions of the dependencies; arguments are pytest's."""
    session.install("-e", ".[dev]")
    session.run("pytest", *session.posargs)


@nox.session
def lowest(session: nox.Session) -> None:
    """All tests, with the lowest versions of the dependencies."""
    session.install("-e", ".[test]", "-c", LOWEST)
    session.run("pytest", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The tests that hold the documentation against the code."""
    session.install("-e", ".[dev]")
    session.run("pytest", "tests/test_docs.py", "tests/test_architecture.py")
