"""The Debian package: built in a clean chroot, and used in another one by the words of docs/debian.md."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.support import REPOSITORY
from tests.support.pages import blocks
from tests.support.programs import need

pytestmark = [pytest.mark.package, pytest.mark.slow]

PAGE = REPOSITORY / "docs" / "debian.md"
RELEASE = "bookworm"
NEEDED_TO_BUILD = ("build-essential", "debhelper", "lintian", "python3-venv")
NEEDED_TO_TEST = ("adduser", "curl", "logrotate", "python3")
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "DEBIAN_FRONTEND": "noninteractive",
    "LC_ALL": "C.UTF-8",
}
STAND_IN = Path(__file__).with_name("systemctl")


@attrs.frozen
class Chroot:
    """A Debian of its own in a directory."""

    path: Path

    def run(self, script: str, status: int = 0) -> str:
        """What a shell in it prints: its output and errors."""
        done = subprocess.run(
            ["chroot", str(self.path), "bash", "-ec", script],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == status, f"{script}\n{done.stdout}"
        return done.stdout

    def install(self, *packages: str) -> None:
        """Install packages of Debian's."""
        self.run(f"apt-get update -q && apt-get install -q -y --no-install-recommends {' '.join(packages)}")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Chroot:
    """A Debian with nothing but what is essential."""
    if os.geteuid():
        pytest.skip("only root may chroot")
    need("debootstrap", "debootstrap")
    path = tmp_path_factory.mktemp("base")
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", RELEASE, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if made.returncode and re.search("Operation not permitted|Permission denied|nodev", made.stdout):
        pytest.skip("this machine lets nobody make devices or mount, so no chroot can be made")
    assert made.returncode == 0, made.stdout
    path.chmod(0o755)  # users of the chroot enter it
    (path / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # nothing is started by an installation
    (path / "usr/sbin/policy-rc.d").chmod(0o755)
    for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
        if Path("/", name).exists():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path("/", name), path / name)
    return Chroot(path)


@pytest.fixture(scope="module")
def package(base: Chroot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, after lintian has looked at it."""
    path = tmp_path_factory.mktemp("build") / "chroot"
    subprocess.run(["cp", "-a", str(base.path), str(path)], check=True)
    chroot = Chroot(path)
    chroot.install(*NEEDED_TO_BUILD)
    environ = {**os.environ, "PYTHON": sys.executable}
    script = REPOSITORY / "packaging" / "deb-source"
    subprocess.run([str(script), str(path / "build" / "source")], env=environ, check=True)
    chroot.run("cd /build/source && dpkg-buildpackage --no-sign --build=binary")
    found = chroot.run("cd /build && lintian --allow-root --tag-display-limit 0 *.changes")
    assert [line for line in found.splitlines() if line.startswith(("E:", "W:"))] == []
    (built,) = (path / "build").glob("*.deb")
    return built


@pytest.fixture(scope="module")
def debian(base: Chroot) -> Iterator[Chroot]:
    """A Debian in which services can be started."""
    base.install(*NEEDED_TO_TEST)
    shutil.copy(STAND_IN, base.path / "usr" / "local" / "bin" / "systemctl")
    subprocess.run(["mount", "-t", "proc", "proc", str(base.path / "proc")], check=True)
    try:
        yield base
    finally:
        base.run("systemctl stop")
        subprocess.run(["umount", str(base.path / "proc")], check=True)


def newer(package: Path, debian: Chroot) -> Path:
    """The package with a higher version, in the chroot."""
    tree = debian.path / "root" / "newer"
    subprocess.run(["dpkg-deb", "-R", str(package), str(tree)], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub("^Version: .*", "Version: 0.2.0", control.read_text(), flags=re.MULTILINE))
    path = debian.path / "root" / "jsonrpcs-tx_0.2.0_amd64.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", str(tree), str(path)], check=True)
    return path


def test_by_the_guide(package: Path, debian: Chroot) -> None:
    """Install, secure, check, start, watch, reload, rotate, upgrade, purge: each command of the page does what the page
    shows.
    """
    shutil.copy(package, debian.path / "root")
    newer_path = newer(package, debian)
    moved = newer_path.rename(newer_path.with_suffix(".later"))  # the first command takes any
    shown = 0
    for block in blocks(PAGE):
        if "0.2.0" in block.text:
            moved.rename(newer_path)
        elif block.language != "sh":
            continue
        printed = debian.run(f"cd /root\n{block.text}")
        if block.printed:
            expected = block.printed.splitlines()
            assert printed.splitlines()[-len(expected) :] == expected
            shown += 1
    assert shown >= 6
    left = debian.run("dpkg -s jsonrpcs-tx || ls -d /var/lib/jsonrpcs /var/log/jsonrpcs /usr/lib/jsonrpcs-tx", 2)
    assert "is not installed" in left
    assert left.count("No such file") == 3
