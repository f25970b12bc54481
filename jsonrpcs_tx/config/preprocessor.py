"""What Kamailio's preprocessor knows while it reads a configuration: defines, substitutions, conditions.

It reads no files. Texts are those of L{jsonrpcs_tx.config.kamailiolexer}: each character is a byte. The directives are
those of the Core Cookbook, chapter "Config Pre-Processor Directives"; details are as Kamailio 5.6.3 does them.
"""

import re
from collections.abc import Mapping

TYPE_CHECKING = False  # that of typing; it takes time to import, as does what is imported below where it is needed
if TYPE_CHECKING:
    from jsonrpcs_tx.config.posixregex import Effort, Pattern, Spans

MOST_DEFINES = 2048
MOST_CONDITIONS = 512
MOST_SUBSTITUTIONS = 1000

MOST_REPLACED = 1022
"""Bytes that Kamailio has room for in place of one match."""

LONGEST_VALUE = 65_536
"""Characters of a string after substitutions."""

MOST_WORK = 100_000_000
"""Characters that are searched for substitutions in total, where each search counts 20 more."""

_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_VARIABLE = re.compile(r"\$(?:(\w+)\(([^()$]+)\)|\((\w+)\(([^()$]+)\)\)|(\$))", re.ASCII)


class Refused(Exception):
    """Something cannot be evaluated, or is not allowed.

    @ivar reason: what is wrong, in words.
    @ivar allowed: what is allowed, in words.
    """

    def __init__(self, reason: str, allowed: str) -> None:
        super().__init__(reason, allowed)
        self.reason = reason
        self.allowed = allowed


class _Substitution:
    """A C{#!subst}."""

    def __init__(self, pattern: "Pattern | str", replacement: tuple[str | int, ...], everywhere: bool) -> None:
        """@param pattern: what is replaced; a string stands for itself.
        @param replacement: texts, and numbers of groups.
        @param everywhere: all matches are replaced, not just the first one.
        """
        self._pattern = pattern
        self._replacement = replacement
        self._everywhere = everywhere

    def apply(self, text: str) -> str:
        """The text after the substitution.

        @raise Refused: a match is empty, the replacement too long, or it takes too much time.
        """
        done: list[str] = []
        start = 0
        while (spans := self._spans(text, start)) is not None:
            found, end = spans[0]
            if found == end:
                raise Refused("a #!subst matches nothing at all, and Kamailio ignores it", "one that matches something")
            replaced = "".join(
                part if isinstance(part, str) else _group(text, spans, part) for part in self._replacement
            )
            if len(replaced) > MOST_REPLACED:
                raise Refused("a #!subst has a replacement too long for Kamailio", f"up to {MOST_REPLACED} bytes")
            done += (text[start:found], replaced)
            start = end
            if not self._everywhere:
                break
        return "".join((*done, text[start:])) if start else text

    def _spans(self, text: str, start: int) -> "Spans | None":
        if isinstance(self._pattern, str):
            found = text.find(self._pattern, start)
            return None if found < 0 else [(found, found + len(self._pattern))]
        try:
            return self._pattern.spans(text, start, after_line=not start or text[start - 1] in "\r\n")
        except ValueError as error:
            raise Refused(f"the pattern of a #!subst {error}", "simpler patterns, or shorter strings") from None


def _group(text: str, spans: "Spans", number: int) -> str:
    """What a group has matched; empty if there is no group of that number."""
    start, end = spans[number] if number < len(spans) else (-1, -1)
    return "" if start < 0 else text[start:end]


class Preprocessor:
    """The state of the preprocessor.

    @ivar defines: the values of defines by name; None for one without a value.
    @ivar skipping: whether a condition leaves out what is read now.

    @param version: of Kamailio, C{(5, 6, 3)}.
    @param environment: of Kamailio's process, for C{$env(NAME)} and C{#!defenv}.
    """

    def __init__(self, version: tuple[int, int, int], environment: Mapping[str, str]) -> None:
        self.version = version
        self.defines: dict[str, str | None] = {}
        self.skipping: bool = False
        self._effort: Effort | None = None
        self._environment = environment
        self._substitutions: list[_Substitution] = []
        self._conditions: list[bool] = []
        self._work = 0
        for parts in (1, 2, 3):
            self.define("_".join(("KAMAILIO", *map(str, version[:parts]))))
        if self.has_expressions:
            major, minor, patch = version
            self.define("KAMAILIO_VERSION", str((major * 1000 + minor) * 1000 + patch))
            self.define("OS_NAME", '"linux"')

    @property
    def has_expressions(self) -> bool:
        """Whether the version has C{#!ifexp}, C{#!defexp} and C{loadmodule(...)}."""
        return self.version >= (5, 7, 0)

    # Defines

    def define(self, name: str, value: str | None = None, how: str = "define") -> None:
        """Define a name.

        @param value: None or empty: it has no value, and is replaced by nothing.
        @param how: C{define}; C{trydef}: unless it is defined; C{redefine}: even if it is.
        @raise Refused: it is defined already, or there are too many.
        """
        if name in self.defines and how != "redefine":
            if how == "trydef":
                return
            raise Refused(f"{name} is already defined", "#!redefine, or #!trydef to keep the first value")
        if len(self.defines) >= MOST_DEFINES:
            raise Refused("there are too many defines", f"up to {MOST_DEFINES:,}")
        self.defines[name] = value or None

    def define_from_environment(self, text: str, quoted: bool, required: bool) -> None:
        """Do C{#!defenv} and its variants.

        @param text: C{NAME} or C{NAME=VARIABLE}.
        @param quoted: enclose the value in quotes.
        @param required: the variable must be set.
        @raise Refused: it is not, or the name is defined already.
        """
        name, equals, variable = text.partition("=")
        if not name or (equals and not variable):
            raise Refused(f"#!defenv {text!r} is wrong", "NAME or NAME=VARIABLE")
        value = self._variable_of_environment(variable or name)
        if value is None:
            if required:
                raise Refused(f"the environment variable {variable or name} is not set", "one that is set")
            return
        self.define(name, f'"{value}"' if quoted else value)

    def _variable_of_environment(self, name: str) -> str | None:
        value = self._environment.get(name)
        return None if value is None else value.encode(errors="surrogateescape").decode("latin-1")

    def define_expression(self, name: str, text: str, quoted: bool) -> None:
        """Do C{#!defexp} and C{#!defexps}: define a name as the value of an expression.

        @raise Refused: the expression cannot be evaluated.
        """
        value = self._evaluate(text)
        shown = value if isinstance(value, str) else str(int(value))
        self.define(name, f'"{shown}"' if quoted else shown)

    def _evaluate(self, text: str) -> str | float:
        from jsonrpcs_tx.config import expressions

        try:
            return expressions.evaluate(text, self.defines)
        except expressions.ExpressionError as error:
            raise Refused(f"the expression {text.strip()!r}: {error}", "one that has a value") from None

    # Substitutions

    def add_substitution(self, text: str) -> None:
        """Do C{#!subst}.

        @param text: C{/pattern/replacement/flags}; any character may separate.
        @raise Refused: it has another form, or the pattern is not a POSIX extended regular expression.
        """
        separator = text[:1]
        form = "/pattern/replacement/flags with a separator of your choice, and the flags i, g, s"
        if len(text) < 3 or separator == "\\":
            raise Refused(f"substitution {text!r} is wrong", form)
        pattern, rest = _until(text[1:], separator)
        if rest is None:
            raise Refused(f"substitution {text!r} has no second {separator}", form)
        replacement, flags = self._replacement(rest, separator)
        if flags is None:
            raise Refused(f"substitution {text!r} has no third {separator}", form)
        unknown = re.search("[^igs]", flags)
        if unknown:
            raise Refused(f"substitution {text!r} has the unknown flag {unknown[0]!r}", form)
        if len(self._substitutions) >= MOST_SUBSTITUTIONS:
            raise Refused("there are too many substitutions", f"up to {MOST_SUBSTITUTIONS:,}")
        if "i" not in flags and re.fullmatch(r"[\w@%:/, -]+", pattern, re.ASCII):
            compiled: Pattern | str = pattern
        else:
            try:
                compiled = self.pattern(pattern, ignore_case="i" in flags, by_lines="s" not in flags)
            except ValueError as error:
                raise Refused(f"the pattern {pattern!r} {error}", "a POSIX extended regular expression") from None
        self._substitutions.append(_Substitution(compiled, replacement, "g" in flags))

    def pattern(self, text: str, ignore_case: bool, by_lines: bool = False) -> "Pattern":
        """A regular expression. All patterns that are made here share an effort.

        @raise ValueError: see L{jsonrpcs_tx.config.posixregex.Pattern}.
        """
        from jsonrpcs_tx.config.posixregex import Effort, Pattern

        if self._effort is None:
            self._effort = Effort()
        return Pattern(text, ignore_case, by_lines, self._effort)

    def _replacement(self, text: str, separator: str) -> tuple[tuple[str | int, ...], str | None]:
        """The parts of a replacement, and what follows its separator; None without one."""
        parts: list[str | int] = []
        position = 0
        while position < len(text):
            character = text[position]
            if character == "\\" and position + 1 < len(text):
                position += 1
                escaped = text[position]
                if escaped == "u":
                    raise Refused("\\u stands for the URI of a SIP request", "texts, \\0 to \\9, \\n, \\r, \\t, \\\\")
                parts.append(int(escaped) if escaped in "0123456789" else _ESCAPED.get(escaped, escaped))
            elif character == "$":
                value, position = self._variable(text, position)
                parts.append(value)
                continue
            elif character == separator:
                return tuple(parts), text[position + 1 :]
            else:
                parts.append(character)
            position += 1
        return tuple(parts), None

    def define_and_substitute(self, text: str, quoted: bool) -> None:
        """Do C{#!substdef} and C{#!substdefs}: a C{#!subst} whose pattern is also defined as its replacement.

        @param quoted: the value of the define is enclosed in quotes.
        @raise Refused: see L{add_substitution} and L{define}.
        """
        self.add_substitution(text)
        name, rest = _until(text[1:], text[0])
        value, _ = _until(rest or "", text[0])
        if not name:
            raise Refused(f"substitution {text!r} has no name", "#!substdef with /NAME/value/")
        value = self.with_variables(value)
        self.define(name, f'"{value}"' if quoted else value)

    def substituted(self, text: str) -> str:
        """A string after all substitutions so far, in their order.

        @raise Refused: the string gets too long, or a substitution cannot be applied.
        """
        for substitution in self._substitutions:
            self._work += len(text) + 20
            text = substitution.apply(text)
            if len(text) > LONGEST_VALUE:
                raise Refused("substitutions make a string too long", f"up to {LONGEST_VALUE:,} characters")
            if self._work > MOST_WORK:
                raise Refused("substitutions are too much work", "fewer of them, or shorter strings")
        return text

    # Pseudo-variables

    def with_variables(self, text: str) -> str:
        """A text with pseudo-variables replaced by their values.

        @raise Refused: one has no value before Kamailio runs.
        """
        parts: list[str] = []
        position = 0
        while (found := text.find("$", position)) >= 0:
            parts.append(text[position:found])
            value, position = self._variable(text, found)
            parts.append(value)
        parts.append(text[position:])
        return "".join(parts)

    def _variable(self, text: str, position: int) -> tuple[str, int]:
        """The value of the pseudo-variable at a position, and where it ends."""
        match = _VARIABLE.match(text, position)
        if match is None:
            shown = text[position : position + 20]
            raise Refused(f"the pseudo-variable {shown!r} has no value here", _VARIABLES)
        if match[5]:
            return "$", match.end()
        return self.variable(match[1] or match[3], match[2] or match[4]), match.end()

    def variable(self, name: str, argument: str) -> str:
        """The value of a pseudo-variable.

        @raise Refused: it has none before Kamailio runs.
        """
        value: str | None = None
        if name == "env":
            value = self._variable_of_environment(argument)
        elif name in ("def", "defn"):
            value = self.defines.get(argument)
            if name == "defn" and value is not None:
                value = value if re.fullmatch("[+-]?[0-9]+", value) else None
        if value is None:
            raise Refused(f"the pseudo-variable ${name}({argument}) has no value here", _VARIABLES)
        return value

    # Conditions

    def begin(self, directive: str, text: str) -> None:
        """Do C{#!ifdef}, C{#!ifndef} and C{#!ifexp}.

        @param text: the name, or the expression.
        @raise Refused: too many are open, or the expression cannot be evaluated.
        """
        if len(self._conditions) >= MOST_CONDITIONS:
            raise Refused("conditions are nested too deep", f"up to {MOST_CONDITIONS}")
        if directive == "ifexp":
            holds = not self.skipping and bool(self._evaluate(text))
        else:
            holds = (text in self.defines) == (directive == "ifdef")
        self._conditions.append(holds)
        self.skipping = not all(self._conditions)

    def otherwise(self) -> None:
        """Do C{#!else}.

        @raise Refused: no condition is open.
        """
        if not self._conditions:
            raise Refused("#!else without #!ifdef, #!ifndef or #!ifexp", "one after them")
        self._conditions[-1] = not self._conditions[-1]
        self.skipping = not all(self._conditions)

    def end(self) -> None:
        """Do C{#!endif}.

        @raise Refused: no condition is open.
        """
        if not self._conditions:
            raise Refused("#!endif without #!ifdef, #!ifndef or #!ifexp", "one for each of them")
        self._conditions.pop()
        self.skipping = not all(self._conditions)

    @property
    def open_conditions(self) -> int:
        """The number of conditions that are not ended."""
        return len(self._conditions)


_VARIABLES = "$env(NAME) of a variable that is set, $def(NAME), $defn(NAME) of a define with a value"


def _until(text: str, separator: str) -> tuple[str, str | None]:
    """The text before a separator that has no backslash before it, and the text after it; None without one."""
    for position, character in enumerate(text):
        if character == separator and (position == 0 or text[position - 1] != "\\"):
            return text[:position], text[position + 1 :]
    return text, None
