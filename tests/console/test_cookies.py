"""The cookie of a session."""

import pytest
from twisted.web.http_headers import Headers

from jsonrpcs_tx.console.cookies import read_token, remove_token, set_token


def headers(host: str, *cookies: str) -> Headers:
    return Headers({b"Host": [host.encode()], b"Cookie": [cookie.encode("latin-1") for cookie in cookies]})


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("rpc.example.com", "__Secure-jsonrpcs"),
        ("rpc.example.com:8443", "__Secure-jsonrpcs-8443"),
        ("[::1]:8443", "__Secure-jsonrpcs-8443"),
        ("[::1]", "__Secure-jsonrpcs"),
        ("", "__Secure-jsonrpcs"),
        ("x:;evil", "__Secure-jsonrpcs"),
        ("x:123456", "__Secure-jsonrpcs"),
    ],
)
def test_name(host: str, name: str) -> None:
    """Servers on different ports have different cookies, and the Host header cannot change anything else of it."""
    assert set_token(headers(host), "T") == f"{name}=T; Secure; HttpOnly; SameSite=Strict"
    assert remove_token(headers(host)) == f"{name}=; Max-Age=0; Secure; HttpOnly; SameSite=Strict"
    assert read_token(headers(host, f"a=b; {name}=T;c=d")) == "T"


@pytest.mark.parametrize(
    "cookies",
    [
        (),
        ("__Secure-jsonrpcs",),
        ("__Secure-jsonrpcs=",),
        ("jsonrpcs=T",),
        ("__secure-jsonrpcs=T",),
        ("x__Secure-jsonrpcs=T",),
        ("__Secure-jsonrpcs-8443=T",),
        ("__Secure-jsonrpcs=T; __Secure-jsonrpcs=U",),
        ("__Secure-jsonrpcs=T", "__Secure-jsonrpcs=T"),
        ("__Secure-jsonrpcs=\xe9",),
        ('__Secure-jsonrpcs="T"',),
        ("__Secure-jsonrpcs=" + "T" * 101,),
        ("a=__Secure-jsonrpcs=T",),
    ],
)
def test_no_token(cookies: tuple[str, ...]) -> None:
    """Other cookies do not count, and neither do several with the name: somebody else has made one of them."""
    assert read_token(headers("rpc.example.com", *cookies)) is None
