"""Why a call failed and what to do, worded once for every client."""

import errno
import os
import re
import stat

from jsonrpcs_tx.client.core import NotReply
from jsonrpcs_tx.client.errors import BadReply, BadRequest, ClientError, NotReachable, Refused, TimedOut
from jsonrpcs_tx.client.targets import Target
from jsonrpcs_tx.rpc.faults import Fault

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from jsonrpcs_tx.client.httpmessages import Response

_OPENING = {
    errno.ENOENT: "start the server, or check its path",
    errno.ECONNREFUSED: "start the server: nobody listens there",
    errno.ENXIO: "start the server: nobody reads there",
    errno.EACCES: "become a member of the group that may write there",
    errno.EPERM: "become a member of the group that may write there",
    errno.ENOTSOCK: "use the path of its datagram socket",
    errno.EPROTOTYPE: "it is a socket of another type: use the path of its datagram socket",
    errno.ENAMETOOLONG: "",
}

_KINDS = {stat.S_IFSOCK: "unix", stat.S_IFIFO: "fifo"}
"""What is at the path of a target, by the type of the file."""

_SILENCE = {
    "unix": "the server may be busy, or unable to send so large a reply: try fifo: or http:",
    "udp": "the datagram may be lost, or the reply too large for one: try http:",
    "fifo": "check that reply_dir is the server's fifo_reply_dir; Kamailio drops requests of more than 8190 bytes",
    "tcp": "the server may be busy with another client",
    "http": "the server may be busy",
    "https": "the server may be busy",
}

_LONGEST = 120
"""Characters of the longest text from a server in a message."""


def not_reachable(target: Target, method: str, error: OSError) -> NotReachable:
    """The error of a call that could not be sent, made from the system's."""
    number = error.errno or 0
    reason = error.strerror or (os.strerror(number) if number else str(error))
    if error.filename not in (None, target.path):
        return NotReachable(
            target.url, method, reason, "set reply_dir to a directory where you and the server may write"
        )
    advice = _other_kind(target) or _OPENING.get(number)
    if advice is None:  # the errors of getaddrinfo are below 0
        advice = "check that the server runs there" if number >= 0 else f"check the name {target.host}"
    return NotReachable(target.url, method, reason, advice)


def _other_kind(target: Target) -> str:
    """What to do if something else than the target says is at its path; empty: nothing else is, as far as is known."""
    if target.scheme not in _KINDS.values():
        return ""
    try:
        found = _KINDS.get(stat.S_IFMT(os.stat(target.path).st_mode))
    except (OSError, ValueError):
        return ""
    if found == target.scheme:
        return ""
    wanted = "socket" if target.scheme == "unix" else "FIFO"
    if found is None:
        return f"use the path of the server's {wanted}: this is another file"
    return f"it is a {'FIFO' if found == 'fifo' else 'socket'}: use {found}:{target.path}"


def timed_out(target: Target, method: str, seconds: float) -> TimedOut:
    """The error of a call without a reply in time."""
    return TimedOut(target.url, method, f"no reply within {seconds:.3g} s", _SILENCE[target.scheme])


def cut_off(target: Target, method: str) -> BadReply:
    """The error of a call whose connection was closed before the reply was complete."""
    reason = "the connection was closed before the reply was whole"
    advice = "the command may have been run: look at the server's log"
    return BadReply(target.url, method, reason, f"{advice}, or try https:" if target.scheme == "http" else advice)


def too_large_reply(target: Target, method: str, limit: int) -> BadReply:
    """The error of a call whose reply is too large."""
    return BadReply(target.url, method, f"the reply is larger than {limit} bytes", "ask for less, or allow more")


def too_large_request(target: Target, method: str, size: int) -> BadRequest:
    """The error for a request that is too large for its target."""
    reason = f"a request of {size} bytes is too large for a {'FIFO' if target.scheme == 'fifo' else 'datagram'}"
    return BadRequest(target.url, method, reason, "try fifo: or http:")


def wrong_reply(target: Target, method: str, reason: object) -> BadReply:
    """The error of a call that got something other than its reply."""
    return BadReply(target.url, method, reason, "check that a JSON-RPC server runs there")


def not_json(target: Target, method: str, reason: object) -> BadRequest:
    """The error for a request that cannot be written as JSON."""
    return BadRequest(target.url, method, f"the parameters cannot be written as JSON: {reason}", "change them")


def no_object(target: Target, method: str) -> BadRequest:
    """The error for a document that cannot name a reply FIFO."""
    return BadRequest(target.url, method, "the document has no object, so it cannot name a reply FIFO", "try unix:")


def judged(target: Target, method: str, outcome: object) -> object:
    """The outcome of a call. It is an error if it says that this server's rules forbid the call, or that the document
    that came is not a reply.
    """
    if isinstance(outcome, Fault) and outcome.code == 403 and outcome.text == "Forbidden":
        return Refused(target.url, method, "403 Forbidden", "ask for a rule that allows it")
    if isinstance(outcome, NotReply):
        return wrong_reply(target, method, outcome)
    return outcome


def untrusted(target: Target, method: str, reason: object) -> ClientError:
    """The error of a call whose TLS handshake failed, mostly because the server's certificate is not trusted."""
    advice = "set tls_ca to the server's CA, and use a name in its certificate"
    if "wrong version number" in str(reason).lower():  # what answers does not speak TLS
        advice = "try http:"
    return NotReachable(target.url, method, f"TLS: {printable(str(reason))}", advice)


def unknown_client(target: Target, method: str, reason: object) -> Refused:
    """The error of a call if the server ended TLS after the handshake: it wants a certificate, or another one."""
    words = printable(str(reason).replace("_", " ").lower())
    return Refused(
        target.url, method, f"TLS: {words}", "set tls_certificate and tls_private_key to ones that the server trusts"
    )


def reply_in(target: Target, method: str, response: "Response") -> bytes:
    """The reply document in an HTTP response. The status does not matter if there is a document: Kamailio sends the
    code of a fault as the status.

    @raise Refused: the user or the password is wrong, or rules forbid the call.
    @raise BadReply: the response has no reply document.
    """
    head, body = response.head, response.body
    assert head is not None
    status, coding = head.status, head.headers.get("content-encoding")
    if status == 200 and coding is None:
        return body
    says = printable(f"status {status} {head.reason}".strip())
    if status == 401:
        advice = "set user and password" if target.user is None else "the user or the password is wrong"
        raise Refused(target.url, method, says, advice)
    if 300 <= status < 400:
        where = printable(head.headers.get("location", "nowhere"))
        advice = "redirects are not followed: call that URL"
        raise BadReply(target.url, method, f"{says}: redirected to {where}", advice)
    if coding is not None and coding.lower() != "identity":
        reason = f"the reply is compressed ({printable(coding)}), which was not asked for"
        raise BadReply(target.url, method, reason, "check what is in front of the server")
    if status < 300 or body.lstrip()[:1] in (b"{", b"["):
        return body
    words = printable(body[: 4 * _LONGEST].decode("latin-1"))
    if status == 403:
        raise Refused(target.url, method, f"{says}: {words}", "ask the server's owner for access")
    if words.startswith(f"{status} "):  # as this server's own pages do
        says = f"status {words}"
    elif words:
        says = f"{says}: {words}"
    raise BadReply(target.url, method, says, "check the path of its JSON-RPC")


def printable(text: str) -> str:
    """A server's text for a message: truncated, without control characters."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
