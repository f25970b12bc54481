"""Reads a kamailio.cfg: the parameters that it sets for modules, as Kamailio itself would.

This imports neither Twisted nor anything slow, so that a command line can ask a kamailio.cfg where to connect to.

Read are C{loadmodule}, C{modparam}, C{modparamx}, the core's C{run_dir} and C{rpc_exec_delta}, and all that the
preprocessor does. Everything else is skipped, without checking whether Kamailio would accept it: routing blocks, and
the other parameters of the core. C{kamailio -c} checks those.
"""

import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from jsonrpcs_tx.config.kamailiolexer import DIRECTIVE, MOST_TEXT, SIGN, STRING, VARIABLE, WORD, Lexer, Location, Token
from jsonrpcs_tx.config.kamailiowords import KEYWORDS, NUMBERS
from jsonrpcs_tx.config.preprocessor import Preprocessor, Refused
from jsonrpcs_tx.errors import ConfigError

CORE = "core"
"""Stands for the module of the core's own parameters."""

FRAGMENT = ("jsonrpcs", "dispatcher", "htable", "pv")
"""The modules that count as loaded in a file that loads none, so that C{modparam} lines alone are a file."""

DEFAULT_VERSION = "6.1.4"

_CORE_NAMES = {"run_dir": "run_dir", "rundir": "run_dir", "rpc_exec_delta": "rpc_exec_delta"}
"""The core's parameters that are read, as they are written, and their names."""

_BEGINNINGS = frozenset(("modparam", "modparamx", "loadmodule", "loadmodulex", *_CORE_NAMES))
_NEW = frozenset(("rpc_exec_delta",))
"""Those that Kamailio before 5.7 does not know."""

_NUMBER = re.compile(r"(0x[0-9a-fA-F]+)|(0[0-7]+)|([01]+)b|(0|[1-9][0-9]*)")
_LARGEST = 2**31 - 1
_NOTHING = ("end", "the end of the file")


_READABLE = "a readable kamailio.cfg"
_LONGEST_MESSAGE = 600


class KamailioCfgError(ConfigError):
    """A kamailio.cfg, or a file that it includes, cannot be used."""

    def __init__(self, reason: str, allowed: str, file: str, line: int | None = None) -> None:
        super().__init__(_shown(reason), _shown(allowed), file, line)


def _raise(error: KamailioCfgError) -> None:
    raise error


class Parameter:
    """A parameter that a kamailio.cfg sets. Immutable.

    @ivar module: the module; L{CORE} for the core.
    @ivar name: of the parameter.
    @ivar value: a number of 32 bits, or a string. Bytes that are not UTF-8 are escaped as in names of files.
    @ivar path: the file that sets it.
    @ivar line: the number of the line, counted from 1.
    """

    __slots__ = ("line", "module", "name", "path", "value")

    module: str
    name: str
    value: int | str
    path: str
    line: int

    def __init__(self, module: str, name: str, value: int | str, path: str, line: int) -> None:
        for attribute, given in (("module", module), ("name", name), ("value", value), ("path", path), ("line", line)):
            object.__setattr__(self, attribute, given)

    def __setattr__(self, name: str, *value: object) -> None:
        raise AttributeError(f"{name}: a parameter cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name}: a parameter cannot be changed")

    @property
    def _parts(self) -> tuple[object, ...]:
        return self.module, self.name, self.value, self.path, self.line

    def __eq__(self, other: object) -> bool:
        return type(other) is Parameter and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def __repr__(self) -> str:
        return f"<Parameter {self.module} {self.name}={self.value!r} at {self.path}: line {self.line}>"


def read(
    path: str | os.PathLike[str],
    version: str = DEFAULT_VERSION,
    defines: Iterable[str] = (),
    environment: Mapping[str, str] = os.environ,
    fragment: Collection[str] = FRAGMENT,
    note: Callable[[KamailioCfgError], None] = _raise,
) -> dict[str, list[Parameter]]:
    """Read a kamailio.cfg, and the files that it includes.

    Files are looked for where Kamailio looks: relative to the working directory, then beside the file that names them.

    @param version: of Kamailio, C{6.1.4}: which C{KAMAILIO_...} are defined, and which directives there are.
    @param defines: more defines, as C{kamailio -A} takes them: C{NAME} or C{NAME=VALUE}.
    @param environment: for C{$env(NAME)} and C{#!defenv}.
    @param fragment: the modules that count as loaded if the file loads none.
    @param note: takes what is wrong. If it raises nothing, reading goes on after the statement, or ends where it is
        unclear what follows.
    @return: by the name of each module that is loaded or has parameters, and L{CORE}, its parameters in their order.
        Of a parameter that is set more than once, most modules take the last value.
    @raise KamailioCfgError: a file cannot be read, or something that matters is wrong or cannot be evaluated.
    """
    return _Reader(os.fspath(path), version, defines, environment, fragment, note).read()


def read_version(text: str) -> tuple[int, int, int]:
    """The parts of a version of Kamailio: C{5.6.3}.

    @raise Refused: it has another form.
    """
    match = re.fullmatch(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})", text)
    if match is None:
        raise Refused(f"{text!r} is not a version of Kamailio", "three numbers, such as 5.6.3")
    return int(match[1]), int(match[2]), int(match[3])


def _defines(arguments: Iterable[str]) -> list[tuple[str, str]]:
    """The names and values of C{NAME} and C{NAME=VALUE}."""
    pairs = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if not name:
            raise Refused(f"the define {argument!r} has no name", "NAME or NAME=VALUE")
        pairs.append((name, value.encode(errors="surrogateescape").decode("latin-1")))
    return pairs


def _content(path: str, regular: bool = True) -> bytes:
    """The contents of a file, at most one byte more than is allowed.

    @param regular: refuse what is not a regular file: a FIFO or device may never end.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK * regular)) as file:
        if regular and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Refused(f"{path} is not a regular file", "a regular file")
        return file.read(MOST_TEXT + 1) or b""  # nothing, where it would have to wait


class _Reader:
    """Reads one configuration: makes statements of the tokens.

    @ivar preprocessor: what it knows so far.
    """

    def __init__(
        self,
        path: str,
        version: str,
        defines: Iterable[str],
        environment: Mapping[str, str],
        fragment: Collection[str],
        note: Callable[[KamailioCfgError], None] = _raise,
    ) -> None:
        """See L{read}."""
        self._path = path
        self._fragment = fragment
        self._note = note
        self._opened = 0
        self._ended = False
        self._loaded: dict[str, None] = {}
        self._found: dict[str, list[Parameter]] = {}
        self._location = Location("", 0)
        self._before: Location | None = None
        try:
            self.preprocessor = Preprocessor(read_version(version), environment)
            for name, value in _defines(defines):
                self.preprocessor.define(name, value)
        except Refused as refused:
            raise KamailioCfgError(refused.reason, refused.allowed, path) from None
        self._beginnings = _BEGINNINGS if self.preprocessor.has_expressions else _BEGINNINGS - _NEW
        self._lexer = Lexer(self.preprocessor, self._open, self._beginnings, KEYWORDS)
        self._tokens = self._all_tokens()

    def _open(self, path: str) -> bytes:
        self._opened += 1
        return _content(path, regular=self._opened > 1)

    def _all_tokens(self) -> Iterator[Token]:
        try:
            yield from self._lexer.tokens(self._path)
        except Refused:
            self._ended = True
            raise

    def read(self) -> dict[str, list[Parameter]]:
        try:
            self._read()
        except OSError as error:
            self._note(KamailioCfgError(str(error.strerror), _READABLE, self._path))
        except Refused as refused:
            self._refuse(refused, self._lexer.location)
        return self._found

    def _refuse(self, refused: Refused, location: Location) -> None:
        self._note(KamailioCfgError(refused.reason, refused.allowed, location.path or self._path, location.line))

    def _read(self) -> None:
        if "\0" in self._path:
            self._note(KamailioCfgError("is not the name of a file", _READABLE, self._path))
            return
        blocks = 0
        for kind, text in self._tokens:
            if text == "{":
                blocks += 1
            elif text == "}":
                blocks -= 1
                if blocks < 0:
                    raise Refused("} without {", "one for each {")
            elif kind == DIRECTIVE or text in self._beginnings:
                self._location = self._lexer.location
                self._try_statement(kind, text, blocks)
        if self._ended:
            return
        if blocks:
            raise Refused("a block is not closed", "one } for each {")
        if self.preprocessor.open_conditions:
            reason = f"{self.preprocessor.open_conditions} of #!ifdef, #!ifndef and #!ifexp are not ended"
            raise Refused(reason, "#!endif for each, with nothing but blanks after it on a line that ends")

    def _try_statement(self, kind: str, text: str, blocks: int) -> None:
        try:
            if blocks:
                raise Refused(f"{text} is within a block", "one outside of { }")
            self._lexer.reading = True
            self._statement(kind, text)
        except Refused as refused:
            self._refuse(refused, self._lexer.location)
        finally:
            self._lexer.reading = False

    def _statement(self, kind: str, text: str) -> None:
        if kind == DIRECTIVE:
            self._substitution(text)
        elif text in _CORE_NAMES:
            self._sign("=", text)
            name = _CORE_NAMES[text]
            self._add(CORE, name, self._string(text) if name == "run_dir" else self._value(text, text))
        elif text.startswith("loadmodule"):
            self._load_module(text)
        else:
            self._set_parameter(text)

    # The parts of statements

    def _next(self) -> Token:
        return next(self._tokens, _NOTHING)

    def _sign(self, sign: str, statement: str) -> None:
        kind, text = self._next()
        if (kind, text) != (SIGN, sign):
            raise Refused(f"{statement}: {sign!r} is missing before {_quoted(text)}", _FORMS[statement])

    def _string(self, statement: str) -> str:
        kind, text = self._next()
        if kind != STRING:
            raise Refused(f"{statement}: {_quoted(text)} is not a string", _FORMS[statement])
        return text

    def _value(self, statement: str, name: str) -> int | str:
        """The value of a parameter; where pseudo-variables are allowed, with theirs."""
        kind, text = self._next()
        if kind == STRING:
            return self.preprocessor.with_variables(text) if statement == "modparamx" else text
        if kind == VARIABLE and statement == "modparamx":
            return self.preprocessor.with_variables(text)
        negative = (kind, text) == (SIGN, "-")
        if negative:
            kind, text = self._next()
        number = _number(text) if kind == WORD else None
        if number is None:
            raise Refused(f"{name}: {_quoted(text)} has no value", "a number, a string or a define of one")
        if number > _LARGEST + negative:
            raise Refused(f"{name}: {text} has more than 32 bits", f"-{_LARGEST + 1} to {_LARGEST}")
        return -number if negative else number

    # Statements

    def _substitution(self, directive: str) -> None:
        text = self._string(directive)
        if directive == "subst":
            self.preprocessor.add_substitution(text)
        else:
            self.preprocessor.define_and_substitute(text, directive == "substdefs")

    def _load_module(self, statement: str) -> None:
        kind, text = self._next()
        parentheses = (kind, text) == (SIGN, "(") and self.preprocessor.has_expressions
        if parentheses:
            kind, text = self._next()
        if kind != STRING:
            raise Refused(f"{statement}: {_quoted(text)} is not a string", _FORMS[statement])
        if parentheses:
            sign = self._next()
            if sign == (SIGN, ","):
                self._string(statement)
                sign = self._next()
            if sign != (SIGN, ")"):
                raise Refused(f"{statement}: ')' is missing before {_quoted(sign[1])}", _FORMS[statement])
        if statement == "loadmodulex":
            text = self.preprocessor.with_variables(text)
        name = text.rpartition("/")[2].removesuffix(".so")
        if not name:
            raise Refused(f"{statement}: {text!r} names no module", _FORMS[statement])
        if self._before is not None:
            reason = f"modparam before a module is loaded, as one is at {self._location}"
            self._note(KamailioCfgError(reason, "loadmodule first", self._before.path, self._before.line))
            self._before = None
        if name in self._loaded:
            raise Refused(f"{statement}: {name} is already loaded", "each module once")
        self._loaded[name] = None
        self._found.setdefault(_decoded(name), [])
        self.preprocessor.define(f"MOD_{name}")

    def _set_parameter(self, statement: str) -> None:
        self._sign("(", statement)
        modules = self._string(statement)
        self._sign(",", statement)
        name = self._string(statement)
        self._sign(",", statement)
        value = self._value(statement, name)
        self._sign(")", statement)
        if statement == "modparamx":
            modules = self.preprocessor.with_variables(modules)
            name = self.preprocessor.with_variables(name)
        if not self._loaded and self._before is None:
            self._before = self._location
        for module in self._matching(modules):
            self._add(module, name, value)

    def _matching(self, modules: str) -> list[str]:
        """The loaded modules whose names a regular expression matches as a whole, whatever their case."""
        known = list(self._loaded or self._fragment)
        if re.fullmatch(r"\w+", modules, re.ASCII):
            matching = [module for module in known if module.lower() == modules.lower()]
        else:
            try:
                pattern = self.preprocessor.pattern(f"^({modules})$", ignore_case=True)
                matching = [module for module in known if pattern.spans(module) is not None]
            except ValueError as error:
                raise Refused(f"{modules!r} {error}", "a POSIX extended regular expression for modules") from None
        if not matching:
            raise Refused(f"no module matches {modules!r}", f"one that is loaded before: {', '.join(known)}")
        return matching

    def _add(self, module: str, name: str, value: int | str) -> None:
        value = _decoded(value) if isinstance(value, str) else value
        parameter = Parameter(_decoded(module), _decoded(name), value, self._location.path, self._location.line)
        self._found.setdefault(parameter.module, []).append(parameter)


_FORMS = {
    "modparam": 'modparam("module", "name", value)',
    "modparamx": 'modparamx("module", "name", value)',
    "loadmodule": 'loadmodule "name.so"',
    "loadmodulex": 'loadmodulex "name.so"',
    "run_dir": 'run_dir = "/path"',
    "rundir": 'rundir = "/path"',
    "rpc_exec_delta": "rpc_exec_delta = NUMBER",
    "subst": '#!subst "/pattern/replacement/"',
    "substdef": '#!substdef "/NAME/value/"',
    "substdefs": '#!substdefs "/NAME/value/"',
}
"""What each statement looks like."""


def _number(text: str) -> int | None:
    """The value of a number, or of a word that stands for one; None for others."""
    if text in NUMBERS:
        return NUMBERS[text]
    match = _NUMBER.fullmatch(text) if len(text) < 100 else None
    if match is None:
        return None
    hexadecimal, octal, binary, decimal = match.groups()
    if hexadecimal:
        return int(hexadecimal, 16)
    if octal:
        return int(octal, 8)
    return int(binary, 2) if binary else int(decimal)


def _quoted(text: str) -> str:
    """The text of a token, for messages."""
    return text if text == _NOTHING[1] else repr(text)


def _decoded(text: str) -> str:
    """Decode a text whose characters are bytes."""
    return text.encode("latin-1").decode(errors="surrogateescape")


def _shown(text: str) -> str:
    """A text for a message, as one printable line of limited length."""
    cut = text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."
    return cut if cut.isprintable() else cut.encode("unicode_escape").decode()
