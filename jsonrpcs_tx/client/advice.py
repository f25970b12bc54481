"""Why a call failed and what to do, worded once for every client."""

import errno
import os
import re

from jsonrpcs_tx.client.core import NotReply
from jsonrpcs_tx.client.errors import BadReply, BadRequest, ClientError, NotReachable, Refused, TimedOut
from jsonrpcs_tx.client.targets import Target
from jsonrpcs_tx.rpc.faults import Fault

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from jsonrpcs_tx.client.httpmessages import Response

_OPENING = {
    errno.ENOENT: "start the server, or look for its path",
    errno.ECONNREFUSED: "start the server: nobody listens there",
    errno.ENXIO: "start the server: nobody reads there",
    errno.EACCES: "become a member of the group that may write there",
    errno.EPERM: "become a member of the group that may write there",
    errno.ENOTSOCK: "look for the path of its datagram socket",
    errno.EPROTOTYPE: "it is a socket of another kind: look for the path of its datagram socket",
    errno.ENAMETOOLONG: "",
}

_SILENCE = {
    "unix": "the server may be busy, or unable to send so large a reply: try fifo: or http:",
    "udp": "the datagram may be lost, or the reply too large for one: try http:",
    "fifo": "see that reply_dir is the server's fifo_reply_dir; Kamailio drops requests of more than 8190 bytes",
    "tcp": "the server may be busy with another client",
    "http": "the server may be busy",
    "https": "the server may be busy",
}

_LONGEST = 120
"""Characters of a server's words in a message."""


def not_reachable(target: Target, method: str, error: OSError) -> NotReachable:
    """The system says that nobody takes the request."""
    reason = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    return NotReachable(target.url, method, reason, _OPENING.get(error.errno or 0, "see that the server runs there"))


def timed_out(target: Target, method: str, seconds: float) -> TimedOut:
    """Nothing has come for as long as a call may take."""
    return TimedOut(target.url, method, f"no reply within {seconds:.3g} s", _SILENCE[target.scheme])


def cut_off(target: Target, method: str) -> BadReply:
    """The server went away instead of replying."""
    reason = "the connection was closed before the reply was whole"
    return BadReply(target.url, method, reason, "the command may have been run: look at the server's log")


def too_large_reply(target: Target, method: str, limit: int) -> BadReply:
    """More has come than a reply may have."""
    return BadReply(target.url, method, f"the reply is larger than {limit} bytes", "ask for less, or allow more")


def too_large_request(target: Target, method: str, size: int) -> BadRequest:
    """The target cannot carry so large a request."""
    reason = f"a request of {size} bytes is too large for a {'FIFO' if target.scheme == 'fifo' else 'datagram'}"
    return BadRequest(target.url, method, reason, "try fifo: or http:")


def wrong_reply(target: Target, method: str, reason: object) -> BadReply:
    """What came is not the reply."""
    return BadReply(target.url, method, reason, "see that a JSON-RPC server runs there")


def not_json(target: Target, method: str, reason: object) -> BadRequest:
    """A request cannot be written."""
    return BadRequest(target.url, method, f"the parameters have no form in JSON: {reason}", "change them")


def no_object(target: Target, method: str) -> BadRequest:
    """A document over a FIFO has nothing that can say where the reply goes."""
    return BadRequest(target.url, method, "the document has no object, so it cannot name a reply FIFO", "try unix:")


def judged(target: Target, method: str, outcome: object) -> object:
    """The outcome of a call: an error where a server of ours says that its rules do not allow it, or that what it
    was asked is no reply.
    """
    if isinstance(outcome, Fault) and outcome.code == 403 and outcome.text == "Forbidden":
        return Refused(target.url, method, "403 Forbidden", "ask for a rule that allows it")
    if isinstance(outcome, NotReply):
        return wrong_reply(target, method, outcome)
    return outcome


def untrusted(target: Target, method: str, reason: object) -> ClientError:
    """TLS has failed before anything was sent, mostly since the certificate is not trusted."""
    advice = "set tls_ca to the server's CA, and use a name that its certificate has"
    return NotReachable(target.url, method, f"TLS: {printable(str(reason))}", advice)


def unknown_client(target: Target, method: str, reason: object) -> Refused:
    """The server has ended TLS after the handshake, which means that it wants a certificate or another one."""
    words = printable(str(reason).replace("_", " ").lower())
    return Refused(
        target.url, method, f"TLS: {words}", "set tls_certificate and tls_private_key to what the server trusts"
    )


def reply_in(target: Target, method: str, response: "Response") -> bytes:
    """The reply document that an HTTP response has. Its status does not matter if there is one: Kamailio gives the
    code of a fault as the status.

    @raise Refused: the user and the password are wrong, or rules forbid the call.
    @raise BadReply: there is no reply document.
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
        raise BadReply(target.url, method, reason, "look for what stands in front of the server")
    if status < 300 or body.lstrip()[:1] in (b"{", b"["):
        return body
    words = printable(body[: 4 * _LONGEST].decode("latin-1"))
    if status == 403:
        raise Refused(target.url, method, f"{says}: {words}", "ask the server's owner for access")
    raise BadReply(target.url, method, f"{says}: {words}" if words else says, "look for the path of its JSON-RPC")


def printable(text: str) -> str:
    """A server's words for a message: cut, without control characters."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
