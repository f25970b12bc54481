"""The cookie that holds the token of a session (RFC 6265, and its successor for the prefix and SameSite)."""

import re
from typing import Final

from twisted.web.http_headers import Headers

PREFIX: Final = "__Secure-"
"""Browsers take a cookie with this prefix only with the attribute Secure."""

NAME: Final = f"{PREFIX}jsonrpcs"

ATTRIBUTES: Final = "Secure; HttpOnly; SameSite=Strict"
"""There is no Path: the browser then uses the directory of the page that sets the cookie, as the browser sees it, so
that a proxy may have the console at another path. And there is no Domain: only this host gets the cookie.
"""

_PORT: Final = re.compile(rb".*:([0-9]{1,5})")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")


def cookie_name(headers: Headers) -> str:
    """The name of the cookie: servers on different ports of a host share their cookies, but not their sessions."""
    port = _PORT.fullmatch(headers.getRawHeaders(b"Host", [b""])[0])
    return NAME if port is None else f"{NAME}-{port[1].decode()}"


def read_token(headers: Headers) -> str | None:
    """The token in a request; None without one, or with several, since somebody else has set one of them."""
    name = cookie_name(headers)
    found = []
    for header in headers.getRawHeaders(b"Cookie", []):
        for pair in header.decode("latin-1").split(";"):
            key, _, value = pair.strip(" \t").partition("=")
            if key == name:
                found.append(value)
    return found[0] if len(found) == 1 and _TOKEN.fullmatch(found[0]) else None


def set_token(headers: Headers, token: str) -> str:
    """The value of Set-Cookie that has the browser keep a token.

    @param headers: of the request.
    """
    return f"{cookie_name(headers)}={token}; {ATTRIBUTES}"


def remove_token(headers: Headers) -> str:
    """The value of Set-Cookie that has the browser forget the token."""
    return f"{cookie_name(headers)}=; Max-Age=0; {ATTRIBUTES}"
