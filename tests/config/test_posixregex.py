"""POSIX extended regular expressions, beside those of the C library."""

import ctypes
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.config.posixregex import Effort, Pattern, PatternError, Spans
from tests.support.examples import examples

EXTENDED, IGNORE_CASE, NEWLINE = 1, 2, 4
GROUPS = 4
NOWHERE = (-1, -1)


class _Match(ctypes.Structure):
    _fields_ = (("start", ctypes.c_int), ("end", ctypes.c_int))


def spans_of_library(pattern: str, text: str, flags: int) -> Spans | None:
    """What the C library finds.

    @raise ValueError: it does not take the pattern.
    """
    library = ctypes.CDLL(None)
    compiled = ctypes.create_string_buffer(256)
    if library.regcomp(compiled, pattern.encode("latin-1"), flags | EXTENDED):
        raise ValueError
    matches = (_Match * GROUPS)()
    try:
        found = library.regexec(compiled, text.encode("latin-1"), GROUPS, matches, 0)
    finally:
        library.regfree(compiled)
    return None if found else [(one.start, one.end) for one in matches]


def spans(pattern: str, text: str, flags: int = 0) -> Spans | None:
    found = Pattern(pattern, bool(flags & IGNORE_CASE), bool(flags & NEWLINE), Effort()).spans(text)
    return None if found is None else [*found, *[NOWHERE] * GROUPS][:GROUPS]


@pytest.mark.parametrize(
    ("pattern", "text", "flags"),
    [
        ("a|ab", "xabc", 0),
        ("(a|ab)(c|bcd)", "abcd", 0),
        ("(a*)(a|aa)", "aaaa", 0),
        ("((a)|(b))*", "ab", 0),
        ("(a*)*", "aaa", 0),
        ("(|a)b", "ab", 0),
        ("", "ab", 0),
        ("()", "a", 0),
        ("a**", "aaa", 0),
        ("a{,2}", "aaa", 0),
        ("(ab){2,3}", "abababab", 0),
        ("a{2,}", "aaaa", 0),
        ("x{0}", "x", 0),
        ("[]a]+", "a]", 0),
        ("[^]a]", "]ab", 0),
        ("[a-]+", "-a", 0),
        ("[--/]+", "-./", 0),
        (r"[\d]+", r"\d", 0),
        ("[[:alpha:]_]+[[:digit:]]", "x_9", 0),
        ("[[:upper:]]", "a", IGNORE_CASE),
        ("ABC", "xabc", IGNORE_CASE),
        (r"\w+\W\s", "a_1- ", 0),
        (r"\bab\b", "xab ab", 0),
        (r"\<a\>", "ba a", 0),
        (r"\.\*\d\/", ".*d/", 0),
        ("a)", "a)", 0),
        ("^a$", "b\na\nb", NEWLINE),
        ("^a$", "b\na\nb", 0),
        ("a.b", "a\nb", NEWLINE),
        ("a.b", "a\nb", 0),
        ("[^x]+", "a\nb", NEWLINE),
        ("(^a)", "ba", 0),
        ("\xe9+", "x\xe9\xe9", 0),
    ],
)
def test_matches(pattern: str, text: str, flags: int) -> None:
    """A match is where the C library finds it, with the same groups."""
    assert spans(pattern, text, flags) == spans_of_library(pattern, text, flags)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "( without )"),
        ("[a", "[ without ]"),
        ("[[:foo:]]", "unknown character class"),
        ("[[:alpha:]", "[ without ]"),
        ("[z-a]", "range"),
        ("*a", "* after nothing"),
        ("a|+", "+ after nothing"),
        ("^*", "* after nothing"),
        ("(?a)", "? after nothing"),
        ("{2}", "{ after nothing"),
        ("a{", "{ that is not"),
        ("a{x}", "{ that is not"),
        ("a{2,1}", "of which n is larger"),
        ("a\\", "backslash"),
    ],
)
def test_refused(pattern: str, reason: str) -> None:
    """What the C library does not take is refused with a reason."""
    with pytest.raises(PatternError, match=re.escape(reason)):
        spans(pattern, "")
    with pytest.raises(ValueError, match=r"^$"):
        spans_of_library(pattern, "", 0)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(a)\1", "refers back"),
        ("[[=a=]]", "equivalence class"),
        ("[[.a.]]", "collating symbol"),
        ("a{256}", "more than 255 times"),
        ("((a{99}){99}){99}", "too long"),
        ("(" * 101 + ")" * 101, "100 deep"),
        ("a" * 6000, "too long"),
    ],
)
def test_not_supported(pattern: str, reason: str) -> None:
    """What the C library takes, but can take forever with, or hardly anyone uses, is refused with a reason."""
    with pytest.raises(PatternError, match=reason):
        spans(pattern, "")


PARTS = ["a", "b", ".", "(", ")", "|", "*", "+", "?", "[ab]", "[^a]", "{1,2}", "ab", "\\b", "x*"]


@pytest.mark.slow
@given(
    st.lists(st.sampled_from([*PARTS, "^", "$"]), max_size=8).map("".join),
    st.text("aabx\n", max_size=7),
    st.sampled_from([NEWLINE, NEWLINE | IGNORE_CASE]),
)
@examples(1000)
def test_any_pattern_by_lines(pattern: str, text: str, flags: int) -> None:
    """The whole match of any pattern is that of the C library, as is whether it is a pattern at all."""
    try:
        expected = spans_of_library(pattern, text, flags)
    except ValueError:
        with pytest.raises(PatternError):
            spans(pattern, text, flags)
        return
    found = spans(pattern, text, flags)
    assert (found and found[0]) == (expected and expected[0])


@pytest.mark.slow
@given(st.lists(st.sampled_from(PARTS), max_size=8).map("".join), st.text("aabxA", max_size=7))
@examples(1000)
def test_any_pattern_for_a_name(pattern: str, text: str) -> None:
    """A pattern between anchors, as for names of modules, matches what it matches in the C library."""
    whole = f"^({pattern})$"
    try:
        expected = spans_of_library(whole, text, IGNORE_CASE)
    except ValueError:
        with pytest.raises(PatternError):
            spans(whole, text, IGNORE_CASE)
        return
    assert (spans(whole, text, IGNORE_CASE) is None) == (expected is None)


def test_from_a_start() -> None:
    """The search may begin within a text, at a beginning of a line or not."""
    pattern = Pattern("^a|(b)", False, True, Effort())
    assert pattern.spans("aab", 1, after_line=True) == [(1, 2), NOWHERE]
    assert pattern.spans("aab", 1, after_line=False) == [(2, 3), (2, 3)]
    assert pattern.spans("a\na", 1, after_line=False) == [(2, 3), NOWHERE]


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|a)*b", "(a|b)*a" + "(a|b)" * 15, "(x+x+)+y", "((a?){50}){20}b"])
def test_effort(pattern: str) -> None:
    """A pattern that would take forever elsewhere takes time by its length, and is given up where that is too long."""
    effort = Effort(300_000)
    compiled = Pattern(pattern, False, False, effort)
    began = time.process_time()
    with pytest.raises(PatternError, match="too much time"):
        compiled.spans("a" * 100_000 + "x" * 100_000)
    assert time.process_time() - began < 5
