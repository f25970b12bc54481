"""Rules that ask for the values of parameters: how they are written, what they allow, and that nobody evades them."""

import json
import re
import timeit
from decimal import Decimal
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.access.calls import NOT_GIVEN, CallPattern, Parameters, ValuePattern
from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.access.rules import read_rule
from jsonrpcs_tx.access.values import MAX_TEXT, readings
from jsonrpcs_tx.errors import SettingError
from tests.support import REPOSITORY

FAR = Caller("udp", "192.0.2.7")
NODE = frozenset(("edge1", "edge"))


def control(*lines: str) -> AccessControl:
    return AccessControl(map(read_rule, lines))


def pattern(method: str, *values: str, more: bool = False) -> CallPattern:
    """The reading of a method with parameters without quotes."""
    return CallPattern(method, Parameters(tuple(ValuePattern(tuple(value.split("*"))) for value in values), more))


@pytest.mark.parametrize(
    ("text", "methods", "calls"),
    [
        ("htable.sets ban_table *", (), [pattern("htable.sets", "ban_table", "*")]),
        ("dispatcher.set_state * 1 *", (), [pattern("dispatcher.set_state", "*", "1", "*")]),
        ("core.* htable.dump", ("core.*", "htable.dump"), []),
        ("core.ps htable.sets ban_table *", ("core.ps",), [pattern("htable.sets", "ban_table", "*")]),
        ("htable.sets(ban_table,*)", (), [pattern("htable.sets", "ban_table", "*")]),
        ("htable.sets( ban_table , * ) core.ps", ("core.ps",), [pattern("htable.sets", "ban_table", "*")]),
        ("core.ps core.echo(a) *", ("core.ps", "*"), [pattern("core.echo", "a")]),
        ("core.*(a)", (), [pattern("core.*", "a")]),
        ("order(a)", (), [pattern("order", "a")]),
        ("core.echo hello ...", (), [pattern("core.echo", "hello", more=True)]),
        ("core.echo ...", (), [pattern("core.echo", more=True)]),
        ("core.echo(...)", (), [pattern("core.echo", more=True)]),
        ("core.echo()", (), [pattern("core.echo")]),
        ("core.echo( )", (), [pattern("core.echo")]),
        ("core.echo(deny, allow)", (), [pattern("core.echo", "deny", "allow")]),
        ("core.echo(10.0.0.0/8,user=ann,udp)", (), [pattern("core.echo", "10.0.0.0/8", "user=ann", "udp")]),
        ("a b", ("a", "b"), []),
        ("a * b", ("a", "*", "b"), []),
        ("a core.ps", ("a", "core.ps"), []),
        ("core.* *", ("core.*", "*"), []),
        ("core.ps allow order", ("core.ps", "order"), []),
        ("core.ps allow *", ("core.ps", "*"), []),
        ("htable.sets t * core.echo(a)", (), [pattern("htable.sets", "t", "*"), pattern("core.echo", "a")]),
    ],
)
def test_reading(text: str, methods: tuple[str, ...], calls: list[CallPattern]) -> None:
    """What follows a method are the values of its parameters where that can mean nothing else, or in parentheses."""
    rule = read_rule(f"any allow {text}")
    assert (rule.allow, list(rule.allow_calls)) == (methods, calls)
    if Parameters(()) not in [call.parameters for call in calls]:
        rule = read_rule(f"any deny {text}".replace(" allow ", " deny "))
        assert (rule.deny, list(rule.deny_calls)) == (methods, [*map(_denied, calls)])


def _denied(call: CallPattern) -> CallPattern:
    """The test's keyword stands in one of the calls as well."""
    return pattern("core.echo", "deny", "allow") if call == pattern("core.echo", "deny", "deny") else call


def test_quotes() -> None:
    """In quotes, as JSON has them, everything is what it is."""
    (call,) = read_rule(r'any allow m("a b", "*,()\"\\?[]", "é", "")').allow_calls
    assert call.parameters is not None
    assert [value.parts for value in call.parameters.values] == [("a b",), ('*,()"\\?[]',), ("é",), ("",)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("allow core.ps order", '"core.ps(order)" with parameters or "order core.ps" without'),
        ("allow core.ps *", '"core.ps(*)" with parameters or "* core.ps" without'),
        ("deny core.kill * *", '"core.kill(*, *)" with parameters'),
        ("allow core.ps order core.echo", '"core.ps(order)" with parameters or "order core.ps core.echo" without'),
        (
            "allow htable.sets t * core.ps",
            '"htable.sets(t, *, core.ps)" or "htable.sets(t, *) core.ps"',
        ),
        ("deny core.kill()", "deny core.kill, which denies it with any parameters"),
        ("allow m(a", "in printable ASCII"),
        ("allow m(a)b", "in printable ASCII"),
        ("allow m(a))", "separated by commas"),
        ("allow (a)", "in printable ASCII"),
        ("allow m(a,)", "separated by commas"),
        ("allow m(,)", "separated by commas"),
        ("allow m(a b)", "separated by commas"),
        ('allow m("a"b)', "separated by commas"),
        ('allow m("a)', "separated by commas"),
        (r'allow m("\x")', "a JSON string"),
        (r'allow m("\ud800")', "a JSON string"),
        ("allow m(..., a)", "... only at the end"),
        ("allow m(a?)", "values with blanks"),
        ("allow m([a])", "values with blanks"),
        ("allow core.echo a? *", "values with blanks"),
        ("allow m(\u200b)", "printable"),
        ("allow htable.sets t * udp", "udp before allow"),
        ("allow htable.sets t * user=ann", "user=ann before allow"),
        ("allow htable.sets t * 10.0.0.1", "10.0.0.1 before allow"),
        ("allow role", "methods after allow"),
        ("allow core.ps allow", "methods after allow"),
        ("allow * DENY core.kill", "deny, in lower case; not DENY"),
        ("allow m('a', *)", "quotes as JSON has them"),
        ("allow m(\u201ca\u201d, *)", "quotes as JSON has them"),
        ('allow "core.ps"', "in printable ASCII"),
        ("role", "role read or role operate or role admin"),
        ("role operator", "not 'role operator'; did you mean operate?"),
        ("role write", "role read or role operate or role admin"),
        ("role read operate", "role read or role operate or role admin"),
        ("allow * role", "role read or role operate or role admin"),
    ],
)
def test_bad_rule(text: str, says: str) -> None:
    """An invalid rule is refused with what is allowed; an ambiguous one, with how to write each meaning."""
    with pytest.raises(SettingError, match=re.escape(says)):
        read_rule(f"any {text}")


BEHIND = (
    *(" // never", "//never", " /* never */", " -- never", " ; never", ";", " ;", ",", " ,", " \\", "\\"),
    *(" !core.ps", " `x`", "|core.ps", " deny", " DENY core.ps", "\n# never"),
    *"\u00a0\u200b\ufeff\u2028\n\r\x85\x0b\0",
)

COMMENTS = (
    "any deny {call} # never",
    "any deny {call} #never",
    "any deny {call} #",
    "any deny # never {call}",
    "any # {call} deny",
    "any #{call} deny {call}",
    "any allow * role read # {call}",
    "any deny {call} core.echo(#1)",
)


@pytest.mark.parametrize("call", ["htable.sets ban_table *", "htable.sets(ban_table, *)", "core.kill"])
@pytest.mark.parametrize("line", COMMENTS)
def test_comments(line: str, call: str) -> None:
    """A comment behind a rule is refused: as parameters or methods, its words would change what the rule means."""
    with pytest.raises(SettingError, match="a comment stands on a line of its own"):
        read_rule(line.format(call=call))


@pytest.mark.parametrize("call", ["htable.sets ban_table *", "htable.sets(ban_table, *)", "core.kill"])
@pytest.mark.parametrize("behind", BEHIND)
def test_what_other_languages_have(call: str, behind: str) -> None:
    """Comments, separators, continued lines and characters that nobody sees are no part of a rule that is written
    without quotes: the rule would deny something else than it seems to.
    """
    with pytest.raises(SettingError):
        read_rule(f"any deny {call}{behind}")
    with pytest.raises(SettingError):
        read_rule(f"http user=ann{behind} allow *" if behind.isspace() or not behind.isascii() else f"any{behind}")


def test_quoted_comment() -> None:
    """In parentheses and quotes, # is a character as any other; so is it within a word."""
    access = control('any deny core.echo("#1", *) core.echo("//;") core.echo(a#b)')
    for params in (["#1", "x"], ["//;"], ["a#b"]):
        assert not access.allows(Caller("fifo"), "core.echo", params)
    assert access.allows(Caller("fifo"), "core.echo", ["1", "x"])


@pytest.mark.parametrize("line", ["node=edge allow *", "node=edge node=x deny *"])
def test_node_alone(line: str) -> None:
    """A rule has to say whom it is for."""
    with pytest.raises(SettingError, match="whom it is for"):
        read_rule(line)


def test_both_ways_of_ambiguous_lines() -> None:
    """The ways to write what the error names are read as it says."""
    for text in ("core.ps order", "core.ps *", "core.ps order core.echo", "htable.sets t * core.ps"):
        with pytest.raises(SettingError) as caught:
            read_rule(f"any allow {text}")
        one, other = re.findall(r'can mean "(.*?)" (?:with parameters )?or "(.*?)"', str(caught.value))[0]
        assert read_rule(f"any allow {one}") != read_rule(f"any allow {other}")
        assert read_rule(f"any allow {one}").allow_calls


ALLOWED: list[tuple[str, list[Any], list[Any]]] = [
    (
        "htable.sets ban_table *",
        [["ban_table", "x"], ["ban_table", 1], ["ban_table", None], ["ban_table", []]],
        [["ban_table"], ["ban_table", "x", "y"], [], ["other", "x"], ["Ban_table", "x"], ["ban_table ", "x"]],
    ),
    ("m(1)", [[1], ["1"], [1.0]], [["01"], ["+1"], [" 1"], [1.5], [True], ["1\0"], [2**32 + 1], [Decimal(1)], [[1]]]),
    ("m(true)", [[True], ["true"]], [[1], ["1"], [False], ["True"]]),
    ("m(null)", [[None], ["null"]], [[0], [""]]),
    ("m(0.5)", [[0.5], ["0.5"]], [[0], [0.25]]),
    ("m(0*)", [["0049"], [0], ["0"]], [[0.5], [0.0], ["49"]]),
    ("m(49*)", [["4912345678"], [49]], [[4912345678], ["049"], ["x49"]]),
    ("m(4912345678)", [[4912345678], ["4912345678"]], [[4912345679]]),
    ("m(*_x)", [["a_x"]], [["a\0_x"], ["a_x\0"], ["a_x "]]),
    ("m(*)", [["a\0"], [{}], [2**9999], [0.5], [Decimal("1e999")]], [[], [NOT_GIVEN], [1, 2]]),
    ("m(a, *)", [["a", 1]], [["a", NOT_GIVEN], [NOT_GIVEN, 1]]),
    ("m(a, ...)", [["a"], ["a", 1, 2]], [[], ["b"], ["b", "a"]]),
    ("m()", [[]], [[1]]),
    ('m("")', [[""]], [[], [" "], ["\0"]]),
    ('m("*")', [["*"]], [["a"], ["**"]]),
]


EXAMPLES = re.findall(
    r"^\| `(.+?)` \| .+? \| `(\S+) (.*?)` \| `(\S+) (.*?)` \|$", (REPOSITORY / "docs" / "access.md").read_text(), re.M
)


@pytest.mark.parametrize(
    ("words", "method", "params", "other", "others"), EXAMPLES, ids=[words for words, *_ in EXAMPLES]
)
def test_examples_of_the_page(words: str, method: str, params: str, other: str, others: str) -> None:
    """What docs/access.md shows is so."""
    access = control(f"udp allow {words}")
    assert access.allows(FAR, method, json.loads(params))
    assert not access.allows(FAR, other, json.loads(others))
    if "()" not in words:
        denied = control("udp allow *", f"any deny {words}")
        assert not denied.allows(FAR, method, json.loads(params))


def test_rules_of_the_page() -> None:
    """All rules that docs/access.md shows are rules, and all its examples are tested."""
    blocks = re.findall(r"^```text\n(.*?)^```$", (REPOSITORY / "docs" / "access.md").read_text(), re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines() if re.search(r" (allow|deny|role) ", line)]
    assert len(lines) >= 14
    for line in lines:
        read_rule(line.replace("gid=adm", "gid=0"))
    assert len(EXAMPLES) == 11


@pytest.mark.parametrize(("text", "allowed", "others"), ALLOWED, ids=[text for text, *_ in ALLOWED])
def test_allow(text: str, allowed: list[Any], others: list[Any]) -> None:
    """A call is allowed with as many values as there are patterns, each of which surely has the text of one."""
    method = re.split(r"[ (]", text)[0]
    access = control(f"udp allow {text}")
    assert access.asks_params
    assert [access.allows(FAR, method, params) for params in allowed] == [True] * len(allowed)
    assert [params for params in others if access.allows(FAR, method, params)] == []
    assert not access.allows(FAR, method, {"a": 1})
    assert not access.allows(FAR, method + "x", allowed[0])
    assert access.admits(FAR)
    both = control(f"udp allow {text}", "any deny *")
    assert not both.admits(FAR)


SAME_AS_ONE: tuple[Any, ...] = (
    *(1, "1", True, 1.0, Decimal(1), Decimal("1.0"), 1.5, 2**32 + 1, 2**64 + 1, 1 - 2**32, 2**65 + 2**32 + 1),
    *(
        "01",
        "+1",
        " 1",
        "1 ",
        "\t1\n",
        "1\0",
        "1\0x",
        "\0001",
        "0x1",
        "0X01",
        "0b1",
        "0o1",
        "1.0",
        "1e0",
        "10e-1",
        "1x",
    ),
    *("i:1", "s:1", "d: 1", "\uff11", "\u0661", "\u2460", "0_1", "true", "TRUE", "yes", "on", "4294967297", "1.9"),
    *(None, [], [2], {}, {"a": 2}, 2**9999, Decimal("1e999999999"), Decimal("Infinity"), "9" * 5000),
)
"""What some server may take for 1, ours or Kamailio, or a command in its own code."""


@pytest.mark.parametrize("value", SAME_AS_ONE, ids=lambda value: f"{value!r:.30}")
def test_deny_is_not_evaded(value: Any) -> None:
    """Whatever a server may take for a denied number is denied, and however many values there are."""
    access = control("udp allow *", "any deny dispatcher.set_state * 1 *")
    for nodes in (frozenset[str](), NODE):
        for params in (
            ["ip", value, "sip:a"],
            ["ip", value],
            ["ip", value, "sip:a", 5],
            ["ip", value, "sip:a", [], {}],
        ):
            assert not access.allows(FAR, "dispatcher.set_state", params, nodes)


@pytest.mark.parametrize("params", [[], ["ip"], {"state": "ip", "group": 2, "address": "x"}, ["a", NOT_GIVEN, "b"]])
def test_deny_what_is_not_known(params: Any) -> None:
    """A parameter that is not given, or whose place is not known, may be the denied one."""
    assert not control("udp allow *", "any deny dispatcher.set_state * 1 *").allows(FAR, "dispatcher.set_state", params)


@pytest.mark.parametrize("value", [2, "2", 0, False, 2.5, "x", "", -1, 10, "10", 11, "sip:1", 2**31])
def test_deny_leaves_others(value: Any) -> None:
    """Other values are not denied."""
    assert control("udp allow *", "any deny m(*, 1, *)").allows(FAR, "m", ["ip", value, "sip:a"])


@pytest.mark.parametrize(
    "value",
    [
        "ban_table",
        "BAN_TABLE",
        " ban_table",
        "ban_table\0",
        "s:ban_table",
        "ban_table\0x",
        "\uff42an_table",
        "b\0an_table",
    ],
)
def test_deny_text(value: str) -> None:
    """A denied text is denied in other letters, with blanks around it and with null bytes."""
    access = control("udp allow *", "any deny m(ban_table)", "any deny p(ban*)")
    assert not access.allows(FAR, "m", [value])
    assert not access.allows(FAR, "p", [value])
    assert access.allows(FAR, "m", ["ban_table2"])
    assert access.allows(FAR, "p", ["ba"])


def test_text_for_a_number_on_nodes() -> None:
    """Kamailio takes any text for 0 where it wants a number, so that is neither an allowed 1 nor another than 0."""
    access = control(
        "udp node=edge allow dispatcher.set_state * 1 *", "udp node=edge allow other.cmd(1) other.word(one)"
    )
    assert access.allows(FAR, "dispatcher.set_state", ["ip", 1, "sip:a"], NODE)
    assert not access.allows(FAR, "dispatcher.set_state", ["ip", "1", "sip:a"], NODE)
    assert access.allows(FAR, "other.cmd", [1], NODE)
    assert not access.allows(FAR, "other.cmd", ["1"], NODE)
    assert access.allows(FAR, "other.word", ["one"], NODE)
    denying = control("udp node=* allow *", "udp node=* deny dispatcher.set_state * 0 *")
    for value in ("x", "", "1", False, -0.5, 0, 2**32):
        assert not denying.allows(FAR, "dispatcher.set_state", ["ip", value, "sip:a"], NODE), value
    assert denying.allows(FAR, "dispatcher.set_state", ["ip", 1, "sip:a"], NODE)


def test_fractions_on_nodes() -> None:
    """Kamailio may take 1.9999999999999999, which is 2.0, for 1."""
    access = control("udp node=edge allow m(2) m(*, 2)")
    assert access.allows(FAR, "m", [2], NODE)
    assert access.allows(FAR, "m", [2.0, 2], NODE)
    for params in ([2.0], [2, 2.0], [2, Decimal("2.0")]):
        assert not access.allows(FAR, "m", params, NODE)
    denying = control("udp node=edge allow *", "udp node=edge deny m(1)")
    assert denying.allows(FAR, "m", [2], NODE)
    assert not denying.allows(FAR, "m", [2.0], NODE)


def test_text_for_text_on_nodes() -> None:
    """Where Kamailio wants text, a text is what it is."""
    access = control("udp node=edge allow htable.get(ban_table, 0049*)", "udp node=edge deny htable.get(*, 004912)")
    assert access.allows(FAR, "htable.get", ["ban_table", "00491"], NODE)
    assert not access.allows(FAR, "htable.get", ["ban_table", "004912"], NODE)
    assert not access.allows(FAR, "htable.get", ["ban_table", 491], NODE)


def test_nodes() -> None:
    """What a rule without node= allows is for this server only; what it denies is denied everywhere."""
    own: frozenset[str] = frozenset()
    other = frozenset(("core1", "core"))
    access = control(
        "udp allow core.ps", "udp node=edge* allow core.uptime", "udp node=* allow core.info", "any deny core.kill"
    )
    assert [access.allows(FAR, "core.ps", (), nodes) for nodes in (own, NODE, other)] == [True, False, False]
    assert [access.allows(FAR, "core.uptime", (), nodes) for nodes in (own, NODE, other)] == [False, True, False]
    assert [access.allows(FAR, "core.info", (), nodes) for nodes in (own, NODE, other)] == [False, True, True]
    denied = control("udp allow *", "udp node=* allow *", "any deny core.kill", "any node=edge1 deny core.ps")
    assert [denied.allows(FAR, "core.kill", (), nodes) for nodes in (own, NODE, other)] == [False] * 3
    assert [denied.allows(FAR, "core.ps", (), nodes) for nodes in (own, NODE, other)] == [True, False, True]


def test_nodes_without_rules() -> None:
    """Without rules, callers on this machine may call everything on every node, others nothing."""
    for access in (AccessControl(), control("https allow *"), control("any deny core.kill")):
        assert access.allows(Caller("unix"), "core.ps", (), NODE)
        assert not access.allows(FAR, "core.ps", (), NODE)
    assert not control("any deny core.*").allows(Caller("unix"), "core.ps", (), NODE)


def test_one_that_may_only_call_nodes_is_admitted() -> None:
    """Who may call nothing but nodes may send requests, and a listener may be opened for it."""
    access = control("udp node=edge allow core.ps")
    assert access.admits(FAR)
    assert access.covers("udp", "0.0.0.0")
    assert not access.allows(FAR, "core.ps")


def test_decisions_are_remembered() -> None:
    """Decisions about methods whose parameters no rule asks for are remembered, and so are the patterns of others."""
    access = control("udp allow core.* htable.sets(t, *)")
    for number in range(50):
        assert access.allows(FAR, "core.ps", [number])
        assert access.allows(FAR, "htable.sets", ["t", number])
    assert access._known.cache_info().currsize == 2
    assert access._known.cache_info().misses == 2


@pytest.mark.parametrize("text", ["1" * 10**6, "\ufdfa" * 300_000, "\0i:" * 300_000, " " * 10**6, "a" * 10**6])
def test_long_texts_are_quick(text: str) -> None:
    """A client gains nothing by long texts: one that is too long to look at may be what is denied."""
    access = control("udp allow *", "any deny m(1, a*b*c)")
    seconds = min(timeit.repeat(lambda: access.allows(FAR, "m", [text, text]), number=1, repeat=3, timer=process_time))
    assert not access.allows(FAR, "m", [text, text])
    assert seconds < 0.1  # it is some microseconds; the bound leaves room for a busy machine
    text = text[:MAX_TEXT]
    seconds = min(timeit.repeat(lambda: access.allows(FAR, "m", [text, text]), number=1, repeat=3, timer=process_time))
    assert seconds < 0.1


def test_words_and_other_texts_have_the_same_readings() -> None:
    """The short way for plain words gives what the long one does."""
    for word in ("on", "True", "ban_table", "a", "sip:a@b;c=d", "a:b", "e1", "x1", "inf", "nan", "I"):
        found, long = readings(word), readings(f" {word}")
        assert found is not None
        assert long is not None
        assert found.numbers == long.numbers
        assert found.texts <= long.texts


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.text("01aA \0x.+-e_:", max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
PATTERNS = st.sampled_from(("*", "1", "0", "a", "a*", "*1*", "true", '"a b"', '""', "-1", "0x1", "1.5", '"*"'))


@given(st.lists(PATTERNS, min_size=1, max_size=3), st.lists(JSON_VALUES, max_size=4), st.booleans())
def test_what_is_allowed_can_be_denied(patterns: list[str], params: list[Any], on_node: bool) -> None:
    """The same patterns deny all that they allow, and no further value takes the denial back."""
    words, nodes = ", ".join(patterns), NODE if on_node else frozenset[str]()
    allowing = control(f"any node=* allow m({words}, ...)", f"any allow m({words}, ...)")
    denying = control("any allow *", "any node=* allow *", f"any deny m({words})")
    denied = not denying.allows(FAR, "m", params, nodes)
    assert denied or not allowing.allows(FAR, "m", params, nodes)
    assert not denied or not denying.allows(FAR, "m", [*params, "x"], nodes) or len(params) < len(patterns)


@given(st.integers(-(2**70), 2**70), st.sampled_from(("{}", " {}", "{}.0", "{}\0", "i:{}", "{}\n")), st.booleans())
def test_numbers_in_any_form(number: int, form: str, as_text: bool) -> None:
    """A denied integer is denied as a number, in every text of it, and where C makes it of another."""
    access = control("any allow *", f"any deny m({number})")
    assert not access.allows(FAR, "m", [form.format(number) if as_text else number])
    if -(2**63) <= number < 2**64:
        assert not access.allows(FAR, "m", [number + 2**64 if number < 0 else number - 2**64])
    if -(2**31) <= number < 2**32:
        assert not access.allows(FAR, "m", [number + 2**32])


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_any_text_can_be_written(text: str) -> None:
    """Every text can be allowed and denied, in quotes."""
    quoted = json.dumps(text, ensure_ascii=True)
    assert control(f"any allow m({quoted})").allows(FAR, "m", [text])
    assert not control("any allow *", f"any deny m({quoted})").allows(FAR, "m", [text])
