"""What the audit log shows of parameters: no secrets, no more than fits, and valid JSON whatever they are."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.access.secrets import HIDDEN, MAX_PARAMS, Concealment, catalogued, cut_text, is_secret, may_tell

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def shown(params: Any, *names: str, rest: str | None = None, secret: tuple[str, ...] | None = None) -> Any:
    return json.loads(Concealment(names, rest, secret).shown(params))


SECRETS = (
    *("password", "db_password", "newPasswd", "passphrase", "api_key", "apiKey", "APIKEY", "key", "authToken", "pin"),
    *("client_secret", "SECRET", "privateKey", "credentials", "Authorization", "session-cookie", "pwd", "x" * 100),
)
OTHERS = ("name", "value", "table", "monkey", "keyword", "spin", "author", "address", "passenger")


@pytest.mark.parametrize("name", SECRETS)
def test_names_of_secrets(name: str) -> None:
    """A name of a secret is known in any spelling."""
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", ["name", "value", "table", "monkey", "keyword", "spin", "author", "address", "passenger"]
)
def test_other_names(name: str) -> None:
    """A name that only begins or ends like that of a secret is not one."""
    assert not is_secret(name)


def test_by_position_and_by_name() -> None:
    """A parameter named as a secret is hidden, whether it is given by position, by its name or by another."""
    names = ("user", "password")
    assert shown(["ann", "sesame", 3], *names) == ["ann", HIDDEN, 3]
    assert shown({"user": "ann", "password": "sesame"}, *names) == {"user": "ann", "password": HIDDEN}
    assert shown({"password": "sesame", "user": "ann"}, *names) == {"password": HIDDEN, "user": HIDDEN}
    assert shown({"x": "ann", "y": "sesame"}, *names) == {"x": "ann", "y": HIDDEN}
    assert shown({"x": "ann", "y": "b", "token": "t"}, "user", "name") == {"x": "ann", "y": "b", "token": HIDDEN}


def test_all_further_values() -> None:
    """So are all further values, where the parameter that takes them is a secret."""
    assert shown(["a", "b", "c"], "user", rest="tokens") == ["a", HIDDEN, HIDDEN]


def test_said_by_the_command() -> None:
    """What a command says of its parameters counts in place of their names."""
    assert shown(["k", "v"], "key", "value", secret=()) == ["k", "v"]
    assert shown(["k", "v"], "key", "value", secret=("value",)) == ["k", HIDDEN]
    assert shown({"key": "k", "value": "v"}, "key", "value", secret=("value",)) == {"key": "k", "value": HIDDEN}


def test_within() -> None:
    """Members of objects are hidden by their names, at any depth, whatever their values."""
    deep = {"a": [{"password": ["x", {"y": 1}], "n": 1}]}
    assert shown([deep], "user") == [{"a": [{"password": HIDDEN, "n": 1}]}]
    assert shown([[[[[[[[[[{}]]]]]]]]]], "user") == [[[[[[[[["..."]]]]]]]]]


def test_value_of_a_named_variable() -> None:
    """What follows the name of a secret is hidden, as in cfg.sets shop db_password ..."""
    assert shown(["shop", "db_password", "sesame", 5], "group", "name", "value") == [
        "shop",
        "db_password",
        HIDDEN,
        HIDDEN,
    ]
    assert shown(["a", "key1", "value"], "table", "name", "value") == ["a", "key1", "value"]


@pytest.mark.parametrize(
    "params",
    [
        ["x" * 1_000_000],
        [1] * 100_000,
        {str(number): "x" * 1000 for number in range(1000)},
        [10**4000],
        ["\x01" * 9999],
    ],
    ids=["long", "many", "object", "number", "escapes"],
)
def test_cut(params: Any) -> None:
    """Long parameters are cut, with a mark that says how long they are."""
    written = Concealment((), None, None).shown(params)
    assert len(written) <= MAX_PARAMS + 1300
    assert b"in all)" in written
    json.loads(written)


def test_texts() -> None:
    """A text is cut with a mark, and what UTF-8 cannot write is escaped."""
    assert cut_text("abc", 3) == "abc"
    assert cut_text("abcd", 3) == "abc... (4 in all)"
    assert cut_text("\udcff") == "\\udcff"
    assert shown(["\ud800", {"\udfff": "\udc00"}], "a", "b") == ["\\ud800", {"\\udfff": "\\udc00"}]


WORDS = st.sampled_from(["db_Password", "x", "API_KEY", "monkey", "Token", "1", "pass", "Credentials", "\ud800"])
PARAMS = st.lists(WORDS | JSON_VALUES, max_size=5) | st.dictionaries(WORDS | st.text(), JSON_VALUES, max_size=3)
CONCEALMENTS = [
    Concealment((), None, None),
    Concealment(("password", "name"), None, None),
    Concealment(("table", "key", "value"), "values", ()),
    catalogued("cfg.sets"),
]


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(CONCEALMENTS), PARAMS), max_size=4))
def test_drafts(calls: list[tuple[Concealment, Any]]) -> None:
    """The parameters of many calls that are searched at once are shown as those of each call by itself."""
    drafts = [concealment.draft(params) for concealment, params in calls]
    tells = may_tell(b"".join(draft for draft in drafts if draft is not None))
    for (concealment, params), draft in zip(calls, drafts, strict=True):
        if draft is not None:
            assert (concealment.shown_draft(draft) if tells else draft) == concealment.shown(params)


@pytest.mark.slow
@given(st.lists(JSON_VALUES) | st.dictionaries(st.text(), JSON_VALUES))
def test_any_parameters(params: Any) -> None:
    """Whatever the parameters are, they are shown as JSON of bounded size, and the secret is not in it."""
    secret = "s3same-of-the-cave"
    for given_params in (params, [secret, *params] if isinstance(params, list) else {"first": secret, **params}):
        written = Concealment(("password",), None, None).shown(given_params)
        json.loads(written)
        assert len(written) <= MAX_PARAMS + 1300
    assert secret.encode() not in written


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        ("autheph.add_secret", ["x"], [HIDDEN]),
        ("auth_xkeys_.set", ["g", "name", "key", 5], ["g", "name", HIDDEN, 5]),
        ("htable.sets", ["table", "key", "value"], ["table", "key", "value"]),
        ("htable.sets", ["table", "password", "value"], ["table", "password", HIDDEN]),
        ("dlg.list", [], []),
        ("no.such", ["a", {"token": "x"}], ["a", {"token": HIDDEN}]),
        ("no.such", ["db_password", "x"], ["db_password", HIDDEN]),
        ("no.such", {"password": "x", "a": "b"}, {"password": HIDDEN, "a": "b"}),
        ("autheph.add_secret", {"secret": "x"}, {"secret": HIDDEN}),
    ],
)
def test_catalogued(method: str, params: Any, expected: Any) -> None:
    """Of a command of Kamailio's, the names in the catalogue say what is secret; of others, what is known of any."""
    assert json.loads(catalogued(method).shown(params)) == expected
