"""Responses of HTTP, cut anywhere."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.client.httpmessages import CutOff, NotHttp, Response, TooLarge, post, post_head
from jsonrpcs_tx.client.targets import parse_target

LIMIT = 100

RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101,
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello more",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nConnection: close\r\n\r\nhello",
    b"HTTP/1.1 500 No\r\nA: b\r\nA: c\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\n\r\nhello",
    b"HTTP/1.1 200 OK\n\nhello\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
    b"SSH-2.0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
]


def taken(pieces: list[bytes]) -> Any:
    """What a response is to whom it comes in pieces, after which the connection is closed."""
    response = Response(LIMIT)
    try:
        for piece in pieces:
            response.feed(piece)
        if not response.complete:
            response.end()
    except (NotHttp, TooLarge) as error:
        return type(error), str(error)
    assert response.head is not None
    return response.head.status, response.head.headers, response.reusable, response.body


@pytest.mark.parametrize("data", RESPONSES, ids=lambda data: repr(data[:60]))
def test_cut_anywhere(data: bytes) -> None:
    """Wherever a response is cut, it is the same."""
    whole = taken([data])
    for place in range(min(len(data), 200)):
        assert taken([data[:place], data[place:]]) == whole
    if len(data) < 1000:
        assert taken([data[place : place + 1] for place in range(len(data))]) == whole


SHORT = [data for data in RESPONSES if len(data) < 1000]


@given(st.sampled_from(SHORT), st.integers(0, 200), st.binary(max_size=5), st.integers(0, 300))
def test_changed_anywhere(data: bytes, place: int, other: bytes, cut: int) -> None:
    """Whatever is changed in a response, it is the same wherever it is cut, or refused, for one reason or another."""
    changed = data[:place] + other + data[place + len(other) :]
    whole, pieces = taken([changed]), taken([changed[:cut], changed[cut:]])
    assert pieces == whole or (len(pieces), len(whole)) == (2, 2)


def test_reusable() -> None:
    """A connection is used again only after a response whose end was told, and with nothing behind it."""
    reusable = [taken([data])[2] for data in RESPONSES if len(taken([data])) == 4]
    assert reusable == [True, True, False, False, True, True, True, False, False, False, True, True, True]


def test_cut_off() -> None:
    """An incomplete response is told from a malformed one."""
    assert taken([]) == taken([RESPONSES[0][:-1]]) == (CutOff, "")


def test_post() -> None:
    """A request has what it needs, and nothing that a target could smuggle in."""
    head = post_head(parse_target("http://[::1]:8080/a?b", user="me", password="pw"))
    first, *lines = post(head, b"{}").split(b"\r\n")
    assert first == b"POST /a?b HTTP/1.1"
    assert lines[:2] == [b"Host: [::1]:8080", b"Authorization: Basic bWU6cHc="]
    assert lines[-4:] == [b"Content-Type: application/json", b"Content-Length: 2", b"", b"{}"]
