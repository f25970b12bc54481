"""A short part of the long run that C{bench/soak.py} makes."""

from pathlib import Path

from bench.soak import soak
from tests.support import TRANSPORTS, Server
from tests.support.kamailio import Kamailio


def test_soak(tmp_path: Path) -> None:
    """Requests over all transports mixed, some hostile: each is answered; memory and descriptors stay."""
    with Server(tmp_path, *Kamailio.OPTIONS) as server:
        counts, samples = soak(server, 8000, lambda sample: None)
    assert set(counts) == set(TRANSPORTS)
    assert samples[-1].memory < samples[5].memory * 1.05
    assert samples[-1].descriptors <= samples[5].descriptors + 3
