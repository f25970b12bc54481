"""Targets: read from text, shown as text."""

import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.client.targets import SCHEMES, Target, TargetError, parse_target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:/run/kamailio/kamailio_rpc.sock", Target("unix", path="/run/kamailio/kamailio_rpc.sock")),
        ("unix:rpc.sock", Target("unix", path="rpc.sock")),
        ("unix:///run/x.sock", Target("unix", path="/run/x.sock")),
        ("udp:127.0.0.1:8090", Target("udp", host="127.0.0.1", port=8090)),
        ("udp:[::1]:8090", Target("udp", host="::1", port=8090)),
        ("udp:[fe80::1%eth0]:8090", Target("udp", host="fe80::1%eth0", port=8090)),
        ("fifo:/run/x.fifo", Target("fifo", path="/run/x.fifo", reply_dir="/tmp")),
        ("tcp:ops.example.com:8092", Target("tcp", host="ops.example.com", port=8092)),
        ("http://127.0.0.1:8080/RPC", Target("http", host="127.0.0.1", port=8080, path="/RPC")),
        ("http://127.0.0.1", Target("http", host="127.0.0.1", port=80, path="/RPC")),
        ("https://[::1]/a/b?c=d", Target("https", host="::1", port=443, path="/a/b?c=d")),
        ("http://a:81?x", Target("http", host="a", port=81, path="/RPC?x")),
        ("http://me:p%40ss@a", Target("http", host="a", port=80, path="/RPC", user="me", password="p@ss")),
        ("http://me@a", Target("http", host="a", port=80, path="/RPC", user="me")),
    ],
)
def test_parse(text: str, expected: Target) -> None:
    """Each scheme has the form that its transport needs."""
    assert parse_target(text) == expected
    assert hash(parse_target(text)) == hash(expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it has no scheme"),
        ("/run/x.sock", "it has no scheme"),
        ("ftp://x", "unknown scheme 'ftp'"),
        ("unix:", "the path is missing"),
        ("unix://run/x", "after // there must be an absolute path"),
        ("unix:/" + "x" * 107, "the path is too long"),
        ("unix:/a\0b", "it has a null byte"),
        ("udp:127.0.0.1", "the port is missing"),
        ("udp::8090", "the host is missing or invalid"),
        ("udp:::1:8090", "the host is missing or invalid"),
        ("tcp:a:0", "the port is out of range"),
        ("tcp:a:65536", "the port is out of range"),
        ("tcp:a:٣", "the host is missing or invalid"),
        ("http:/a", "no // after http:"),
        ("http://", "the host is missing or invalid"),
        ("http://a/b#c", "the path has a fragment, a blank, or a character that is not ASCII"),
        ("http://a/b c", "the path has a fragment, a blank, or a character that is not ASCII"),
        ("http://a/b\r\nX: y", "the path has a fragment, a blank, or a character that is not ASCII"),
        ("http://a\r\nX: y/", "the host is missing or invalid"),
        ("http://:secret@a", "the user is empty, or has a colon"),
        ("unix:/a,udp:b", "the port is missing"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    """What is not a target is refused with what is wrong and what is allowed."""
    with pytest.raises(TargetError, match=re.escape(f"{reason}; allowed: ")) as refusal:
        parse_target(text)
    assert "secret" not in str(refusal.value)


def test_alternatives() -> None:
    """Further targets of the same server follow after commas; a comma in a path is one."""
    target = parse_target("unix:/a,b.sock,fifo:/y,fifo.x,http://c/d,e", reply_dir="/r", user="u")
    assert [one.url for one in target.each] == ["unix:/a,b.sock", "fifo:/y,fifo.x", "http://c/d,e"]
    assert [(one.reply_dir, one.user) for one in target.each] == [("/r", None), ("/r", None), (None, "u")]
    assert str(target) == "unix:/a,b.sock,fifo:/y,fifo.x,http://c/d,e"


def test_option_that_nobody_takes() -> None:
    """An option that no target takes is refused."""
    with pytest.raises(TargetError, match="it does not take password; allowed: password with http and https"):
        parse_target("unix:/a", password="secret")
    with pytest.raises(TypeError, match="colour: no such option"):
        parse_target("unix:/a", colour="red")
    assert parse_target("unix:/a", password=None) == Target("unix", path="/a")


def test_password_is_not_shown() -> None:
    """Neither text nor representation has the password, nor a message about an invalid target."""
    target = parse_target("https://me:secret@a/b,http://me:secret@c", tls_ca="/ca.pem")
    assert "secret" not in f"{target} {target!r}"
    with pytest.raises(TargetError) as refusal:
        parse_target("http://me:sec/ret@a:b@c:99999")
    assert "ret" not in str(refusal.value)


def test_immutable() -> None:
    """A target cannot be changed; a copy is equal."""
    target = parse_target("udp:a:1")
    with pytest.raises(AttributeError, match="port: a target cannot be changed"):
        target.port = 2
    with pytest.raises(AttributeError):
        del target.port
    assert pickle.loads(pickle.dumps(target)) == target


@given(st.sampled_from(SCHEMES), st.text())
def test_any_text(scheme: str, rest: str) -> None:
    """Any text is a target or refused as none; the text of a target is the same target."""
    try:
        target = parse_target(f"{scheme}:{rest}")
    except TargetError:
        return
    if target.user is None:
        assert parse_target(str(target)) == target
