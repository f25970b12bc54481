"""What is remembered of the heads of users' requests: no password, nothing wrong, and nothing whose reason has gone."""

import base64
import gc
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.web.http import UNAUTHORIZED

from jsonrpcs_tx.access.guessing import ClientPassword
from jsonrpcs_tx.access.rules import read_rule
from jsonrpcs_tx.access.usersfile import KNOWN_SECONDS, MAX_VERIFIED, VERIFIED_SECONDS, UsersFile
from jsonrpcs_tx.transports.httpdirect import DirectSite
from jsonrpcs_tx.transports.knownheads import MAX_HEADS, OpenHeads, UsersHeads
from jsonrpcs_tx.transports.readgroup import Turns
from jsonrpcs_tx.web.ordinary import CHUNKED, MAX_CHUNKS, MAX_HEAD, Head, read_chunks
from tests.support import ECHO
from tests.support.httpmemory import Connection, users
from tests.support.users import cheap, write


def request(user: str, password: str = "", document: bytes = ECHO, *more: bytes) -> bytes:
    """A request of a user, whose password is the name unless another is given."""
    credentials = base64.b64encode(f"{user}:{password or user}".encode())
    lines = [b"POST /RPC HTTP/1.1", b"Host: localhost", b"Authorization: Basic " + credentials, *more]
    return b"\r\n".join((*lines, b"Content-Length: %d" % len(document), b"", document))


class Client:
    """A client of a connection that stays open.

    @param general: it may take the general path, as it must for a first request.
    """

    def __init__(self, path: Path, **options: Any) -> None:
        self.connection = Connection(DirectSite, users=str(path), **options)
        self.heads: Any = self.connection.channel.site.heads

    def ask(self, data: bytes, general: bool = True) -> list[int]:
        """The status of each reply."""
        self.connection.transport.clear()
        leave = self.connection.channel._leave
        if not general:
            self.connection.channel._leave = None  # which is no function
        self.connection.feed(data)
        self.connection.channel._leave = leave
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", self.connection.transport.value())]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of the users ann and bob."""
    path = tmp_path / "users"
    write(path, "ann", "bob")
    return path


@pytest.fixture
def client(path: Path) -> Client:
    """A client whose user ann was let in, and is answered on the direct path."""
    client = Client(path)
    assert client.ask(request("ann")) == [200]
    assert client.ask(request("ann"), general=False) == [200]
    return client


def test_revoked(client: Client, path: Path) -> None:
    """A user who is removed from the file gets 401 for the very next request, and is let in again when it is back."""
    write(path, "bob")
    assert client.ask(request("ann")) == [UNAUTHORIZED]
    assert len(client.heads) == 0
    write(path, "ann")
    assert client.ask(request("ann")) == [200]


def test_changed_password(client: Client, path: Path) -> None:
    """A password that is changed is refused from the very next request on, and the new one is accepted."""
    new = path.with_name("changed")
    new.write_text(f"ann:{cheap('new')}\n")
    new.rename(path)
    assert client.ask(request("ann")) == [UNAUTHORIZED]
    assert client.ask(request("ann", "new")) == [200]
    assert client.ask(request("ann", "new"), general=False) == [200]
    assert client.ask(request("ann")) == [UNAUTHORIZED]


def test_written_in_place(client: Client, path: Path) -> None:
    """The same for a file that is written where it is, with a time that has gone back."""
    status = path.stat()
    path.write_text(path.read_text().replace("ann:", "xnn:"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert client.ask(request("ann")) == [UNAUTHORIZED]


def put_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [Path.unlink, put_directory, lambda path: path.write_text("")])
def test_file_that_is_lost(client: Client, path: Path, damage: Callable[[Path], object]) -> None:
    """Without a file that can be read, nobody gets in, whoever was in before."""
    damage(path)
    assert client.ask(request("ann")) == [UNAUTHORIZED]


def test_another_user_added(client: Client, path: Path) -> None:
    """Whose line stays the same is not hashed again when the file changes, and does not leave the direct path."""
    before = path.read_text()
    new = path.with_name("more")
    new.write_text(f"{before}eve:{cheap('eve')}\n")
    new.rename(path)
    assert client.ask(request("ann"), general=False) == [200]
    assert client.ask(request("eve")) == [200]


def test_bad_file(client: Client, path: Path) -> None:
    """With a bad line in the file the former users stay."""
    path.write_text("nonsense\n")
    assert client.ask(request("ann"), general=False) == [200]


def test_time(client: Client) -> None:
    """A password is hashed again when its time is over."""
    client.connection.clock.advance(VERIFIED_SECONDS - 1)
    assert client.ask(request("ann"), general=False) == [200]
    client.connection.clock.advance(1)
    with pytest.raises(TypeError):
        client.ask(request("ann"), general=False)
    assert KNOWN_SECONDS > VERIFIED_SECONDS


def test_clock_set_back(client: Client) -> None:
    """A clock that is set back does not make a password count for longer."""
    client.connection.clock.rightNow -= 3600
    with pytest.raises(TypeError):
        client.ask(request("ann"), general=False)


def test_wrong_password(client: Client) -> None:
    """Nothing is remembered of a wrong password, of an unknown user, of a malformed or a missing header."""
    known = len(client.heads)
    for wrong in (request("ann", "bob"), request("eve"), request("bob", "x"), request("", "ann")):
        assert client.ask(wrong) == [UNAUTHORIZED]
        assert client.ask(wrong) == [UNAUTHORIZED]
    malformed = request("ann").replace(b"Basic ", b"Basic")
    assert client.ask(malformed) == [UNAUTHORIZED]
    assert client.ask(request("ann").replace(b"Authorization", b"X")) == [UNAUTHORIZED]
    assert len(client.heads) == known
    assert client.ask(request("ann"), general=False) == [200]


def test_users_are_told_apart(path: Path) -> None:
    """Users who share a connection, as behind a proxy, each have their own rules, even with pipelined requests."""
    client = Client(path, rule="http user=ann allow jsonrpc.*")
    both = request("ann") + request("bob") + request("ann")
    client.ask(both)
    for _ in range(2):
        client.ask(both, general=False)
        written = client.connection.transport.value()
        assert re.findall(rb'"result"|Forbidden"', written) == [b'"result"', b'Forbidden"', b'"result"']


def test_changed_rules(path: Path) -> None:
    """Rules that change decide about the very next request on an open connection."""
    client = Client(path)
    client.ask(request("ann"))
    for rules, status in ((["http user=bob allow *"], 403), (["http user=ann allow *"], 200), ([], 200)):
        client.connection.access.replace(map(read_rule, rules))
        client.connection.channel.forget_caller()
        assert client.ask(request("ann"), general=False) == [status]


def test_http_allow(path: Path) -> None:
    """Who is outside the allowed networks gets 403, with a right password too."""
    client = Client(path, host="192.0.2.1")
    assert client.ask(request("ann") * 2) == [403, 403]


def test_limits_stay(client: Client) -> None:
    """Whoever guesses a user's name until it is limited does not lock out who was right, nor gets in."""
    statuses = {status for number in range(40) for status in client.ask(request("ann", f"guess{number}"))}
    assert statuses == {UNAUTHORIZED, 429}
    assert client.ask(request("ann"), general=False) == [200]


def test_no_password_in_memory(path: Path) -> None:
    """No object that the connection and its site hold has the password in it."""
    secret = "correct-horse-battery-staple"
    path.write_text(f"ann:{cheap(secret)}\n")
    client = Client(path)
    for _ in range(3):
        assert client.ask(request("ann", secret)) == [200]
    encoded = base64.b64encode(f"ann:{secret}".encode())
    seen: set[int] = set()
    queue: list[Any] = [client.heads]
    while queue:
        one = queue.pop()
        if id(one) in seen or isinstance(one, type) or type(one).__name__ in ("module", "function"):
            continue
        seen.add(id(one))
        if isinstance(one, bytes | bytearray):
            assert secret.encode() not in one
            assert encoded not in one
        assert not (isinstance(one, str) and secret in one)
        queue.extend(gc.get_referents(one))
    assert len(seen) > 10


def test_bounded(path: Path) -> None:
    """However many heads come, few are remembered, and no long ones."""
    clock = Clock()
    checker = users(clock, str(path))
    checker.requestAvatarId(ClientPassword(b"ann", b"ann", "x"))
    secret, plain = UsersHeads(checker, Turns()), OpenHeads()
    authorization = b"Basic " + base64.b64encode(b"ann:ann")
    for number in range(MAX_HEADS * 2 + 10):
        assert secret.learn(b"%d" % number, Head(1, authorization=authorization)).user == "ann"
        plain.learn(b"%d" % number, Head(1))
    assert len(secret) == len(plain) == 10
    for heads in (secret, plain):
        heads.learn(b"x" * (MAX_HEAD + 1), None)
        assert heads.get(b"x" * (MAX_HEAD + 1)) is None


def test_pushed_out(path: Path) -> None:
    """A password whose place another took in the checker is not accepted unseen any more."""
    clock = Clock()
    checker = users(clock, str(path))
    write(path, *(f"user{number}" for number in range(MAX_VERIFIED + 1)))
    for number in range(MAX_VERIFIED + 1):
        name = b"user%d" % number
        checker.requestAvatarId(ClientPassword(name, name, "x"))
    assert checker.verified(b"user0", b"user0") is None
    assert checker.verified(b"user1", b"user1") is not None


def test_each_process_has_its_own_key(path: Path) -> None:
    """The digest of a head cannot be worked out from outside."""
    checker = users(Clock(), str(path))
    assert UsersHeads(checker, Turns())._digest(b"x") != UsersHeads(checker, Turns())._digest(b"x")


def test_looked_at_once_in_a_turn(client: Client, path: Path) -> None:
    """Within a turn of reading the file is looked at once, and at most for some milliseconds; then again."""
    turns: Turns = client.connection.channel.site.turns
    looks: list[None] = []
    checker: UsersFile = client.heads._users
    look = checker.look

    def counted() -> None:
        looks.append(None)
        look()

    checker.look = counted  # type: ignore[method-assign]
    for end, count in ((2.0**40, 1), (2.0**41, 1), (0.0, 3), (1.0, 3)):  # the last two: no turn, and one that is over
        looks.clear()
        turns.end = end
        assert client.ask(request("ann") * 3, general=False) == [200] * 3
        assert len(looks) == count
    turns.end = 0.0
    write(path, "bob")
    assert client.ask(request("ann")) == [UNAUTHORIZED]


BODY = b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"


@pytest.mark.parametrize("place", range(len(BODY)))
def test_chunks_in_pieces(place: int) -> None:
    """A chunked body is read when it is whole, wherever it is cut, and with whatever behind it."""
    document, end = read_chunks(b"xx" + BODY[:place], 2, 13) or (b"?", 0)
    assert (document, end > 2 + place) == (b"", True)
    assert read_chunks(b"xx" + BODY + b"POST", 2, 13) == (b"abc0123456789", 2 + len(BODY))
    assert read_chunks(BODY, 0, 12) is None
    assert CHUNKED < 0


@pytest.mark.parametrize(
    "body",
    [
        *(b"3;x=y\r\nabc\r\n0\r\n\r\n", b"3\nabc\n0\n\n", b"3\r\nabcd\r\n0\r\n\r\n", b"g\r\n", b"-1\r\n", b" 3\r\n"),
        *(b"3\r\nabc\r\n0\r\nX: y\r\n\r\n", b"00\r\n\r\n", b"3\rabc", b"123456789", b"0x3\r\n"),
        b"1\r\na\r\n" * MAX_CHUNKS + b"0\r\n\r\n",
    ],
)
def test_odd_chunks(body: bytes) -> None:
    """A chunked body in which anything is odd is left to twisted.web."""
    assert read_chunks(body, 0, 1000) is None
