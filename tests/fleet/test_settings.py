"""The settings of a fleet: errors say what is wrong with them, without passwords."""

from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from jsonrpcs_tx import Settings, check, makeService
from jsonrpcs_tx.errors import SettingError, StartError


@pytest.fixture
def secret(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.write_text("a secret that is long enough\n")
    path.chmod(0o600)
    return str(path)


def described(secret: str, **settings: Any) -> Settings:
    given: dict[str, Any] = {
        "fleet": "redis+unix:/nowhere",
        "fleet_node": "a",
        "fleet_secret": secret,
        "transport": 4,
    } | settings
    return Settings(**given)


def make(secret: str, **settings: Any) -> Any:
    return makeService(described(secret, **settings), reactor)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fleet": "redis://u:geheim@x:99999"}, r"fleet: 'redis://u:\*\*\*@x:99999' is not allowed; allowed: ports"),
        ({"fleet": "http://x"}, "fleet: 'http://x' is not allowed; allowed: redis://"),
        ({"fleet_secret": ""}, "fleet_secret: '' is not allowed; allowed: a file with a secret of 16 characters"),
        ({"fleet_secret": "/nowhere/secret"}, "fleet_secret: .*No such file"),
        ({"fleet_node": ".."}, "fleet_node: '..' is not allowed"),
        ({"fleet_address": "nowhere"}, "fleet_address: 'nowhere' is not allowed; allowed: unix:PATH"),
        ({"fleet_address": "http://u:geheim@x/"}, r"fleet_address: 'http://u:\*\*\*@x/' is not allowed"),
    ],
)
def test_refused(secret: str, settings: dict[str, str], message: str) -> None:
    """Settings that cannot be used are refused before anything is opened."""
    with pytest.raises(SettingError, match=message) as raised:
        make(secret, **settings)
    assert "geheim" not in str(raised.value)


def test_short_secret(tmp_path: Path) -> None:
    """A secret that could be guessed is refused."""
    (tmp_path / "short").write_text("guess me\n")
    with pytest.raises(SettingError, match="16 characters or more"):
        make(str(tmp_path / "short"))


def test_unknown_things(secret: str, tmp_path: Path) -> None:
    """A start fails if something to be shared does not exist, and the error says what there is."""
    place = str(tmp_path / "socket")
    service = make(secret, fleet_share=["htable:no"], htable=["ban=>"], dgram_socket=place)
    with pytest.raises(StartError, match="fleet_share: htable:no: there is nothing of that name; allowed: htable:ban"):
        service.startService()


def test_check_of_unknown_things(secret: str, tmp_path: Path) -> None:
    """A check reports everything to be shared that does not exist; a start, only the first."""
    place = str(tmp_path / "socket")
    shared = ["htable:no", "htable:ban", "cfg:none", "shv"]
    found = check(described(secret, fleet_share=shared, htable=["ban=>"], dgram_socket=place), reactor)
    assert [str(one).partition(";")[0] for one in found] == [
        "fleet_share: htable:no: there is nothing of that name",
        "fleet_share: cfg:none: there is nothing of that name",
    ]


def test_nothing_is_loaded_without_it() -> None:
    """Without the setting there are no commands of a fleet."""
    assert not [name for name in makeService(Settings(load="all"), reactor).registry if name.startswith("fleet.")]
