"""Who an HTTP client is: whatever a checker of twisted.cred does, each request gets an answer, and the log says why."""

import base64
from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredQueue, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from jsonrpcs_tx import Settings, makeService
from jsonrpcs_tx.access import authentication
from jsonrpcs_tx.access.authentication import Authenticator, Refused
from jsonrpcs_tx.access.guessing import NAME_TOKENS, TooManyPasswords
from jsonrpcs_tx.access.passwords import make_hash
from jsonrpcs_tx.state.counters import Counters
from tests.support import ECHO, ECHO_REPLY, PATIENCE, http_request
from tests.support.http import HttpCase, Response


def basic(name: bytes, password: bytes = b"x") -> str:
    return "Authorization: Basic " + base64.b64encode(name + b":" + password).decode()


ASK = http_request(ECHO, basic(b"ann"))


class Checker:
    """Does what a test says."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self.requestAvatarId = answer


def answering(avatar: object) -> Callable[[object], Any]:
    """What a checker does that always gives the same."""
    return lambda _: avatar


class AuthenticationTests(HttpCase):
    """A server with a checker of its own."""

    def serve_with(self, checker: Any, **options: Any) -> None:
        settings = Settings(
            transport=1,
            run_dir=str(self.directory),
            load=("jsonrpc",),
            http_listen="tcp:0:interface=127.0.0.1",
            **options,
        )
        self.service = makeService(settings, reactor, [self.commands], checker)
        self.addCleanup(self.service.stopService)
        self.service.startService()

    async def ask_with(self, answer: Callable[[Any], Any], **options: Any) -> Response:
        """What a request gets if the checker answers so."""
        self.serve_with(Checker(answer), **options)
        return await self.ask(ASK)

    async def test_users(self) -> None:
        """A name as bytes or str is the user's, at once or later; ANONYMOUS and an empty name stand for no user."""
        rules = ("http user=zo\u00e9 allow *", "http user=a* allow no.such")
        for avatar, status in (
            ("zo\u00e9".encode(), 200),
            ("zo\u00e9", 200),
            ("ann", 403),
            (b"zo\xe9", 403),
            (ANONYMOUS, 403),
            ("", 403),
            (b"", 403),
        ):
            for answer in (answering(avatar), answering(succeed(avatar))):
                assert (await self.ask_with(answer, rule=rules)).status == status, avatar
                await self.service.stopService()

    async def test_names_stay_apart(self) -> None:
        """Names that are no UTF-8 are not taken for one another."""
        self.serve_with(Checker(lambda credentials: credentials.username), rule=["http user=\udcff allow *"])
        for name, status in ((b"\xff", 200), (b"\xfe", 403), ("\ufffd".encode(), 403)):
            assert (await self.ask(http_request(ECHO, basic(name)))).status == status

    async def test_anonymous_without_rules(self) -> None:
        """Without rules, an anonymous client may call as well, if the checker says so."""
        assert (await self.ask_with(lambda _: ANONYMOUS)).body == ECHO_REPLY

    async def test_credentials(self) -> None:
        """A checker learns the name, the password and the address; all of that is empty without a header."""
        seen: list[tuple[bytes, bytes, str]] = []

        def check(asked: Any) -> bytes:
            seen.append((asked.username, asked.password, asked.client))
            return b"ann"

        self.serve_with(Checker(check))
        for header in (basic(b"ann", b"a:\xff"), "X: y"):
            assert (await self.ask(http_request(ECHO, header))).status == 200
        assert seen == [(b"ann", b"a:\xff", "127.0.0.1"), (b"", b"", "127.0.0.1")]

    async def test_no_name(self) -> None:
        """An answer of the checker that is not a name gets 500; the log says what it was and what is allowed."""
        for avatar in (None, 7, object(), ["ann"], ("ann",), {}, bytearray(b"ann"), Deferred):
            with capturedLogs() as events:
                response = await self.ask_with(answering(avatar))
            assert (response.status, response.body) == (
                500,
                b"500 Internal Server Error: the password could not be checked; the log says why\n",
            )
            (failure,) = self.flushLoggedErrors(TypeError)
            assert f"returned {type(avatar).__name__}; allowed: bytes or str" in str(failure.value)
            assert any("http: a password could not be checked" in formatEvent(event) for event in events)
            await self.service.stopService()

    async def test_checker_that_fails(self) -> None:
        """A checker that raises, at once or later, gets its clients 500, whatever it raises."""
        for error in (ValueError, KeyboardInterrupt, GeneratorExit, SystemExit):

            def raises(_: object, error: type[BaseException] = error) -> None:
                raise error

            for answer in (raises, lambda _, error=error: fail(error())):
                response = await self.ask_with(answer)
                assert response.status == 500, error
                assert len(self.flushLoggedErrors(error)) == 1
                await self.service.stopService()

    async def test_refusals(self) -> None:
        """A checker refuses with 401, or with 429 and when to come again."""
        response = await self.ask_with(lambda _: fail(UnauthorizedLogin()))
        assert response.status == 401
        assert response.headers[b"www-authenticate"].startswith(b"Basic ")
        await self.service.stopService()
        response = await self.ask_with(lambda _: fail(TooManyPasswords(2.5)))
        assert (response.status, response.reason) == (429, b"Too Many Requests")
        assert response.headers[b"retry-after"] == b"3"
        assert b"www-authenticate" not in response.headers

    async def test_bug_after_the_check(self) -> None:
        """What fails once a user is known gets 500 and a traceback in the log, in place of no answer."""

        def fails(*arguments: object) -> None:
            raise ZeroDivisionError

        self.serve_with(Checker(lambda _: b"ann"))
        self.patch(self.service.dispatcher, "dispatch", fails)
        assert (await self.ask(ASK)).status == 500
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    async def test_no_answer(self) -> None:
        """A checker that does not answer in time is cancelled, and the client gets 503, even if it takes no notice."""
        self.patch(authentication, "CHECK_SECONDS", 0.05)
        cancelled: list[object] = []

        async def stubborn() -> bytes:
            while True:
                try:
                    await Deferred(cancelled.append)
                except CancelledError:
                    if len(cancelled) > 1:
                        return b"ann"

        answers: list[Callable[[object], object]] = [lambda _: Deferred(cancelled.append), lambda _: stubborn()]
        for answer in answers:
            with capturedLogs() as events:
                response = await self.ask_with(answer)
            assert (response.status, response.headers[b"retry-after"]) == (503, b"1")
            line = "http: password not checked: no answer in 0.05 s for user 'ann' from 127.0.0.1"
            assert line in [formatEvent(event) for event in events]
            await self.service.stopService()
        assert len(cancelled) == 2

    async def test_client_that_leaves(self) -> None:
        """A client that leaves has its check cancelled, and nothing is logged or run."""
        cancelled: DeferredQueue[object] = DeferredQueue()
        begun: DeferredQueue[object] = DeferredQueue()

        def answer(_: object) -> Deferred[bytes]:
            reactor.callLater(0, begun.put, None)
            return Deferred(cancelled.put)

        self.serve_with(Checker(answer))
        client = await self.connect()
        client.write(ASK)
        await begun.get().addTimeout(PATIENCE, reactor)
        with capturedLogs() as events:
            await client.close()
            await cancelled.get().addTimeout(PATIENCE, reactor)
        assert not [event for event in events if event["log_namespace"].startswith("jsonrpcs_tx")]
        assert self.service.counters.get("http", "requests") is None

    async def test_counters_and_words(self) -> None:
        """Who is refused is counted, and the refusal says what the log has to say of it, if it was a guess."""
        counters = Counters()

        def refuse(asked: Any) -> Deferred[Any]:
            return fail(TooManyPasswords(1) if asked.username == b"tim" else UnauthorizedLogin())

        authenticator = Authenticator(Checker(refuse), Clock(), counters)
        for name, is_guess, why in (
            (b"ann", True, "authentication failed for user 'ann'"),
            (b"", True, "authentication failed for user ''"),
            (b"", False, ""),
            (b"tim", True, "too many passwords for user 'tim'"),
            (b"\xff" + b"x" * 1000, True, f"authentication failed for user '\\xff{'x' * 99}'"),
        ):
            failure = self.failureResultOf(authenticator.check(name, b"x", "192.0.2.1", is_guess), Refused)
            assert failure.value.why == why
        failures, limited = counters.get("jsonrpc", "auth_failures"), counters.get("jsonrpc", "auth_limited")
        assert failures is not None
        assert limited is not None
        assert (failures.read(), limited.read()) == (3, 1)

    async def test_log(self) -> None:
        """Wrong passwords and headers that hold none are logged with the address; a request that gives none is not."""
        self.serve_with(Checker(lambda _: fail(UnauthorizedLogin())))
        headers = (basic(b"ann"), basic(b"' from 192.0.2.9\n"), "Authorization: Basic ???", "Authorization: Bearer x")
        with capturedLogs() as events:
            for header in (*headers, "X-Other: 1"):
                assert (await self.ask(http_request(ECHO, header))).status == 401
        lines = [formatEvent(event) for event in events if event["log_namespace"] == "jsonrpcs_tx.access.refusallog"]
        assert lines == [
            "http: authentication failed for user 'ann' from 127.0.0.1",
            "http: authentication failed for user '' from 192.0.2.9\\n' from 127.0.0.1",
            *["http: malformed Authorization header from 127.0.0.1"] * 2,
        ]
        assert self.service.counters.get("jsonrpc", "auth_failures").read() == len(headers)  # type: ignore[union-attr]

    async def test_flood(self) -> None:
        """While one address guesses on and on, its users get in that are known, and others the second time."""
        users = self.directory / "users"
        users.write_text("".join(f"{name}:{make_hash(name.encode(), n=2, r=1)}\n" for name in ("ann", "bob")))
        users.chmod(0o600)
        self.serve_with(None, http_users="users")
        client = await self.connect()
        right = [http_request(ECHO, basic(name, name)) for name in (b"ann", b"bob")]
        client.write(right[1])
        assert (await client.response()).status == 200
        statuses = []
        for guess in range(int(NAME_TOKENS[0]) + 20):
            client.write(http_request(ECHO, basic(b"ann", b"%d" % guess)))
            statuses.append((await client.response()).status)
        assert set(statuses) == {401, 429}
        for request, status in ((right[1], 200), (right[0], 429), (right[0], 200), (right[1], 200)):
            client.write(request)
            assert (await client.response()).status == status
