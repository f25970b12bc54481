"""Who the client behind a proxy is, from the headers that the proxy sets."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.web.http_headers import Headers

from jsonrpcs_tx.addresses import is_address
from jsonrpcs_tx.web.proxies import Proxies, UnknownClient

PROXIES = Proxies(["127.0.0.1/32", "10.0.0.0/8", "2001:db8:1::/48"])


def client(peer: str | None = "127.0.0.1", proxies: Proxies = PROXIES, **values: str | list[str]) -> str | None:
    """The client that headers tell of: C{x} of X-Forwarded-For, C{f} of Forwarded."""
    names = {"x": b"X-Forwarded-For", "f": b"Forwarded"}
    headers = Headers()
    for name, value in values.items():
        headers.setRawHeaders(
            names[name], [one.encode("latin-1") for one in ([value] if isinstance(value, str) else value)]
        )
    return proxies.client(peer, headers)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:DB8::1]:4711", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("127.0.0.1, 192.0.2.1", "192.0.2.1"),  # the first was made up
        ("nonsense, 192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, 10.0.0.1, 2001:db8:1::5", "192.0.2.1"),
        ("192.0.2.9,192.0.2.1,10.0.0.1", "192.0.2.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.2, 10.0.0.1", "10.0.0.2"),
        (["192.0.2.9", "192.0.2.1, 10.0.0.1", "10.0.0.3"], "192.0.2.1"),
    ],
)
def test_forwarded_for(value: str, expected: str) -> None:
    """X-Forwarded-For: the last address that is not a proxy's counts."""
    assert client(x=value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", ",", "192.0.2.1,", "unknown", "_hidden", "192.0.2.1, unknown", "localhost"),
        *("192.0.2.1, x, 10.0.0.1", "192.0.2.1:", "192.0.2.1:123456", "192.0.2", "[192.0.2.1", "::1%eth0"),
        *('"192.0.2.1"', "192.0.2.1 10.0.0.1", "1.2.3.4\x1b[31m", "\u0661.2.3.4", "[::1]x", "0x7f.1", "2130706433"),
    ],
)
def test_forwarded_for_unknown(value: str) -> None:
    """X-Forwarded-For that hides the client or is malformed makes it nobody, never the proxy itself."""
    with pytest.raises(UnknownClient):
        client(x=value.encode().decode("latin-1"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=192.0.2.1", "192.0.2.1"),
        ("For=192.0.2.1;Proto=http;by=203.0.113.43", "192.0.2.1"),
        ('proto=http;for="192.0.2.1:4711"', "192.0.2.1"),
        ('for="[2001:db8::1]"', "2001:db8::1"),
        ('for="[2001:db8::1]:_port"', "2001:db8::1"),
        ("for=_hidden, for=192.0.2.1, for=10.0.0.1", "192.0.2.1"),
        ('for=127.0.0.1;x=",", for=192.0.2.1', "192.0.2.1"),
        (r'x="\"", for="192.0.2\.1"', None),
        (r'for=127.0.0.1;x="\", for=127.0.0.1", for="192.0.2\.1"', "192.0.2.1"),
        (["for=127.0.0.1", "for=192.0.2.1"], "192.0.2.1"),
    ],
)
def test_forwarded(value: str, expected: str | None) -> None:
    """Forwarded is read as RFC 7239 has it."""
    if expected is None:
        with pytest.raises(UnknownClient):
            client(f=value)
    else:
        assert client(f=value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("", "for", "for=", "by=192.0.2.1", "for=unknown", "for=_hidden", 'for="_hidden:80"', "for=192.0.2.1;"),
        *("for = a", "for=192.0.2.1, ", "for=192.0.2.1;for=192.0.2.2", "for=[::1]", "for=192.0.2.1:80"),
        *('for="192.0.2.1', "x, for=1.2.3.4", 'for=127.0.0.1;x=", for=192.0.2.1', "for=192.0.2.1, proto=http"),
        *('for=127.0.0.1;x=", for="192.0.2.1"', 'for="192.0.2.1"x', "for=192.0.2.1 x"),
    ],
)
def test_forwarded_unknown(value: str) -> None:
    """Forwarded that hides the client or is malformed makes it nobody."""
    with pytest.raises(UnknownClient):
        client(f=value)


def test_both() -> None:
    """Where both headers are there they must agree: one of them may be the client's own."""
    assert client(x="192.0.2.1", f="for=192.0.2.1") == "192.0.2.1"
    for forged in ("for=127.0.0.1", "for=10.0.0.1", "for=unknown"):
        with pytest.raises(UnknownClient):
            client(x="192.0.2.1", f=forged)


def test_peers() -> None:
    """Only the word of a proxy counts; one that says nothing calls for itself."""
    assert client("192.0.2.7", x="192.0.2.1") == "192.0.2.7"
    assert client("127.0.0.1") == "127.0.0.1"
    assert client("::ffff:127.0.0.1", x="192.0.2.1") == "192.0.2.1"
    assert client("127.0.0.1", Proxies(), x="192.0.2.1") == "127.0.0.1"
    assert client(None, x="192.0.2.1") is None
    assert client(None, Proxies(["unix"]), x="192.0.2.1") == "192.0.2.1"
    assert client("127.0.0.1", Proxies(["unix"]), x="192.0.2.1") == "127.0.0.1"


@given(st.text(alphabet='for=;,"\\ 192.0:[]a_\t', max_size=60))
@example('for=127.0.0.1;x="')
@example("for=127.0.0.1;")
def test_nothing_before_hides_the_client(forged: str) -> None:
    """Whatever a client sends, it is not taken for another than the proxy says behind it."""
    for behind in ("for=192.0.2.1", 'for="[2001:db8::1]:80";by="_x";proto=http'):
        try:
            found = client(f=f"{forged}, {behind}")
        except UnknownClient:
            continue
        assert found in ("192.0.2.1", "2001:db8::1")
    try:
        found = client(x=f"{forged}, 192.0.2.1")
    except UnknownClient:
        return
    assert found == "192.0.2.1"


@given(st.text(alphabet="0123456789abcdf.:[]%_ ", max_size=30))
def test_an_address_or_nothing(node: str) -> None:
    """What is found is an IP address."""
    try:
        found = client(x=node)
    except UnknownClient:
        return
    assert found is not None
    assert is_address(found)
