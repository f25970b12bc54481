"""Programs for which a path of the system leads to a file of the test."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def in_namespace(directory: Path, files: Mapping[str, Path], command: tuple[str, ...]) -> list[str]:
    """A command line that runs another one with other files at some paths in C{/run} and C{/dev}, which are otherwise
    empty or as bare as a container's. Nobody else sees them. It takes root, or the test is skipped.

    @param directory: for what is mounted.
    @param files: the paths, each with that of the file, which may be missing.
    """
    if os.geteuid():
        pytest.skip("only root can mount")
    devices = directory / "dev"
    devices.mkdir(exist_ok=True)
    script = [f"mount -t tmpfs none {devices}"]
    script += [f"touch {devices}/{name} && mount --bind /dev/{name} {devices}/{name}" for name in _DEVICES]
    script += ["mount -t tmpfs none /run", f"mount --rbind {devices} /dev"]
    script += [f"mkdir -p {os.path.dirname(path)} && ln -s {file} {path}" for path, file in files.items()]
    return ["unshare", "-m", "sh", "-ec", "\n".join([*script, 'exec "$@"']), "sh", *command]
