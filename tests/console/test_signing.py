"""Signing in and out over real sockets: the cookie, who may, what is refused, what ends a session."""

import json
import time
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from tests.support import http_request
from tests.support.console import JSON_TYPE, Browser, ConsoleCase, call
from tests.support.http import Response
from tests.support.users import authorization, write

SIGN_IN = b'{"user":"ann","password":"ann"}'
ASKED = {"user": None, "needs": "password", "expires": None}


def replace(path: Path, text: str) -> None:
    """Put another file in the place of one."""
    new = path.with_name("replacement")
    new.write_text(text)
    new.chmod(0o600)
    new.rename(path)


class SignCase(ConsoleCase):
    def serve(self, **options: Any) -> None:
        super().serve(**{"http_users": self.users("ann", "bob"), **options})

    async def signed_in(self, user: str = "ann", **how: Any) -> Browser:
        browser = self.browser(**how)
        response = await browser.sign_in(user)
        assert response.status == 204, response.body
        return browser

    async def assert_out(self, browser: Browser) -> None:
        """A browser is not signed in, and gets nothing that needs it."""
        assert await browser.session() == ASKED
        for response in (
            await browser.call("core.version"),
            await browser.get("openrpc.json"),
            await browser.get("events?panels=load"),
            await browser.get("table?name=t"),
        ):
            assert (response.status, json.loads(response.body)) == (401, {"needs": "password"})
            assert response.headers[b"content-type"] == b"application/json"
            assert b"www-authenticate" not in response.headers


class Signing(SignCase):
    async def test_in_and_out(self) -> None:
        """A user signs in, calls, and signs out."""
        self.serve()
        browser = self.browser()
        await self.assert_out(browser)
        await browser.sign_in("ann")
        told = await browser.session()
        assert (told["user"], told["needs"], told["may"]) == ("ann", "nothing", {"audit": True, "call": True})
        assert 1790 <= told["expires"] <= 1800
        assert (await browser.call("core.echo", "x")).result == ["x"]
        response = await browser.ask("DELETE", "session")
        assert response.status == 204
        assert b"Max-Age=0" in response.headers[b"set-cookie"]
        assert browser.cookie == ""
        await self.assert_out(browser)

    async def test_old_cookie(self) -> None:
        """A cookie is not valid any more once its user has signed out."""
        self.serve()
        browser = await self.signed_in()
        cookie = browser.cookie
        await browser.ask("DELETE", "session")
        browser.cookie = cookie
        await self.assert_out(browser)

    async def test_cookie(self) -> None:
        """The cookie is kept from scripts, other sites, other hosts, and connections that can be read."""
        self.serve()
        response = await self.browser(host="127.0.0.1:8443").sign_in("ann")
        pair, *attributes = response.headers[b"set-cookie"].decode().split("; ")
        name, _, token = pair.partition("=")
        assert name == "__Secure-jsonrpcs-8443"
        assert len(token) >= 43
        assert sorted(attributes) == ["HttpOnly", "SameSite=Strict", "Secure"]
        assert response.headers[b"cache-control"] == b"no-store"
        assert response.body == b""

    async def test_only_here(self) -> None:
        """The cookie counts below the path of the console only, and names and passwords in headers do not there."""
        self.serve()
        browser = await self.signed_in()
        for header in (f"Cookie: {browser.cookie}", f"Cookie: {browser.cookie}\r\nOrigin: {browser.origin}"):
            for path in ("/RPC", "/RPC/console", "/openrpc.json"):
                body = call("core.version") if path.startswith("/RPC") else b""
                method = "POST" if body else "GET"
                response = await self.ask(http_request(body, header, JSON_TYPE, path=path, method=method))
                assert response.status == 401, path
        stranger = self.browser()
        basic = f"Authorization: {authorization('ann')}"
        assert (await stranger.get("openrpc.json", basic)).status == 401
        assert (await stranger.ask("POST", "RPC", JSON_TYPE, basic, body=call("core.version"))).status == 401

    async def test_wrong(self) -> None:
        """A wrong password, an unknown name and an empty name get the same answer, and no session."""
        self.serve()
        browser = self.browser()
        answers = set()
        for user, password in (("ann", "bob"), ("eve", "eve"), ("", ""), ("ann", ""), ("ann:x", "ann"), ("\n", "é")):
            response = await browser.sign_in(user, password)
            assert b"set-cookie" not in response.headers
            assert b"www-authenticate" not in response.headers
            answers.add((response.status, response.body))
        assert answers == {(403, b"403 Forbidden: wrong name or password\n")}
        await self.assert_out(browser)

    async def test_malformed(self) -> None:
        """A request without a name and a password is refused, and the answer says what is allowed."""
        self.serve()
        browser = self.browser()
        for body in (
            *(
                b"{}",
                b"[]",
                b"",
                b"null",
                b'{"user":"ann"}',
                b'{"user":1,"password":"x"}',
                b'{"user":"ann","password":null}',
            ),
            *(
                b'{"user":"\xff","password":"x"}',
                b'{"user":"\\ud800","password":"x"}',
                b'{"user":"a","password":"b"',
                b"\0",
            ),
        ):
            response = await browser.ask("POST", "session", JSON_TYPE, body=body or b" ")
            assert (response.status, b"set-cookie" in response.headers) == (400, False), body
        response = await browser.ask("POST", "session", JSON_TYPE, body=b'{"user":"' + b"x" * 8192 + b'"}')
        assert response.status == 413
        for method in ("PUT", "OPTIONS", "PATCH"):
            response = await browser.ask(method, "session")
            assert (response.status, response.headers[b"allow"]) == (405, b"GET, HEAD, POST, DELETE")

    async def test_fixation(self) -> None:
        """A cookie that somebody else has made or planted does not become a session, and does not stay one."""
        self.serve()
        invented = "__Secure-jsonrpcs=" + "A" * 43
        victim = self.browser()
        victim.cookie = invented
        await victim.sign_in("ann")
        assert victim.cookie != invented
        other = self.browser()
        other.cookie = invented
        await self.assert_out(other)

        planted = await self.signed_in("bob")
        victim = self.browser()
        victim.cookie = planted.cookie
        await victim.sign_in("ann")
        assert (await victim.session())["user"] == "ann"
        await self.assert_out(planted)

        tossed = await self.signed_in("bob")
        victim.cookie = f"{victim.cookie}; {tossed.cookie}"
        await self.assert_out(victim)

    async def test_csrf(self) -> None:
        """No page of another site can sign in, sign out or call, whatever it sends."""
        self.serve(http_origin=["http://listed.example"])
        browser = await self.signed_in()
        attempts: list[tuple[str, ...]] = [
            ("Origin: http://evil.example", JSON_TYPE),
            ("Origin: http://listed.example", JSON_TYPE),
            ("Origin: null", JSON_TYPE),
            ("Origin: http://127.0.0.1.evil.example", JSON_TYPE),
            ("Origin: http://127.0.0.1:81", JSON_TYPE),
            ("Origin: http://127.0.0.1", "Sec-Fetch-Site: cross-site", JSON_TYPE),
            ("Origin: http://127.0.0.1", "Sec-Fetch-Site: same-site", JSON_TYPE),
            ("Sec-Fetch-Site: cross-site", JSON_TYPE),
            ("Sec-Fetch-Site: same-site", JSON_TYPE),
        ]
        for headers in attempts:
            browser.origin = ""
            call_ = await browser.ask("POST", "RPC", *headers, body=call("htable.sets", "t", "k", "v"))
            assert (call_.status, b"access-control-allow-origin" in call_.headers) == (403, False), headers
            assert (await browser.ask("POST", "session", *headers, body=SIGN_IN)).status == 403, headers
            assert (await browser.ask("DELETE", "session", *headers)).status == 403, headers
        two = ("Origin: http://127.0.0.1\r\nOrigin: http://evil.example", JSON_TYPE)
        assert (await browser.ask("POST", "RPC", *two, body=call("htable.sets", "t", "k", "v"))).status == 400
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "text/json"):
            headers = (f"Content-Type: {kind}",) if kind else ()
            assert (await browser.ask("POST", "RPC", *headers, body=call("htable.sets", "t", "k", "v"))).status == 415
            assert (await browser.ask("POST", "session", *headers, body=SIGN_IN)).status == 415
        for headers in (("Origin: http://listed.example",), ("Origin: http://evil.example",)):
            wanted = (*headers, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type")
            for path in ("RPC", "session"):
                preflight = await browser.ask("OPTIONS", path, *wanted)
                assert preflight.status == 403
                assert not any(name.startswith(b"access-control") for name in preflight.headers)
        assert self.service.tables["t"].size == 0
        assert (await browser.session())["user"] == "ann"

    async def test_programs(self) -> None:
        """Programs, which are not web pages, send no origin; they need the cookie and the content type all the same."""
        self.serve()
        browser = await self.signed_in(origin="")
        assert (await browser.call("core.echo", 1)).result == ["1"]
        assert (await browser.ask("POST", "RPC", f"{JSON_TYPE}; charset=utf-8", body=call("core.echo", 2))).result == [
            "2"
        ]

    async def test_two_users(self) -> None:
        """Each browser has its own user, with that user's rights."""
        rules = ["http user=ann allow *", "http user=bob allow htable.get(t, *) core.echo"]
        self.serve(rule=rules)
        ann, bob = await self.signed_in("ann"), await self.signed_in("bob")
        assert (await ann.call("htable.sets", "t", "k", "v")).status == 200
        assert (await bob.call("htable.sets", "t", "k", "w")).error == (403, "Forbidden")
        assert (await bob.call("htable.get", "t", "k")).result["item"]["value"] == "v"
        assert (await bob.call("htable.get", "secret", "k")).error == (403, "Forbidden")
        assert (await bob.session())["may"] == {"audit": False, "call": True}
        assert (await ann.session())["may"] == {"audit": True, "call": True}
        await bob.ask("DELETE", "session")
        await self.assert_out(bob)
        assert (await ann.call("core.echo", "x")).result == ["x"]

    async def test_same_user_twice(self) -> None:
        """A user may be signed in with several browsers; signing out ends the one session."""
        self.serve()
        first, second = await self.signed_in(), await self.signed_in()
        assert first.cookie != second.cookie
        await first.ask("DELETE", "session")
        await self.assert_out(first)
        assert (await second.session())["user"] == "ann"

    async def test_no_rights(self) -> None:
        """A user who may call nothing cannot sign in; one who loses all rights is signed out."""
        self.serve(rule=["http user=ann allow core.*"])
        eve = self.browser()
        refused = await eve.sign_in("bob")
        assert (refused.status, b"set-cookie" in refused.headers) == (403, False)
        assert b"rules do not allow you anything" in refused.body
        await self.assert_out(eve)
        ann = await self.signed_in("ann")
        self.service.change(rule=["http user=bob allow *"])
        told = await ann.session()
        assert told.pop("expires") > 0
        assert told == {"user": "ann", "needs": "nothing", "may": {"audit": False, "call": False}}
        assert (await ann.get("openrpc.json")).status == 403
        await self.assert_out(ann)
        self.service.change(rule=["http user=ann allow *"])
        await self.assert_out(ann)

    async def test_changed_users(self) -> None:
        """A user who is removed, or whose password changes, is signed out; others stay."""
        self.serve()
        ann, bob = await self.signed_in("ann"), await self.signed_in("bob")
        path = self.directory / "users"
        anns, bobs = path.read_text().splitlines(keepends=True)
        replace(path, bobs)
        await self.assert_out(ann)
        assert (await bob.session())["user"] == "bob"
        write(path, "ann", "bob")  # the same passwords with another salt: nobody can tell
        await self.assert_out(bob)
        replace(path, anns + bobs)
        await self.assert_out(ann)
        await self.assert_out(bob)

    async def test_lost_users(self) -> None:
        """If the file of users cannot be read, nobody is signed in."""
        self.serve()
        ann = await self.signed_in("ann")
        (self.directory / "users").unlink()
        await self.assert_out(ann)

    async def test_expiry(self) -> None:
        """A session ends when it has not been used for its time; asking who is signed in does not count as use."""
        self.serve(console_idle=100, console_session=250)
        clock = Clock()
        self.sessions._seconds = clock.seconds
        ann = await self.signed_in()
        for _ in range(2):
            clock.advance(90)
            assert (await ann.call("core.echo", 1)).status == 200
        clock.advance(60)
        assert (await ann.session())["expires"] == 10
        clock.advance(10)
        await self.assert_out(ann)
        ann = await self.signed_in()
        clock.advance(60)
        await ann.session()
        clock.advance(40)
        await self.assert_out(ann)

    async def test_clock_set_back(self) -> None:
        """Setting back the clock of the machine does not prolong sessions."""
        self.serve(console_idle=100)
        ann = await self.signed_in()
        (session,) = self.sessions._sessions.values()
        self.patch(time, "time", lambda: 0.0)
        self.patch(self.service.reactor, "seconds", lambda: 0.0)
        assert 90 < self.sessions.left(session) <= 100
        assert (await ann.session())["expires"] <= 100

    async def test_guesses(self) -> None:
        """Guesses are slowed down as those in headers are, together with them, and the log tells fail2ban."""
        self.serve()
        browser = self.browser()
        answers: list[Response] = []
        for number in range(12):
            answers.append(await browser.sign_in("ann", f"guess{number}"))
        assert [one.status for one in answers] == [403] * 10 + [429] * 2
        assert int(answers[-1].headers[b"retry-after"]) >= 1
        assert b"set-cookie" not in answers[-1].headers
        basic = "Authorization: Basic YW5uOm90aGVy"
        assert (await self.ask(http_request(call("core.version"), basic))).status == 429
        assert self.service.counters.get("jsonrpc", "auth_limited").read() == 3  # type: ignore[union-attr]
        assert self.service.counters.get("jsonrpc", "auth_failures").read() == 10  # type: ignore[union-attr]
        # The right password is accepted the second time at the latest.
        statuses = [(await browser.sign_in("ann")).status for _ in range(2)]
        assert 204 in statuses
        assert (await self.browser().sign_in("bob")).status == 204

    async def test_audit(self) -> None:
        """The audit log names refused guesses, and never a password."""
        self.serve(audit="audit.log")
        browser = self.browser()
        await browser.sign_in("ann", "hunter2")
        await browser.sign_in("ann", "hunter2", "Origin: http://evil.example")
        await self.browser(host="evil.example").sign_in("ann", "hunter2")
        await browser.sign_in("ann")
        await browser.call("htable.sets", "t", "k", "v")
        await browser.sign_in("ann")
        await browser.ask("DELETE", "session")
        await browser.ask("DELETE", "session")
        text = (self.directory / "audit.log").read_text()
        assert "hunter2" not in text
        lines = [json.loads(line) for line in text.splitlines()]
        assert [(one["outcome"], one["code"], one.get("method")) for one in lines] == [
            ("refused", 401, "console.sign_in"),
            ("refused", 403, "console"),
            ("refused", 403, "console"),
            ("result", 200, "console.sign_in"),
            ("result", 200, "htable.sets"),
            ("result", 200, "console.sign_out"),
            ("result", 200, "console.sign_in"),
            ("result", 200, "console.sign_out"),
        ]
        assert lines[0]["claimed_user"] == "ann"
        assert [(one["user"], one["transport"], one["address"]) for one in lines[3:]] == [
            ("ann", "http", "127.0.0.1")
        ] * 5

    async def test_client_that_leaves(self) -> None:
        """A client that leaves before the password is checked gets no session."""
        self.serve()
        browser = self.browser()
        client = await self.connect()
        client.write(browser.request("POST", "session", JSON_TYPE, body=SIGN_IN))
        await client.close()
        await self.signed_in()
        assert len(self.sessions) <= 1


class PlainHttp(SignCase):
    """Passwords over HTTP: only where nobody can read them."""

    async def test_on_this_machine(self) -> None:
        """On this machine, by any of its names, a password may be sent over plain HTTP."""
        self.serve()
        for host in ("127.0.0.1", "localhost", "[::1]:8080", "rpc.localhost"):
            assert (await self.browser(host=host).sign_in("ann")).status == 204, host

    async def test_from_elsewhere(self) -> None:
        """From another machine it may not, whatever the password is; the answer says what is allowed."""
        self.serve(http_allow=["0.0.0.0/0"], http_proxy=["127.0.0.1"], rule=["http allow *"])
        for password in ("ann", "x"):
            response = await self.browser(origin="").sign_in("ann", password, "X-Forwarded-For: 192.0.2.1")
            assert response.status == 403
            assert b"HTTPS" in response.body
        response = await self.browser(host="192.0.2.9").sign_in("ann", None, "X-Forwarded-For: 192.0.2.1")
        assert (response.status, b"HTTPS" in response.body) == (403, True)
        failures = self.service.counters.get("jsonrpc", "auth_failures")
        assert failures is not None
        assert failures.read() == 0

    async def test_behind_tls(self) -> None:
        """Behind a proxy that speaks HTTPS with the browser it may: the origin of the page tells."""
        self.serve(
            http_allow=["192.0.2.0/24"], http_proxy=["127.0.0.1"], http_host=["pbx.example.com"], rule=["http allow *"]
        )
        browser = self.browser(host="pbx.example.com", origin="https://pbx.example.com")
        response = await browser.sign_in("ann", None, "X-Forwarded-For: 192.0.2.1")
        assert response.status == 204
        body = call("core.echo", "x")
        answer = await browser.ask("POST", "RPC", JSON_TYPE, "X-Forwarded-For: 192.0.2.1", body=body)
        assert answer.result == ["x"]
        outside = await browser.ask("POST", "RPC", JSON_TYPE, "X-Forwarded-For: 198.51.100.1", body=body)
        assert outside.status == 403

    async def test_haproxy(self) -> None:
        """The same behind a proxy that speaks the PROXY protocol, behind which the addresses of clients are known."""
        self.serve(
            http_listen="haproxy:tcp:0:interface=127.0.0.1",
            http_allow=["192.0.2.0/24"],
            http_host=["pbx.example.com"],
            rule=["http 192.0.2.0/24 user=ann allow core.*"],
        )
        proxied = b"PROXY TCP4 192.0.2.1 192.0.2.9 40000 443\r\n"

        async def ask(browser: Browser, method: str, path: str, *headers: str, body: bytes = b"") -> Response:
            client = await self.connect()
            client.write(proxied + browser.request(method, path, *headers, body=body))
            response = await client.response()
            await client.close()
            return response

        browser = self.browser(host="pbx.example.com", origin="https://pbx.example.com")
        response = await ask(browser, "POST", "session", JSON_TYPE, body=SIGN_IN)
        assert response.status == 204
        browser.cookie = response.headers[b"set-cookie"].decode().partition(";")[0]
        assert (await ask(browser, "POST", "RPC", JSON_TYPE, body=call("core.echo", "x"))).result == ["x"]
        plain = self.browser(host="pbx.example.com", origin="http://pbx.example.com")
        assert (await ask(plain, "POST", "session", JSON_TYPE, body=SIGN_IN)).status == 403


class Https(SignCase):
    options = {**SignCase.options, "tls_self_signed": True}

    async def test_sign_in(self) -> None:
        """Over HTTPS users sign in from anywhere."""
        self.serve(rule=["https user=ann allow core.*"])
        browser = await self.signed_in()
        assert (await browser.call("core.echo", "x")).result == ["x"]
        assert (await browser.call("htable.get", "t", "k")).error == (403, "Forbidden")

    async def test_page_over_http(self) -> None:
        """A page of the same host that was loaded over HTTP may not use the console: anybody may have written it."""
        self.serve()
        browser = await self.signed_in()
        for method, path, body in (("POST", "RPC", call("core.echo", 1)), ("DELETE", "session", b"")):
            response = await browser.ask(method, path, JSON_TYPE, "Origin: http://127.0.0.1", body=body)
            assert response.status == 403
        assert (await browser.session())["user"] == "ann"


class NoUsers(ConsoleCase):
    """Where no users are set, the caller is who the connection is."""

    async def test_session(self) -> None:
        """Nobody signs in, and nobody needs to."""
        self.serve()
        browser = self.browser()
        told = await browser.session()
        assert (told["user"], told["needs"], told["expires"]) == (None, "nothing", None)
        assert (told["path"], told["dialect"], told["nodes"], told["groups"]) == ("/RPC", "kamailio", [], [])
        response = await browser.sign_in("ann")
        assert (response.status, b"set-cookie" in response.headers) == (409, False)
        assert (await browser.ask("DELETE", "session")).status == 204
        assert (await browser.call("core.echo", "x")).result == ["x"]

    async def test_rules(self) -> None:
        """Rules for addresses decide; a caller who may call nothing gets to know nothing."""
        self.serve(rule=["http 127.0.0.1 allow core.*"])
        assert (await self.browser().call("core.echo", "x")).result == ["x"]
        stranger = self.browser(via="127.0.0.2")
        told = await stranger.session()
        assert told == {"user": None, "needs": "nothing", "expires": None, "may": {"audit": False, "call": False}}
        assert (await stranger.call("core.echo", "x")).status == 403
        for path in ("openrpc.json", "events?panels=load", "table?name=t"):
            assert (await stranger.get(path)).status == 403
