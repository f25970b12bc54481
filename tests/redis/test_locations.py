"""Where Redis is, as text."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.errors import NotAllowed
from jsonrpcs_tx.redis.locations import Address, Login, RedisLocation, Tls

parse = RedisLocation.parse


def test_tcp() -> None:
    """Host, port and database; the port is Redis's own unless it is given."""
    assert parse("redis://h") == RedisLocation((Address("h", 6379),))
    assert parse("redis://10.0.0.1:7000/3") == RedisLocation((Address("10.0.0.1", 7000),), db=3)
    assert parse("redis://[::1]:7000/") == RedisLocation((Address("::1", 7000),))


def test_login() -> None:
    """The password may come without a user; special characters are escaped."""
    assert parse("redis://u:p%40%2F%3F@h").login == Login("u", "p@/?")
    assert parse("redis://:p@h").login == Login("", "p")
    assert parse("redis+unix:/run/redis.sock?db=2").login == Login()


def test_password_file(tmp_path: Path) -> None:
    """The password may be the first line of a file, whose relative name is completed."""
    (tmp_path / "secret").write_text("p w\nrest")
    location = parse("redis://h?user=u&password_file=secret", lambda name: str(tmp_path / name))
    assert location.login == Login("u", "p w")
    assert parse(f"redis+unix:/s?password_file={tmp_path}/secret").login == Login("", "p w")


def test_unix() -> None:
    """A path, relative or absolute."""
    assert parse("redis+unix:/run/a%3Fb.sock?db=2") == RedisLocation((Address(path="/run/a?b.sock"),), db=2)
    assert parse("redis+unix:///run/s") == RedisLocation((Address(path="/run/s"),))
    assert parse("redis+unix:s", lambda name: f"/run/{name}") == RedisLocation((Address(path="/run/s"),))


def test_sentinels(tmp_path: Path) -> None:
    """Several Sentinels with the name of the master, and logins for both."""
    (tmp_path / "secret").write_text("q")
    text = (
        f"redis+sentinel://u:p@a,b:7000,[::1]/my.master?db=1&sentinel_user=v&sentinel_password_file={tmp_path}/secret"
    )
    assert parse(text) == RedisLocation(
        (Address("a", 26379), Address("b", 7000), Address("::1", 26379)),
        "my.master",
        1,
        Login("u", "p"),
        Login("v", "q"),
    )
    assert parse("rediss+sentinel://a/m").tls == Tls()


def test_no_password_is_shown() -> None:
    """Neither as text nor as its representation."""
    for text in ("redis://u:secret@h/1", "redis+sentinel://u:secret@a,b/m", "rediss://:secret@h"):
        location = parse(text)
        assert "secret" not in f"{location} {location!r}"
    assert str(parse("redis+sentinel://u:p@a,b/m")) == "redis+sentinel://a:26379,b:26379/m"
    assert str(parse("redis+unix:/s")) == "redis+unix:/s"
    assert str(parse("rediss://u:p@[::1]/7")) == "rediss://[::1]:6379/7"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it does not begin with a scheme of Redis; allowed: redis://[USER:PASSWORD@]HOST[:PORT][/DB]"),
        ("localhost:6379", "it does not begin with a scheme of Redis"),
        ("http://h", "it does not begin with a scheme of Redis"),
        ("redis:h", "no // after redis:"),
        ("redis://", "the host or the port is missing or invalid"),
        ("redis://h:x", "the host or the port is missing or invalid"),
        ("redis://a,b", "the host or the port is missing or invalid"),
        ("redis://h:0", "the port is out of range; allowed: ports from 1 to 65535"),
        ("redis://h:65536", "the port is out of range"),
        ("redis://h/x", "the database is not a number; allowed: 0 to 65535"),
        ("redis://h/65536", "the database is not a number"),
        ("redis://h/1/2", "the database is not a number"),
        ("redis://h#1", "it contains a # or a null byte"),
        ("redis://u@h", "there is a user without a password; allowed: USER:PASSWORD@, or password_file="),
        ("redis://h?user=u", "there is a user without a password"),
        ("redis://h?pasword_file=x", "no such option; did you mean password_file=?; allowed: user=, password_file="),
        ("redis://h?ca=/x", "redis has no such option"),
        ("redis://h?user=", "user: it is given twice, or empty"),
        ("redis://u:p@h?password_file=/x", "user or password: it is given twice"),
        ("redis://u:p@h?user=v", "user or password: it is given twice"),
        ("redis://h?password_file=/none", "password_file: /none: No such file or directory"),
        ("rediss://h?ca=/none", "/none: No such file or directory; allowed: files with certificates and keys in PEM"),
        ("rediss://h?private_key=/none", "private_key: there is no certificate"),
        ("redis+unix:", "the path is missing"),
        ("redis+unix://run/s", "or relative after //"),
        ("redis+unix:/" + "x" * 107, "the path is too long; allowed: 107 bytes"),
        ("redis+sentinel://a", "the name of the master is missing or invalid"),
        ("redis+sentinel://a/b/c", "the name of the master is missing or invalid"),
        ("redis+sentinel://a,/m", "the host or the port is missing or invalid"),
    ],
)
def test_mistakes(text: str, reason: str) -> None:
    """What is wrong, and what is allowed."""
    with pytest.raises(NotAllowed) as caught:
        parse(text)
    assert reason in str(caught.value)
    assert "; allowed: " in str(caught.value)


@given(
    st.sampled_from(["redis://", "rediss://", "redis+sentinel://", "redis+unix:", "redis:", ""]),
    st.text(st.sampled_from("/?#&=@:,%[]x"), max_size=8),
    st.text(st.sampled_from("/?#&=@:,%[] h"), max_size=8),
)
def test_mistakes_show_no_password(scheme: str, before: str, behind: str) -> None:
    """However a URL with a password is broken, the message does not have it."""
    try:
        location = parse(f"{scheme}user:{before}Hunter2{behind}@host")
        message = str(location).replace(location.addresses[0].path or "-", "")
    except NotAllowed as error:
        message = str(error)
    assert "Hunter2" not in message
