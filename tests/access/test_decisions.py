"""Who may call what: the reading of rules, and what they decide together."""

import contextlib
import ipaddress
import re
import timeit
from functools import partial
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.access import control
from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.access.rules import Rule, read_rule
from jsonrpcs_tx.errors import SettingError
from jsonrpcs_tx.protocols import PROTOCOLS, with_own

TRANSPORTS = with_own({"chat": ("address", "user", "tls", "uid", "gid"), "bus": ()})
NEAR = Caller("udp", "127.0.0.1")
FAR = Caller("udp", "192.0.2.7")
LOCAL = [
    *(Caller(transport) for transport in ("fifo", "unix", "exec")),
    *(Caller("udp", address) for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")),
    *(Caller(transport, "127.0.0.1") for transport in ("tcp", "http", "https")),
]
REMOTE = [
    *(
        Caller("udp", address)
        for address in ("192.0.2.7", "2001:db8::1", "fe80::1%eth0", "::ffff:192.0.2.7", "0.0.0.0")
    ),
    Caller("https", "192.0.2.7", user="ann", tls_names=("ops.example.com",)),
]


def rules(*lines: str) -> AccessControl:
    return AccessControl(read_rule(line, TRANSPORTS) for line in lines)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "udp 192.0.2.0/24 allow dispatcher.* core.ps deny core.kill",
            {"transports": {"udp"}, "networks": ["192.0.2.0/24"], "allow": ("dispatcher.*", "core.ps")}
            | {"deny": ("core.kill",), "facts": set()},
        ),
        ("https tls=Ops.Example.com allow *", {"tls_names": ("ops.example.com",), "facts": {"tls"}}),
        ("http user=ann allow stats.* deny *.reset*", {"transports": {"http"}, "users": ("ann",), "facts": {"user"}}),
        ("unix uid=0 allow *", {"transports": {"unix"}, "uids": {0}, "facts": {"uid"}}),
        ("unix gid=root allow core.*", {"transports": {"unix"}, "gids": {0}, "facts": {"gid"}}),
        ("uid=root uid=7 allow *", {"transports": {"unix", "http", "https"}, "uids": {0, 7}}),
        ("any deny core.kill", {"transports": set(PROTOCOLS), "allow": (), "deny": ("core.kill",)}),
        (
            "  192.0.2.1 any 2001:db8::1  deny a allow b\tdeny c ",
            {"transports": {"udp", "tcp", "http", "https"}, "networks": ["192.0.2.1/32", "2001:db8::1/128"]}
            | {"allow": ("b",), "deny": ("a", "c")},
        ),
        ("user=ann allow *", {"transports": {"http", "https"}}),
        ("192.0.2.0/24 tls=* any allow *", {"transports": {"https"}}),
        ("user=a=b allow *", {"users": ("a=b",)}),
    ],
)
def test_read_rule(line: str, expected: dict[str, Any]) -> None:
    """A rule is conditions in any order, then methods; it is for the transports that know what it asks for."""
    rule = read_rule(line)
    for name, value in expected.items():
        found = getattr(rule, name)
        assert ([str(network) for network in found] if name == "networks" else found) == value


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "allow METHOD"),
        ("any", "allow METHOD"),
        ("allow *", "one at least"),
        ("udp allow", "methods after allow"),
        ("udp allow deny core.kill", "methods after allow"),
        ("udp allow * deny", "methods after deny"),
        ("UDP allow *", "no such word: UDP; did you mean udp?"),
        ("udp ALLOW *", "no such word: ALLOW; did you mean allow?"),
        ("sctp allow *", "exec, fifo, http, https, tcp, udp, unix"),
        ("name=ann allow *", "user=, tls=, uid=, gid="),
        ("user= allow *", "nothing follows user="),
        ("alow *", "no such word: alow; did you mean allow?"),
        ("any alow * deny core.kill", "no such word: alow; did you mean allow?"),
        ("htps allow *", "no such word: htps; did you mean https?"),
        ("https usr=ann allow *", "no such word: usr=; did you mean user=?"),
        ("any nod=edge allow *", "no such word: nod=; did you mean node=?"),
        ("any node= allow *", "nothing follows node="),
        ("any xyzzy allow *", "no such word: xyzzy"),
        ("any 10.0.0.300 allow *", "'10.0.0.300' does not appear"),
        ("udp 192.0.2.1/24 allow *", "host bits set"),
        ("udp 192.0.2.0/33 allow *", "'192.0.2.0/33'"),
        ("udp ::ffff:192.0.2.0/120 allow *", "written as IPv4"),
        ("udp uid=0 allow *", "uid with http or https or unix, not with udp"),
        ("http https tls=a allow *", "tls with https, not with http"),
        ("unix user=ann allow *", "user with http or https, not with unix"),
        ("fifo 127.0.0.1 allow *", "a network with http or https or tcp or udp, not with fifo"),
        ("http 192.0.2.1 uid=0 allow *", "a network, or uid= and gid=, not both"),
        ("any 192.0.2.1 gid=0 allow *", "a network, or uid= and gid=, not both"),
        ("unix uid=a\0b allow *", "not U+0000"),
        ("chat allow *", "exec, fifo, http, https, tcp, udp, unix"),
        ("uid=no-such-user-here allow *", "'no-such-user-here' does not exist"),
        ("gid=no-such-group-here allow *", "'no-such-group-here' does not exist"),
        ("uid=4294967295 allow *", "4294967295 is too high"),
        (f"uid={'9' * 5000} allow *", "is too high"),
        ("udp allow core.p?", "not 'core.p?'"),
        ("udp allow core.[ps]", "not 'core.[ps]'"),
        ("udp allow k\u00e4rn.*", "printable ASCII"),
        ("allow * udp", "one at least"),
        ("udp allow * 192.0.2.0/24", "192.0.2.0/24 before allow"),
        ("192.0.2.0/24 allow * udp", "udp before allow"),
        ("http allow * user=ann", "user=ann before allow"),
    ],
)
def test_bad_rule(line: str, says: str) -> None:
    """A line that is not a rule is refused, with the setting, the text and what is allowed."""
    with pytest.raises(SettingError, match=re.escape(says)) as caught:
        read_rule(line)
    assert (caught.value.name, caught.value.value) == ("rule", line)


_WORDS = st.sampled_from(["udp", "any", "10.0.0.0/8", "uid=0", "user=a", "tls=*", "=", "allow", "deny", "a.*"])


@given(st.lists(_WORDS | st.text(max_size=5), max_size=8).map(" ".join))
def test_any_text(text: str) -> None:
    """Any text is a rule, or refused as a setting is."""
    with contextlib.suppress(SettingError):
        assert isinstance(read_rule(text), Rule)


@pytest.mark.parametrize("caller", LOCAL + REMOTE, ids=str)
def test_default(caller: Caller) -> None:
    """Without rules, callers of this machine may call everything, and others nothing."""
    everything = AccessControl()
    assert everything.trivial
    assert everything.allows(caller, "core.kill") == everything.admits(caller) == (caller in LOCAL)


@pytest.mark.parametrize(
    ("lines", "caller", "allowed", "denied"),
    [
        (["udp 192.0.2.0/24 allow core.*"], FAR, "core.ps", "stats.get"),
        (["udp 192.0.2.0/24 allow core.*"], Caller("udp", "::ffff:192.0.2.7"), "core.ps", "stats.get"),
        (["udp 192.0.2.0/24 allow *"], Caller("udp", "192.0.3.7"), "", "core.ps"),
        (["udp 192.0.2.0/24 allow *"], Caller("tcp", "192.0.2.7"), "", "core.ps"),
        (["udp 192.0.2.0/24 allow a"], NEAR, "", "any.thing"),
        (["udp 127.0.0.1 allow a"], Caller("udp", "127.0.0.2"), "", "a b"),
        (["udp 127.0.0.1 allow a"], Caller("tcp", "127.0.0.2"), "a b", ""),
        (["http 127.0.0.1 allow a"], Caller("http", uid=0, gid=0), "", "a"),
        (["http uid=7 gid=8 allow a"], Caller("http", uid=7, gid=8), "a", "b"),
        (["http uid=7 gid=8 allow a"], Caller("http", uid=7, gid=7), "", "a"),
        (["https uid=7 allow a"], Caller("https", "127.0.0.1"), "", "a"),
        (["any deny core.kill"], Caller("chat"), "core.ps", "core.kill"),
        (["any allow a"], Caller("chat", "192.0.2.7"), "a", "b"),
        (["user=ann allow a"], Caller("chat", user="ann"), "a", "b"),
        (["user=ann allow a"], Caller("chat", user="bob"), "", "a"),
        (["udp allow a"], Caller("chat"), "a b", ""),
        (["udp allow a core.* deny core.* a*"], FAR, "", "a core.ps"),
        (["udp allow * deny **"], FAR, "", "a"),
        (["udp allow a*c deny a*b*c"], FAR, "ac", "abc"),
        (["tls=key allow a"], Caller("https", "192.0.2.7", tls_names=("\u212aey",)), "", "a"),
        (["udp allow a"], NEAR, "a", "b"),
        (["udp allow a", "any 192.0.2.7 allow b"], FAR, "a b", "c"),
        (["udp allow * deny core.kill"], FAR, "core.ps", "core.kill"),
        (["udp allow *", "any deny core.kill", "any 192.0.2.7 allow core.kill"], FAR, "core.ps", "core.kill"),
        (["any deny core.kill"], NEAR, "core.ps", "core.kill"),
        (["any deny core.kill"], FAR, "", "core.ps core.kill"),
        (["unix uid=1 allow stats.*", "any deny core.kill"], Caller("unix", uid=1), "stats.get", "core.ps core.kill"),
        (["unix allow a", "unix uid=0 allow *"], Caller("unix", uid=0), "a b", ""),
        (["unix allow a", "unix uid=0 allow *"], Caller("unix", uid=1000), "a", "b"),
        (["unix allow a", "unix uid=0 allow *"], Caller("unix"), "a", "b"),
        (["unix gid=4 allow a"], Caller("unix", uid=4, gid=4), "a", "b"),
        (["unix allow a", "unix uid=1 gid=2 allow b"], Caller("unix", uid=1, gid=3), "a", "b"),
        (["http user=ann user=bob allow a"], Caller("http", "192.0.2.7", user="bob"), "a", "b"),
        (["http user=ann allow a"], Caller("http", "192.0.2.7", user="Ann"), "", "a"),
        (["http user=ann allow a"], Caller("http", "192.0.2.7"), "", "a"),
        (["user=* allow a"], Caller("https", "192.0.2.7", user="x y"), "a", "b"),
        (["tls=ops.example.com allow a"], Caller("https", "192.0.2.7", tls_names=("x", "OPS.example.com")), "a", "b"),
        (["tls=*.example.com allow a"], Caller("https", "192.0.2.7", tls_names=("example.com",)), "", "a"),
        (["tls=a user=ann allow a"], Caller("https", "192.0.2.7", tls_names=("a",)), "", "a"),
        (["udp allow *.reset* core.*s"], FAR, "stats.reset_statistics .reset core.s core.ps", "core.psx reset Core.ps"),
        (["udp allow a*b*c"], FAR, "abc aXbXc abbcc", "ab acb abcd Xabc"),
        (["udp allow ab*ba"], FAR, "abba ab.ba", "aba ab"),
        (["udp allow core.ps"], FAR, "core.ps", "coreXps core.ps\n"),
        (["udp allow core*"], FAR, "core core.\n", ""),
    ],
)
def test_allows(lines: list[str], caller: Caller, allowed: str, denied: str) -> None:
    """A method is allowed that a rule that fits allows and none denies, and where none allows any, by the default."""
    decided = rules(*lines)
    for _ in range(2):  # the second time from memory
        assert {method for method in f"{allowed} {denied}".split(" ") if method and decided.allows(caller, method)} == {
            method for method in allowed.split(" ") if method
        }
    assert decided.admits(caller) == bool(allowed)


@given(st.lists(st.text("ab*", min_size=1, max_size=6), min_size=1, max_size=3), st.text("ab", max_size=9))
def test_patterns(patterns: list[str], method: str) -> None:
    """Stars stand for what a plain regular expression makes of them."""
    plain = "|".join(pattern.replace("*", ".*") for pattern in patterns)
    assert rules(f"udp allow {' '.join(patterns)}").allows(FAR, method) == bool(re.fullmatch(plain, method))


TRANSPORT_FACTS = {
    "exec": "",
    "fifo": "",
    "unix": "uid gid",
    "udp": "address",
    "tcp": "address",
    "http": "address user uid gid",
    "https": "address user tls uid gid",
    "chat": "address user tls uid gid",
    "bus": "",
}
"""What docs/access.md says that each transport can know; a program has added C{chat} and C{bus}."""

_METHODS = ("a", "ab", "b.c", "core.ps")
_PATTERNS = st.lists(st.sampled_from(("a", "a*", "*", "*.c", "core.*", "ab")), min_size=1, max_size=2)
_CONDITIONS = {
    "address": ("127.0.0.1", "127.0.0.0/8", "::1", "192.0.2.0/24"),
    "user": ("user=ann", "user=*n*", "user=bob"),
    "tls": ("tls=OPS", "tls=*s", "tls=dev"),
    "uid": ("uid=0", "uid=7"),
    "gid": ("gid=0", "gid=8"),
}


@st.composite
def _rules(draw: st.DrawFn) -> tuple[list[str], list[str], dict[str, list[str]], dict[str, list[str]]]:
    """A rule, taken apart: transports, C{any} or none; kinds of facts that it asks for; conditions; methods."""
    facts = draw(st.sampled_from(([], ["address"], ["user"], ["address", "user", "tls"], ["uid"], ["gid", "uid"])))
    able = [name for name in TRANSPORTS if all(fact in TRANSPORT_FACTS[name].split() for fact in facts)]
    named = draw(st.lists(st.sampled_from([*able, "any"]), max_size=2, unique=True))
    asked = {fact: draw(st.lists(st.sampled_from(_CONDITIONS[fact]), min_size=1, max_size=2)) for fact in facts}
    methods = draw(st.fixed_dictionaries({}, optional={"allow": _PATTERNS, "deny": _PATTERNS}).filter(bool))
    if not named and not asked:
        named = ["any"]
    return named, able, asked, methods


_CALLERS = st.sampled_from(sorted(TRANSPORT_FACTS)).flatmap(
    lambda transport: st.builds(
        Caller,
        st.just(transport),
        **{
            name: values if fact in TRANSPORT_FACTS[transport].split() else st.just(default)
            for name, fact, values, default in (
                (
                    "address",
                    "address",
                    st.sampled_from(("127.0.0.1", "127.0.0.2", "::1", "192.0.2.7", "2001:db8::1")),
                    None,
                ),
                ("user", "user", st.sampled_from((None, "ann", "eve")), None),
                ("tls_names", "tls", st.sampled_from(((), ("ops",), ("x", "Devs"))), ()),
                ("uid", "uid", st.sampled_from((None, 0, 7)), None),
                ("gid", "gid", st.sampled_from((None, 0, 8)), None),
            )
        },
    )
)


def _shell_like(pattern: str, text: str) -> bool:
    """Whether a pattern with stars matches, tried out character by character."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(_shell_like(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return text[:1] == pattern[0] and _shell_like(pattern[1:], text[1:])


def _meets(caller: Caller, fact: str, condition: str) -> bool:
    """Whether a caller meets one condition of a rule."""
    wanted = condition.partition("=")[2]
    if fact == "address":
        network = ipaddress.ip_network(condition)
        return caller.address is not None and ipaddress.ip_address(caller.address) in network
    if fact == "tls":
        return any(_shell_like(wanted.lower(), name.lower()) for name in caller.tls_names)
    if fact == "user":
        return caller.user is not None and _shell_like(wanted, caller.user)
    return bool(getattr(caller, fact) == int(wanted))


@given(st.lists(_rules(), max_size=4), _CALLERS, st.sampled_from(_METHODS))
def test_semantics(lines: list[Any], caller: Caller, method: str) -> None:
    """Rules decide as docs/access.md says, which is written down here once more, rule by rule and word by word."""
    denied = allowed = closed = False
    for named, able, asked, methods in lines:
        everywhere = not named or "any" in named
        over = caller.transport in named or (everywhere and caller.transport in able)
        fits = over and all(
            any(_meets(caller, fact, condition) for condition in conditions) for fact, conditions in asked.items()
        )
        denied |= fits and any(_shell_like(pattern, method) for pattern in methods.get("deny", ()))
        allowed |= fits and any(_shell_like(pattern, method) for pattern in methods.get("allow", ()))
        closed |= over and "allow" in methods
    of_this_machine = caller.address is None or ipaddress.ip_address(caller.address).is_loopback
    let_in = of_this_machine or (not lines and caller.transport in ("chat", "bus"))
    expected = not denied and (allowed or (not closed and let_in))
    texts = [
        " ".join(
            [*named, *(word for words in asked.values() for word in words)]
            + [word for keyword, patterns in methods.items() for word in (keyword, *patterns)]
        )
        for named, _, asked, methods in lines
    ]
    decided = rules(*texts)
    assert decided.allows(caller, method) == expected, (texts, caller)
    assert decided.admits(caller) or not decided.allows(caller, method)


def test_order_is_free() -> None:
    """The order of the rules does not count."""
    lines = ["udp allow *", "any deny core.kill", "udp 192.0.2.7 allow core.kill"]
    for order in (lines, lines[::-1]):
        assert [rules(*order).allows(FAR, method) for method in ("core.ps", "core.kill")] == [True, False]


def test_bad_address() -> None:
    """An invalid address is a mistake of the transport, not a caller on this machine."""
    with pytest.raises(ValueError, match="'localhost'"):
        AccessControl().allows(Caller("udp", "localhost"), "core.ps")


@pytest.mark.parametrize(
    ("lines", "transport", "address", "covered"),
    [
        ([], "udp", "127.0.0.1", True),
        ([], "udp", "::1", True),
        ([], "unix", None, True),
        ([], "udp", "0.0.0.0", False),
        ([], "udp", "::", False),
        ([], "http", "", False),
        ([], "http", "192.0.2.1", False),
        (["udp allow *"], "udp", "0.0.0.0", True),
        (["any allow *"], "https", "192.0.2.1", True),
        (["udp allow *"], "http", "0.0.0.0", False),
        (["udp 192.0.2.0/24 allow *"], "udp", "0.0.0.0", True),
        (["udp 127.0.0.0/8 ::1 allow *"], "udp", "0.0.0.0", False),
        (["udp 127.0.0.1 192.0.2.1 allow *"], "udp", "0.0.0.0", True),
        (["udp deny core.kill"], "udp", "0.0.0.0", False),
        (["tls=ops allow *"], "https", "0.0.0.0", True),
        (["tls=ops allow *"], "http", "0.0.0.0", False),
        (["http uid=0 allow *"], "http", "0.0.0.0", False),
        (["unix uid=0 allow *"], "udp", "0.0.0.0", False),
    ],
)
def test_covers(lines: list[str], transport: str, address: str | None, covered: bool) -> None:
    """A listener beyond loopback needs a rule that allows somebody beyond loopback something over its transport."""
    assert rules(*lines).covers(transport, address) == covered


def test_facts() -> None:
    """It is known which facts the rules ask for, so that a transport need not find out the others."""
    assert AccessControl().facts == frozenset()
    assert rules("unix uid=0 allow *", "http user=a allow *", "any deny x").facts == {"uid", "user"}


def test_caller_is_shown() -> None:
    """A caller is shown in one line of ASCII, whatever the names are."""
    assert str(Caller("fifo")) == "fifo"
    assert str(Caller("unix", uid=0, gid=5)) == "unix uid=0 gid=5"
    caller = Caller("https", "::1", user="a\nb\u2028", tls_names=("x", "y"))
    assert str(caller) == r"https ::1 user='a\nb\u2028' tls='x' tls='y'"


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many callers and methods there are, and however long their names, no more is remembered than is set."""
    monkeypatch.setattr(control, "MAX_CALLERS", 5)
    monkeypatch.setattr(control, "MAX_DECISIONS", 7)
    some = rules("udp allow core.*")
    for number in range(20):
        assert some.allows(Caller("udp", f"192.0.2.{number}"), f"core.{number}")
        assert some.allows(FAR, "core." + "x" * control.MAX_METHOD + str(number))
    assert some._rights.cache_info().currsize == 5
    assert some._known.cache_info().currsize == 7
    assert 0 < len(some.sure) <= 7


SOME_RULES = st.lists(
    st.sampled_from(
        [
            "any deny core.kill",
            "udp 127.0.0.0/8 allow *",
            "udp 192.0.2.7 allow core.*",
            "udp allow core.echo(x)",
            "udp deny core.echo(y, ...)",
            "udp role read",
        ]
    ),
    max_size=3,
)


@given(st.lists(st.tuples(SOME_RULES, st.lists(st.integers(0, 7), max_size=6)), max_size=3))
def test_sure(changes: list[tuple[list[str], list[int]]]) -> None:
    """What is looked up without a decision is what the present rules allow, whatever the parameters are."""
    callers, methods = (NEAR, FAR), ("core.echo", "core.kill", "x.y", "core." + "x" * control.MAX_METHOD)
    access = rules()
    for lines, asked in changes:
        access.replace(map(read_rule, lines))
        assert not access.sure
        for number in asked:
            access.allows(callers[number % 2], methods[number // 2])
        fresh = rules(*lines)
        for caller, method in access.sure:
            assert len(method) <= control.MAX_METHOD
            assert all(fresh.allows(caller, method, params) for params in ((), ("x",), ("y", 1)))


def test_what_is_sure_is_found() -> None:
    """A call that was allowed by its method is looked up from then on; one by its parameters is not."""
    access = rules("udp 127.0.0.1 allow core.*")
    assert access.allows(NEAR, "core.echo")
    assert not access.allows(NEAR, "x.y")
    assert access.sure == {(NEAR, "core.echo")}
    access.replace([read_rule("udp 127.0.0.1 allow core.echo(x)")])
    assert access.allows(NEAR, "core.echo", ("x",))
    assert not access.sure


def test_long_names_are_quick() -> None:
    """A pattern of many stars takes time in proportion to the name."""
    many = rules("udp allow " + "*a" * 20 + "*b")
    short, long = (
        min(timeit.repeat(partial(many.allows, FAR, "a" * size), number=1, repeat=5, timer=process_time))
        for size in (10_000, 80_000)
    )
    assert long < 80 * short


def test_known_decision_is_cheap() -> None:
    """A decision that was made before costs a fraction of making one."""
    some = rules("udp allow core.*", "any deny core.kill")
    assert some.allows(FAR, "core.ps")
    misses = some._known.cache_info().misses
    seconds = min(timeit.repeat(lambda: some.allows(FAR, "core.ps"), number=1000, repeat=5, timer=process_time)) / 1000
    assert seconds < 20e-6  # it is some 0.3 us; the bound leaves room for a busy machine
    assert some._known.cache_info().misses == misses


def test_admitted_on_nodes() -> None:
    """Whether a caller may call anything is asked of each node by itself."""
    access = rules(
        "http 192.0.2.1 node=edge allow core.*", "http 192.0.2.2 allow core.*", "http 192.0.2.3 node=* role read"
    )
    edge, core = frozenset(("a", "edge")), frozenset(("b", "core"))
    for address, admitted in (("192.0.2.1", [edge]), ("192.0.2.2", []), ("192.0.2.3", [edge, core]), ("192.0.2.4", [])):
        caller = Caller("http", address)
        assert [nodes for nodes in (edge, core) if access.admits(caller, nodes)] == admitted
        assert access.admits(caller) == (address != "192.0.2.4")
