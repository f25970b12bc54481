"""The inputs that fuzzing found worth keeping: every target gives the right verdict on each of its corpus."""

from pathlib import Path

import pytest

from fuzz.targets import TARGETS
from tests.support import REPOSITORY

pytestmark = pytest.mark.slow

CORPUS = REPOSITORY / "tests" / "corpus"
FILES = sorted(CORPUS.glob("*/*"))


@pytest.mark.parametrize("file", FILES, ids=[f"{file.parent.name}-{file.name}" for file in FILES])
def test_corpus(file: Path) -> None:
    """An input of the corpus gets the right verdict."""
    TARGETS[file.parent.name](file.read_bytes())


def test_every_target_has_a_corpus() -> None:
    """There are inputs for each target, and none for others."""
    assert {file.parent.name for file in FILES} == set(TARGETS)
