"""Rules for nodes against the real Kamailio, which tells what it takes a value for."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.access.rules import read_rule
from tests.support import call
from tests.support.kamailio import Kamailio

pytestmark = pytest.mark.slow

CALLER = Caller("https", "192.0.2.7", user="ann")
NODE = frozenset(("edge1",))
EDGES = (0, 2**31, 2**32, 2**53, 2**63, 2**64, -(2**31), -(2**32), -(2**63))
VALUES: list[Any] = [
    *(None, True, False, "", "x", "1", "01", " 1", "0x1", "1.5", "i:1", "true", "a b", "A", "-1", "+1"),
    *(edge + step for edge in EDGES for step in (-1, 0, 1)),
    *(float(edge) + step for edge in EDGES for step in (-1.5, -0.5, 0.0, 0.25, 1.9)),
    *(1e19, -1e19, 1e300, 1e-300),
]


@pytest.fixture(scope="module")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    with Kamailio(tmp_path_factory.mktemp("kamailio")) as running:
        yield running


def taken_for(kamailio: Kamailio, method: str, value: Any) -> Any:
    """What Kamailio makes of a value; None if it refuses it."""
    document = {"jsonrpc": "2.0", "method": method, "params": [value], "id": 1}
    result = json.loads(call("unix", kamailio.unix, json.dumps(document).encode())).get("result")
    return result[0] if result else None


def allows(rules: list[str], method: str, value: Any) -> bool:
    return AccessControl(map(read_rule, rules)).allows(CALLER, method, [value], NODE)


def check(kamailio: Kamailio, method: str, value: Any) -> None:
    """Check that what Kamailio takes a value for is foreseen."""
    taken = taken_for(kamailio, method, value)
    if taken is None:
        return
    assert not allows(["any node=* allow *", f"any deny {method}({json.dumps(str(taken))})"], method, value), (
        method,
        value,
        taken,
    )
    if type(value) is str or (type(value) is int and 0 <= value < 2**31):
        exact = json.dumps(str(value))
        as_it_is = str(taken) == str(value)
        assert as_it_is or not allows([f"any node=* allow {method}({exact})"], method, value), (method, value, taken)


def test_kamailio_is_foreseen(kamailio: Kamailio) -> None:
    """A rule that denies what Kamailio takes a value for denies the value; one that allows it allows nothing else."""
    chance = random.Random(1)
    numbers = [chance.randrange(-(2**66), 2**66) >> chance.randrange(66) for _ in range(200)]
    texts = ["".join(chance.choices("01 x.+-eE:iaZ", k=chance.randrange(6))) for _ in range(200)]
    for method in ("core.printi", "core.prints", "core.echo"):
        for value in (*VALUES, *numbers, *(number / 16 for number in numbers), *texts):
            check(kamailio, method, value)
