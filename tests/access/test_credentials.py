"""Users and passwords: the file, the hashes, the checker, and the command that makes a line."""

import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface import Interface
from zope.interface.verify import verifyObject

from jsonrpcs_tx import credentials
from jsonrpcs_tx.access.guessing import NAME_TOKENS, NETWORK_TOKENS, ClientPassword, TooManyPasswords
from jsonrpcs_tx.access.passwords import Scrypt, make_hash, read_hash
from jsonrpcs_tx.access.users import read_users
from jsonrpcs_tx.access.usersfile import MAX_HASHING, MAX_VERIFIED, MAX_WAITING, VERIFIED_SECONDS, UsersFile
from jsonrpcs_tx.errors import StartError
from tests.support import REPOSITORY
from tests.support.logs import observed
from tests.support.users import cheap, write

HTPASSWD = "$2y$04$tAzOWCaIKgM6T1eUgA2eZ.35LmLuykP5D0SOGEQTUkGJv9m0dSkqW"
"""Made by C{htpasswd -nbB -C 4 ann sesame} of Apache 2.4."""

RFC_7914 = "$scrypt$n=16384,r=8,p=1$U29kaXVtQ2hsb3JpZGU=$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofI="
"""The third vector of RFC 7914, section 12, password C{pleaseletmein}, of which scrypt's first 32 bytes are taken."""

needs_bcrypt = pytest.mark.skipif(importlib.util.find_spec("bcrypt") is None, reason="the package bcrypt is missing")
needs_htpasswd = pytest.mark.skipif(shutil.which("htpasswd") is None, reason="htpasswd of apache2-utils is missing")


@pytest.mark.parametrize(
    ("text", "password"),
    [
        (RFC_7914, b"pleaseletmein"),
        (make_hash(b"sesame", n=2, r=1), b"sesame"),
        (make_hash(b"", n=4, r=2, p=3), b""),
        (make_hash("Süßkartoffel\0".encode(), n=2, r=1), "Süßkartoffel\0".encode()),
        pytest.param(HTPASSWD, b"sesame", marks=needs_bcrypt),
        pytest.param(HTPASSWD.replace("$2y$", "$2b$"), b"sesame", marks=needs_bcrypt),
    ],
    ids=["RFC 7914", "own", "empty", "any bytes", "2y", "2b"],
)
def test_verify(text: str, password: bytes) -> None:
    """The password that was hashed is right, and no other."""
    hashed = read_hash(text)
    assert hashed.text == text
    assert hashed.verify(password)
    assert not hashed.verify(password + b"x")
    assert not hashed.verify(b"other" + password)


def test_hashes_differ() -> None:
    """Each hash has a salt of its own, and says its costs."""
    assert make_hash(b"sesame", 2, 1) != make_hash(b"sesame", 2, 1)
    assert make_hash(b"sesame", 4, 2, 3).startswith("$scrypt$n=4,r=2,p=3$")


@needs_bcrypt
@needs_htpasswd
@pytest.mark.parametrize("password", ["sesame", "Süßkartoffel", "x" * 100])
def test_htpasswd(tmp_path: Path, password: str) -> None:
    """What htpasswd makes with bcrypt is accepted, even for a password of more than 72 bytes."""
    path = tmp_path / "users"
    subprocess.run(["htpasswd", "-cbB", "-C", "4", path, "ann", password], check=True, capture_output=True)
    hashed = read_users(path.read_bytes())[b"ann"]
    assert hashed.verify(password.encode())
    assert not hashed.verify(b"other")


_SALT = "AAAA"
_DIGEST = "A" * 43 + "="


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("ann", "no colon; allowed: name:$scrypt$"),
        (":x", "'' cannot be a user's name"),
        ("#:x\n b b :x", "'b b ' cannot be a user's name"),
        ("a\u2028b:x", "cannot be a user's name; allowed: printable characters"),
        ("ann:", "not a known hash; allowed: name:$scrypt$n=N,r=R,p=P$SALT$HASH or name:$2b$"),
        ("ann:sesame", "not a known hash"),
        ("ann:$apr1$Y7kVTh1Z$l1t7mFJWxPNZ9/kRzDhCU0", "not a known hash"),
        ("ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "not a known hash"),
        ("ann:$2a$04$" + "a" * 53, "not a known hash"),
        ("ann:$2y$03$" + "a" * 53, "cost 03; allowed: 04 to 16"),
        ("ann:$2y$31$" + "a" * 53, "cost 31; allowed: 04 to 16"),
        (f"ann:$scrypt$n=3,r=8,p=1${_SALT}${_DIGEST}", "n=3, r=8, p=1; allowed: n a power of 2"),
        (f"ann:$scrypt$n=1,r=8,p=1${_SALT}${_DIGEST}", "a power of 2 above 1"),
        (f"ann:$scrypt$n=0,r=8,p=1${_SALT}${_DIGEST}", "a power of 2 above 1"),
        (f"ann:$scrypt$n=2,r=0,p=1${_SALT}${_DIGEST}", "r and p from 1"),
        (f"ann:$scrypt$n=16384,r=8,p=99${_SALT}${_DIGEST}", "at most 268435456"),
        (f"ann:$scrypt$n=2,r=8,p=1$A${_DIGEST}", "a broken scrypt hash"),
        (f"ann:$scrypt$n=2,r=8,p=1${_SALT}$AAAA", "32 bytes of hash"),
        (f"ann:{RFC_7914}\nann:{RFC_7914}", "'ann' again; allowed: one line for each user"),
        ("\udcff:x", "not UTF-8"),
    ],
)
def test_bad_line(line: str, says: str) -> None:
    """A bad line is refused with its number, and what is allowed."""
    text = f"# users\n\nzoe:{RFC_7914}\n{line}\n"
    last = text.count("\n")
    with pytest.raises(ValueError, match=f"^line {last}: ") as caught:
        read_users(text.encode(errors="surrogateescape"))
    assert says in str(caught.value)


def test_bcrypt_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package bcrypt, its hashes are refused, with what to do."""
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    with pytest.raises(ValueError, match=r"bcrypt is not installed; allowed: without it \$scrypt\$"):
        read_hash(HTPASSWD)


def test_read_users() -> None:
    """Blank lines, remarks, carriage returns and a last line without an end are taken."""
    users = read_users(f"# staff\r\n\r\n  ann smith:{RFC_7914}\r\nzoé:{RFC_7914}".encode())
    assert list(users) == [b"ann smith", "zoé".encode()]
    assert read_users(b"") == {}


class Desk:
    """A checker on a file, whose hashing is done at once and counted, or held back until L{work} is called.

    @ivar hashed: the passwords that were hashed, in order.
    @ivar log: what was logged, as lines.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.hashed: list[bytes] = []
        self.held: list[Callable[[], None]] | None = None
        self.guesses = 0
        self.log: list[str] = []
        self.checker = UsersFile(str(path), self.clock, self._in_thread)

    def _in_thread(self, verify: Callable[[bytes], bool], password: bytes) -> Deferred[bool]:
        self.hashed.append(password)
        if self.held is None:
            return maybeDeferred(verify, password)
        done: Deferred[bool] = Deferred()
        self.held.append(lambda: done.callback(verify(password)))
        return done

    def work(self) -> None:
        """Hash all that is held back, and what comes then."""
        while self.held:
            self.held.pop(0)()

    def ask(self, name: str, password: str, client: str = "192.0.2.1") -> list[Any]:
        """Check a password.

        @return: the name, or the class of the error, as soon as it is known.
        """
        answers: list[Any] = []
        self.request(name, password, client).addCallbacks(answers.append, lambda failure: answers.append(failure.type))
        return answers

    def request(self, name: str, password: str, client: str = "192.0.2.1") -> Deferred[Any]:
        """Check a password; what comes of it."""
        return self.checker.requestAvatarId(ClientPassword(name.encode(), password.encode(), client))

    def flood(self, name: str, count: int, client: str = "192.0.2.1") -> list[list[Any]]:
        """Guess, each time another password; the answers so far."""
        self.guesses += count
        guesses = range(self.guesses - count, self.guesses)
        return [self.ask(name.replace("?", str(guess)), f"wrong{guess}", client) for guess in guesses]

    def knows(self, name: str, password: str) -> bool:
        """Check a password, and be told at once."""
        (answer,) = self.ask(name, password)
        assert answer in (name.encode(), UnauthorizedLogin)
        return bool(answer == name.encode())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    write(tmp_path / "users", "ann", "bob")
    desk = Desk(tmp_path / "users")

    def observe(event: Any) -> None:
        desk.log.append(event["log_format"].format(**event))

    with observed(observe):
        yield desk


def test_is_a_checker(desk: Desk) -> None:
    """It is a checker as twisted.cred has them."""
    assert verifyObject(ICredentialsChecker, desk.checker)


def test_right_and_wrong(desk: Desk) -> None:
    """A user gets in with the password, and with no other, no other user's, and no part of the hash."""
    assert desk.knows("ann", "ann")
    hashed = desk.path.read_text().split("\n")[0].removeprefix("ann:")
    for password in ("bob", "", "ann ", "Ann", hashed):
        assert not desk.knows("ann", password)
    assert not desk.knows("Ann", "ann")


def test_unknown_users_cost_a_hash_too(desk: Desk, tmp_path: Path) -> None:
    """A name that is not known is refused after one hash, even with the password that it is hashed against."""
    for name in ("zoe", "ann\0", "zoé"):
        for password in ("ann", "bob"):
            desk.hashed.clear()
            for _ in range(2):
                assert not desk.knows(name, password)
            assert desk.hashed == [password.encode()]
    write(desk.path)
    assert not desk.knows("ann", "x")
    assert desk.hashed[-1] == b"x"


def test_right_passwords_are_remembered(desk: Desk) -> None:
    """A password is hashed once in a minute, right or wrong, and nothing is remembered in clear."""
    for seconds, hashed in ((0, 1), (59.9, 1), (0.2, 2), (30, 2)):
        desk.clock.advance(seconds)
        assert desk.knows("ann", "ann")
        assert len(desk.hashed) == hashed
    assert not desk.knows("ann", "wrong")
    assert not desk.knows("ann", "wrong")
    assert len(desk.hashed) == 3
    desk.clock.advance(60)
    assert not desk.knows("ann", "wrong")
    assert len(desk.hashed) == 4
    assert "ann" not in repr([*desk.checker._right._seen])


def test_memory_is_bounded(desk: Desk) -> None:
    """No more passwords are remembered than is set, the newest ones."""
    names = [f"user{number}" for number in range(MAX_VERIFIED + 3)]
    write(desk.path, *names)
    for name in names:
        assert desk.knows(name, name)
    assert len(desk.checker._right) == MAX_VERIFIED
    desk.hashed.clear()
    assert desk.knows(names[3], names[3])
    assert desk.hashed == []
    assert desk.knows(names[2], names[2])
    assert desk.hashed == [names[2].encode()]


def test_parts_do_not_run_together(desk: Desk) -> None:
    """A name and a password that are known let nobody in whose name and password have the same bytes in a row."""
    desk.path.write_text(f"ann:{cheap('x' + chr(0) + 'y')}\n")
    assert desk.knows("ann", "x\0y")
    for name, password in (("ann\0x", "y"), ("an", "n\0x\0y"), ("ann\0", "x\0y"), ("ann\0x\0y", "")):
        assert not desk.knows(name, password)


def test_file_is_read_again(desk: Desk) -> None:
    """A change of the file takes effect with the next check, even for remembered passwords."""
    assert desk.knows("ann", "ann")
    assert not desk.knows("zoe", "zoe")
    write(desk.path, "bob", "zoe")
    assert not desk.knows("ann", "ann")
    assert desk.knows("zoe", "zoe")
    with desk.path.open("a") as file:
        file.write(f"ann:{cheap('new')}\n")
    assert not desk.knows("ann", "ann")
    assert desk.knows("ann", "new")
    assert [line for line in desk.log if "reloaded" in line] == [f"users reloaded from {desk.path}"] * 2


def test_bad_file_changes_nothing(desk: Desk) -> None:
    """A file with a bad line leaves the users as they were; the log says so once, and with the line."""
    for _ in range(2):
        desk.path.write_text(f"zoe:{cheap('zoe')}\nann\n")
        for _ in range(3):
            assert desk.knows("ann", "ann")
            assert not desk.knows("zoe", "zoe")
    assert 1 <= len(desk.log) <= 2
    assert all("the former users stay: http_users: " in line and "line 2: no colon" in line for line in desk.log)
    write(desk.path, "zoe")
    assert desk.knows("zoe", "zoe")


def test_lost_file_lets_nobody_in(desk: Desk) -> None:
    """Without its file nobody gets in, which is logged once; when it is there again, they do."""
    assert desk.knows("ann", "ann")
    desk.path.unlink()
    for _ in range(3):
        assert not desk.knows("ann", "ann")
    (line,) = desk.log
    assert line.startswith("nobody gets in: http_users: ")
    assert "No such file" in line
    write(desk.path, "ann")
    assert desk.knows("ann", "ann")


def test_reload(desk: Desk) -> None:
    """Told to, the checker reads the file at once: a bad one changes nothing, and without one nobody gets in."""
    write(desk.path, "bob", "zoe")
    assert desk.checker.reload() == 2
    assert desk.knows("bob", "bob")
    desk.path.write_text("ann\n")
    with pytest.raises(StartError, match="line 1: no colon") as bad:
        desk.checker.reload()
    assert bad.value.consequence == "the former ones stay"
    assert desk.knows("bob", "bob")
    desk.path.unlink()
    with pytest.raises(StartError, match="No such file") as lost:
        desk.checker.reload()
    assert lost.value.consequence == "nobody gets in"
    assert not desk.knows("bob", "bob")
    write(desk.path, "bob")
    assert desk.checker.reload() == 1
    assert desk.knows("bob", "bob")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "No such file or directory; allowed: a file that can be read"),
        (Path.mkdir, "Is a directory"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.write_text("ann\n"), "line 1: no colon"),
    ],
    ids=["missing", "directory", "fifo", "bad"],
)
def test_start_is_refused(tmp_path: Path, make: Callable[[Path], object], says: str) -> None:
    """A file that cannot be used stops the start at once, with the setting, the file and what is allowed."""
    make(tmp_path / "users")
    with pytest.raises(StartError) as caught:
        UsersFile(str(tmp_path / "users"), Clock())
    assert str(caught.value).startswith(f"http_users: {tmp_path}/users: ")
    assert says in str(caught.value)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o640, 0), (0o644, 1), (0o602, 1)])
def test_open_file_is_warned_of(desk: Desk, mode: int, warned: int) -> None:
    """A file that everybody can read or write is used, with one warning."""
    desk.path.chmod(0o400)
    desk.knows("ann", "ann")
    desk.log.clear()
    desk.path.chmod(mode)
    assert desk.knows("ann", "ann")
    assert desk.knows("bob", "bob")
    assert sum("by everybody" in line for line in desk.log) == warned


def test_hashing_takes_turns(desk: Desk) -> None:
    """Some passwords are hashed at a time, and the others wait."""
    desk.held = []
    answers = desk.flood("user?", 20)
    assert len(desk.hashed) == MAX_HASHING
    assert not any(answers)
    desk.work()
    assert answers == [[UnauthorizedLogin]] * len(answers)


def test_same_password_is_hashed_once(desk: Desk) -> None:
    """A password that many requests bring together is hashed once, for all that are still there."""
    desk.held = []
    answers = [desk.ask("ann", "ann") for _ in range(100)]
    gone = desk.request("ann", "ann")
    gone.addErrback(lambda failure: failure.trap(CancelledError))
    gone.cancel()
    desk.work()
    assert answers == [[b"ann"]] * 100
    assert desk.hashed == [b"ann"]


def test_flood_is_turned_away(desk: Desk) -> None:
    """Who guesses on and on has few guesses hashed; another network, and another name, are not held up by that."""
    answers = desk.flood("ann", 1000)
    at_once, per_second = NAME_TOKENS
    assert len(desk.hashed) == at_once
    assert answers.count([TooManyPasswords]) == 1000 - at_once
    assert desk.ask("ann", "ann", "192.0.2.2") == [b"ann"]
    assert desk.ask("bob", "bob") == [b"bob"]
    desk.hashed.clear()
    desk.clock.advance(3 / per_second)
    desk.flood("ann", 100)
    assert len(desk.hashed) == 3


def test_flood_with_many_names_is_turned_away(desk: Desk) -> None:
    """Who guesses for other names all the time has no more guesses hashed than the network may."""
    desk.flood("user?", 1000)
    assert len(desk.hashed) == NETWORK_TOKENS[0]
    assert desk.ask("ann", "ann", "192.0.2.2") == [b"ann"]


def test_right_password_gets_in_through_a_flood(desk: Desk) -> None:
    """From the address of a flood, and with the name that it is for, a right password gets in the second time."""
    for name in ("ann", "user?"):
        desk.flood(name, 1000)
        assert desk.ask("ann", "ann") == ([TooManyPasswords] if name == "ann" else [b"ann"])
        desk.flood(name, 1000)
        assert desk.ask("ann", "ann") == [b"ann"]


def test_password_that_was_right_gets_in(desk: Desk) -> None:
    """A password that was right before gets in at once, however many guesses come, each of them twice."""
    assert desk.knows("ann", "ann")
    desk.clock.advance(VERIFIED_SECONDS + 1)
    for _ in range(2):
        first = desk.guesses
        desk.flood("ann", 500)
        desk.guesses = first
        desk.flood("ann", 500)
    assert len(desk.hashed) < 60
    assert desk.ask("ann", "ann") == [b"ann"]


def test_password_that_was_turned_away_goes_first(desk: Desk) -> None:
    """A password that comes again is hashed before all that have waited."""
    desk.held = []
    waiting = desk.flood("user?", NETWORK_TOKENS[0])
    waiting += desk.flood("user?", 50, "192.0.2.2")
    assert desk.ask("bob", "bob") == [TooManyPasswords]
    answer = desk.ask("bob", "bob")
    for _ in range(MAX_HASHING + 1):
        desk.held.pop(0)()
    assert answer == [b"bob"]
    desk.work()
    assert all(waiting)


def test_networks_take_turns(desk: Desk) -> None:
    """Behind a network with many passwords another one waits for no more than those that are being hashed."""
    desk.held = []
    desk.flood("user?", NETWORK_TOKENS[0])
    answer = desk.ask("ann", "ann", "192.0.2.2")
    for _ in range(MAX_HASHING + 2):
        desk.held.pop(0)()
    assert answer == [b"ann"]
    desk.work()


def test_too_many_networks(desk: Desk) -> None:
    """If too many wait in all, the network with the most loses its last one, which goes first when it comes again."""
    desk.held = []
    waiting = [desk.flood("user?", 100, f"192.0.2.{number}") for number in range(10, 15)]
    assert desk.checker._turns.waiting == MAX_WAITING - MAX_HASHING
    answers = [desk.ask("ann", "ann", f"192.0.3.{number}") for number in range(3)]
    assert not any(answers)
    assert sum(bool(answer) for network in waiting for answer in network) == 0
    late = [desk.ask("zoe", f"zoe{number}", "192.0.4.4") for number in range(3)]
    assert sum(answer == [TooManyPasswords] for network in waiting for answer in network) == 2
    desk.work()
    assert answers == [[b"ann"]] * 3
    assert late == [[UnauthorizedLogin]] * 3


def test_right_passwords_cost_nothing(desk: Desk) -> None:
    """Users behind one address may be many: right passwords take up no room of their network."""
    names = [f"user{number}" for number in range(3 * int(NETWORK_TOKENS[0]))]
    write(desk.path, *names)
    assert all(desk.knows(name, name) for name in names)


def test_clients_that_leave_cost_nothing(desk: Desk) -> None:
    """A client that leaves before its turn is not hashed, and takes up no room of its network."""
    desk.held = []
    busy = desk.flood("zoe", MAX_HASHING, "192.0.2.2")
    for number in range(1000):
        gone = desk.request("ann", f"wrong{number}")
        gone.cancel()
        gone.addErrback(lambda failure: failure.trap(CancelledError))
    answer = desk.ask("ann", "ann")
    desk.work()
    assert answer == [b"ann"]
    assert len(desk.hashed) == MAX_HASHING + 1
    assert all(busy)


def test_credentials_without_a_client(desk: Desk) -> None:
    """Programs may check plain credentials of twisted.cred; all these count as one client."""
    answers: list[Any] = []
    desk.checker.requestAvatarId(UsernamePassword(b"ann", b"ann")).addBoth(answers.append)
    assert answers == [b"ann"]


def test_cancelling_frees_no_turn(desk: Desk) -> None:
    """A client that leaves gets no answer, and its turn lasts until its password was hashed."""
    desk.held = []
    for number in range(MAX_HASHING):
        asked = desk.request("ann", f"wrong{number}")
        asked.cancel()
        asked.addErrback(lambda failure: failure.trap(CancelledError))
    waits = desk.ask("bob", "bob")
    assert len(desk.hashed) == MAX_HASHING
    desk.work()
    assert waits == [b"bob"]


def test_broken_thread(desk: Desk) -> None:
    """What hashing raises comes out of the check, and the next one has its turn."""

    def fails(*arguments: object) -> Deferred[Any]:
        raise MemoryError

    desk.checker._in_thread, working = fails, desk.checker._in_thread
    for _ in range(MAX_HASHING + 1):
        assert desk.ask("ann", "ann") == [MemoryError]
    assert not desk.checker._checks
    desk.checker._in_thread = working
    assert desk.knows("ann", "ann")


class ThreadTests(TestCase):
    """The checker as it runs in the server: behind a portal, with real threads and costs."""

    @pytest.mark.slow
    async def test_portal(self) -> None:
        """Behind a portal a password is hashed in a thread, and lets its user in."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name) / "users"
        path.write_text(f"ann:{make_hash(b'sesame')}\n")
        path.chmod(0o600)
        threads = []
        verify = Scrypt.verify

        def noting(hashed: Scrypt, password: bytes) -> bool:
            threads.append(threading.current_thread())
            return verify(hashed, password)

        self.patch(Scrypt, "verify", noting)

        class Realm:
            def requestAvatar(self, name: bytes, mind: object, *interfaces: object) -> tuple[object, bytes, object]:
                return interfaces[0], name, lambda: None

        portal = Portal(Realm(), [UsersFile(str(path), reactor)])  # type: ignore[arg-type] # Realm declares no interface
        for _ in range(2):
            _, avatar, _ = await portal.login(UsernamePassword(b"ann", b"sesame"), None, Interface)
            assert avatar == b"ann"
        with pytest.raises(UnauthorizedLogin):
            await portal.login(UsernamePassword(b"ann", b"sesam"), None, Interface)
        assert len(threads) == 2
        assert threading.main_thread() not in threads


@pytest.mark.slow
@pytest.mark.parametrize("typed", ["sesame\n", "sesame", "sesame\r\nmore\n"])
def test_command(typed: str) -> None:
    """The command makes a line of the file from the first line of its input."""
    command = [sys.executable, "-m", "jsonrpcs_tx.credentials", "ann"]
    done = subprocess.run(command, cwd=REPOSITORY, input=typed, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert read_users(done.stdout.encode())[b"ann"].verify(b"sesame")


@pytest.mark.parametrize(
    ("name", "typed", "says"),
    [
        ("a:b", "x", "'a:b' cannot be a user's name"),
        ("", "x", "'' cannot be a user's name"),
        ("ann", "", "an empty password"),
    ],
)
def test_command_refuses(
    name: str, typed: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command makes no line of a name or password that cannot be used, and says why."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed.encode())))
    with pytest.raises(SystemExit):
        credentials.main([name])
    out, error = capsys.readouterr()
    assert out == ""
    assert says in error


@pytest.mark.parametrize(("again", "made"), [("sesame", True), ("sesam", False)])
def test_command_on_a_terminal(
    again: str, made: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal the password is asked for twice, unseen, and must be the same."""
    typed = iter(("sesame", again))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    if made:
        credentials.main(["ann"])
        assert read_users(capsys.readouterr().out.encode())[b"ann"].verify(b"sesame")
    else:
        with pytest.raises(SystemExit):
            credentials.main(["ann"])
        assert "the same one twice" in capsys.readouterr().err
