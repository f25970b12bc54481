"""The expressions of #!ifexp and #!defexp."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.config.expressions import ExpressionError, evaluate

DEFINES = {"VERSION": "6001004", "MOD_pv": None, "OS": '"linux"', "EMPTY": '""', "ADDRESS": "127.0.0.1"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 3 - 2", 5),
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2", 4),
        ("7 % 4", 3),
        ("-7 % 4", -3),
        ("7 / 2", 3.5),
        ("1 << 4 | 1", 17),
        ("6 & 3 ^ 1", 3),
        ("^0", -1),
        ("!0 + !5", 1),
        ("1 < 2 == 1", 1),
        ("0 && 1/0", 0),
        ("1 || 1/0", 1),
        ("0 || 0 && 1", 0),
        ("1, 2", 2),
        ("x = 3, x + 1", 4),
        ('1 + "20"', 21),
        ('"1" + 20', "120"),
        ('"a" + 1.5', "a1.5"),
        ('4 > "20"', 0),
        ('"4" > 20', 1),
        ('"a\\"\\n" + \'b\'', 'a"\nb'),
        ("1 # comment", 1),
        ("UNKNOWN", 0),
        ("MOD_pv", 1),
        ("ADDRESS", "127.0.0.1"),
        ('"sip:" + ADDRESS + ":5060"', "sip:127.0.0.1:5060"),
        ('MOD_pv && (OS == "linux")', 1),
        ("VERSION >= 6000000", 1),
        ("16777217", 16777216),
        ("EMPTY", ""),
    ],
)
def test_value(text: str, value: float | str) -> None:
    """An expression has the value that the Core Cookbook says; numbers have 32 bits."""
    assert evaluate(text, DEFINES) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("1 +", "a value is missing at the end"),
        ("* 1", r"a value is missing before '\*'"),
        ("(1", "a parenthesis is not closed"),
        ("1)", r"'\)' is not expected"),
        ("1 2", "'2' is not expected"),
        ("1.2.3", "is not a number"),
        ("'abc", "is not part"),
        ("f(1)", "no function f"),
        ("$(f, 1)", "is not part"),
        ("1 = 2", "only a name"),
        ("1 / 0", "has no value"),
        ("1 % 0", "has no value"),
        ("(0 - 8) ** 0.5", "has no value"),
        ("9 ** 99 ** 9", "has no value"),
        ("-OS", "where a number is needed"),
        ("EMPTY && 1", "neither true nor false"),
        ("1 << 40", "a shift"),
        ("99999999999 & 1", "more than 32 bits"),
        ("9" * 50, "too large"),
        ("9" * 400, "too large"),
        ("9" * 400 + " - " + "9" * 400, "too large"),
        ('1 + "inf"', "too large"),
        ('1 == "nan"', "too large"),
        ('x = "12345678"' + ", x = x + x" * 40, "longer than 65,536"),
        ("(" * 400 + "1" + ")" * 400, "nested too deep"),
        ("1**" * 100 + "1", "nested too deep"),
        ("-" * 100 + "1", "nested too deep"),
        ("1+" * 600 + "1", "too long"),
    ],
)
def test_no_value(text: str, reason: str) -> None:
    """An expression without a value is refused with a reason."""
    with pytest.raises(ExpressionError, match=reason):
        evaluate(text, DEFINES)


PARTS = (*"123-+*/%<>&|^=,!() ", "**", "<<", "&&", "||", "==", '"a"', "OS", "x", "0.5", "99", "9" * 400)


@given(st.lists(st.sampled_from(PARTS)))
def test_any_text(parts: list[str]) -> None:
    """Whatever an expression is, it has a value or is refused."""
    try:
        value = evaluate("".join(parts), DEFINES)
    except ExpressionError:
        return
    assert isinstance(value, str | float)
