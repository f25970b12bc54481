"""Feeds a target inputs that reach more and more of the code, until one gets a wrong verdict or the time is up.

python -m fuzz TARGET [--seconds N]

It starts from tests/corpus/TARGET and inserts the words of fuzz/dictionaries/TARGET. Inputs that reach new code go to
run/fuzz/TARGET, from which the next run starts as well. An input that gets a wrong verdict goes to
run/fuzz/TARGET-crash-*, and ends the run with a traceback. It needs atheris.
"""

import argparse
import sys
from pathlib import Path

import atheris

REPOSITORY = Path(__file__).resolve().parent.parent

with atheris.instrument_imports(include=["jsonrpcs_tx", "twisted.web.http", "twisted.protocols", "tomllib"]):
    from fuzz.targets import TARGETS

MAX_LENGTH = 4096
"""Bytes of an input. Longer ones are slower, and show little more."""

PATIENCE = 10
"""Seconds after which an input counts as hanging."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60, help="how long; default: 60")
    options = parser.parse_args()
    found = REPOSITORY / "run" / "fuzz" / options.target
    found.mkdir(parents=True, exist_ok=True)
    arguments = [
        sys.argv[0],
        f"-max_total_time={options.seconds}",
        f"-max_len={MAX_LENGTH}",
        f"-timeout={PATIENCE}",
        f"-artifact_prefix={found}-",
        f"-dict={REPOSITORY / 'fuzz' / 'dictionaries' / options.target}",
        "-print_final_stats=1",
        str(found),
        str(REPOSITORY / "tests" / "corpus" / options.target),
    ]
    atheris.Setup(arguments, TARGETS[options.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
