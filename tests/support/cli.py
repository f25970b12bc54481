"""The program C{jsonrpcs} in a process of its own."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs

from tests.support import PATIENCE, environment


@attrs.frozen
class Done:
    """What a run of the program came to."""

    code: int
    out: str
    err: str


def command(*words: str) -> list[str]:
    """A command line of the program of this Python."""
    return [str(Path(sys.executable).with_name("jsonrpcs")), *words]


def plain_environment(**variables: str) -> dict[str, str]:
    """An environment in which nobody has configured the program."""
    base = {name: value for name, value in environment().items() if name not in ("JSONRPCS_TO", "NO_COLOR")}
    return {**base, "XDG_CONFIG_HOME": "/nowhere", **variables}


def jsonrpcs(
    *words: str, given: str | bytes = "", directory: Path | None = None, variables: Mapping[str, str] | None = None
) -> Done:
    """Run the program to its end, with the standard streams connected to pipes.

    @param given: its standard input.
    @param directory: that it runs in.
    @param variables: of the environment.
    """
    done = subprocess.run(
        command(*words),
        input=given.encode() if isinstance(given, str) else given,
        capture_output=True,
        cwd=directory,
        env=plain_environment(**(variables or {})),
        timeout=PATIENCE,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())
