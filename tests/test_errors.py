"""The errors of the package: one base class, and messages worded in one place."""

import pickle

import pytest

import jsonrpcs_tx
from jsonrpcs_tx.errors import JsonRpcsError, NotAllowed, SettingError, StartError

START = StartError("tls_ca", "/ca.pem", "no certificate", "certificates in PEM")
SETTING = SettingError("transport", 99, "0 to 15")
NOT_ALLOWED = NotAllowed("line 2: no colon", "NAME:HASH")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (START, "tls_ca: /ca.pem: no certificate; allowed: certificates in PEM"),
        (SETTING, "transport: 99 is not allowed; allowed: 0 to 15"),
        (NOT_ALLOWED, "line 2: no colon; allowed: NAME:HASH"),
    ],
)
def test_messages(error: JsonRpcsError, message: str) -> None:
    """The message has all fields, which a copy in another process has too."""
    assert str(error) == message
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), vars(copy)) == (message, vars(error))


def test_fields() -> None:
    """A program can tell what is wrong without reading the message."""
    assert (START.setting, START.value, START.reason, START.allowed) == (
        "tls_ca",
        "/ca.pem",
        "no certificate",
        "certificates in PEM",
    )
    assert (SETTING.name, SETTING.value, SETTING.allowed) == ("transport", 99, "0 to 15")
    assert (NOT_ALLOWED.reason, NOT_ALLOWED.allowed) == ("line 2: no colon", "NAME:HASH")


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name in jsonrpcs_tx.__all__
        if isinstance(getattr(jsonrpcs_tx, name), type)
        and issubclass(getattr(jsonrpcs_tx, name), Exception)
        and name != "Fault"
    ),
)
def test_base(name: str) -> None:
    """All errors that the package raises have one base class. A fault is a command's answer, not an error of ours."""
    assert issubclass(getattr(jsonrpcs_tx, name), JsonRpcsError)
