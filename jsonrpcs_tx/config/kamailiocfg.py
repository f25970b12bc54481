"""Reads a kamailio.cfg: the parameters that it sets for modules, as Kamailio itself would.

This imports neither Twisted nor anything slow, so that a command line can ask a kamailio.cfg where to connect to.

Read are C{loadmodule}, C{modparam}, C{modparamx}, the core's C{run_dir} and all that the preprocessor does. Everything
else is gone past, without a look at whether Kamailio would take it: routing blocks, and the other parameters of the
core. C{kamailio -c} tells about those.
"""

import os
import re
import stat
from collections.abc import Collection, Iterable, Mapping

from jsonrpcs_tx.config.kamailiolexer import DIRECTIVE, MOST_TEXT, SIGN, STRING, VARIABLE, WORD, Lexer, Place, Token
from jsonrpcs_tx.config.kamailiowords import KEYWORDS, NUMBERS
from jsonrpcs_tx.config.preprocessor import Preprocessor, Refused
from jsonrpcs_tx.errors import NotAllowed

CORE = "core"
"""What stands for the module of the core's own parameters."""

FRAGMENT = ("jsonrpcs", "dispatcher", "htable")
"""The modules that count as loaded in a file that loads none, so that C{modparam} lines alone are a file."""

DEFAULT_VERSION = "5.6.3"

_RUN_DIR = ("run_dir", "rundir")
_BEGINNINGS = frozenset(("modparam", "modparamx", "loadmodule", "loadmodulex", *_RUN_DIR))
_NUMBER = re.compile(r"(0x[0-9a-fA-F]+)|(0[0-7]+)|([01]+)b|(0|[1-9][0-9]*)")
_LARGEST = 2**31 - 1
_NOTHING = ("end", "the end of the file")


_LONGEST_MESSAGE = 600


class KamailioCfgError(NotAllowed):
    """A kamailio.cfg cannot be used.

    @ivar path: the file that is wrong, one that is included for example.
    @ivar line: the number of its line; 0 where it could not be read.
    """

    def __init__(self, path: str, line: int, reason: str, allowed: str) -> None:
        place = f"{path}: line {line}" if line else path
        super().__init__(_shown(f"{place}: {reason}"), _shown(allowed))
        self.path = path
        self.line = line


class Parameter:
    """A parameter that a kamailio.cfg sets. Immutable.

    @ivar module: the module; L{CORE} for C{run_dir}.
    @ivar name: of the parameter.
    @ivar value: a number of 32 bits, or a string. Bytes that are not UTF-8 are escaped as in names of files.
    @ivar path: the file that sets it.
    @ivar line: the number of the line, from 1 on.
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

    __delattr__ = __setattr__

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
) -> dict[str, list[Parameter]]:
    """Read a kamailio.cfg, and the files that it includes.

    Files are looked for as Kamailio does: from the working directory, then beside the file that names them.

    @param version: of Kamailio, C{5.6.3}: which C{KAMAILIO_...} are defined, and which directives there are.
    @param defines: more defines, as C{kamailio -A} takes them: C{NAME} or C{NAME=VALUE}.
    @param environment: for C{$env(NAME)} and C{#!defenv}.
    @param fragment: the modules that count as loaded if the file loads none.
    @return: by the name of each module that is loaded or has parameters, and L{CORE}, its parameters in their order.
        Of a parameter that is set more than once, most modules take the last value.
    @raise KamailioCfgError: a file cannot be read, or something that matters is wrong or cannot be evaluated.
    """
    return _Reader(os.fspath(path), version, defines, environment, fragment).read()


def read_version(text: str) -> tuple[int, int, int]:
    """The parts of the version of a Kamailio: C{5.6.3}.

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
    """What is in a file, at most a byte more than is allowed.

    @param regular: refuse what is not a regular file: a FIFO or device may never end.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK * regular)) as file:
        if regular and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Refused(f"{path} is not a regular file", "a regular file")
        return file.read(MOST_TEXT + 1) or b""  # nothing, where it would have to wait


class _Reader:
    """Reads one configuration: the statements, out of the tokens.

    @ivar preprocessor: what it knows so far.
    """

    def __init__(
        self,
        path: str,
        version: str,
        defines: Iterable[str],
        environment: Mapping[str, str],
        fragment: Collection[str],
    ) -> None:
        """See L{read}."""
        if "\0" in path:
            raise KamailioCfgError(path, 0, "is not the name of a file", "a readable kamailio.cfg")
        self._path = path
        self._fragment = fragment
        self._opened = 0
        self._loaded: dict[str, None] = {}
        self._found: dict[str, list[Parameter]] = {}
        self._place = Place("", 0)
        self._before: Place | None = None
        try:
            self.preprocessor = Preprocessor(read_version(version), environment)
            for name, value in _defines(defines):
                self.preprocessor.define(name, value)
        except Refused as refused:
            raise KamailioCfgError(path, 0, refused.reason, refused.allowed) from None
        self._lexer = Lexer(self.preprocessor, self._open, _BEGINNINGS, KEYWORDS)
        self._tokens = self._lexer.tokens(path)

    def _open(self, path: str) -> bytes:
        self._opened += 1
        return _content(path, regular=self._opened > 1)

    def read(self) -> dict[str, list[Parameter]]:
        path = self._path
        try:
            self._read()
        except OSError as error:
            raise KamailioCfgError(path, 0, str(error.strerror), "a readable kamailio.cfg") from None
        except Refused as refused:
            place = self._lexer.place
            raise KamailioCfgError(place.path or path, place.line, refused.reason, refused.allowed) from None
        return self._found

    def _read(self) -> None:
        blocks = 0
        for kind, text in self._tokens:
            if text == "{":
                blocks += 1
            elif text == "}":
                blocks -= 1
                if blocks < 0:
                    raise Refused("} without {", "one for each {")
            elif kind == DIRECTIVE or text in _BEGINNINGS:
                if blocks:
                    raise Refused(f"{text} is within a block", "one outside of { }")
                self._place = self._lexer.place
                self._lexer.reading = True
                self._statement(kind, text)
                self._lexer.reading = False
        if blocks:
            raise Refused("a block is not closed", "one } for each {")
        if self.preprocessor.open_conditions:
            reason = f"{self.preprocessor.open_conditions} of #!ifdef, #!ifndef and #!ifexp are not ended"
            raise Refused(reason, "#!endif for each, with nothing but blanks after it on a line that ends")

    def _statement(self, kind: str, text: str) -> None:
        if kind == DIRECTIVE:
            self._substitution(text)
        elif text in _RUN_DIR:
            self._sign("=", text)
            self._add(CORE, _RUN_DIR[0], self._string(text))
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
            raise Refused(f"{statement}: {sign!r} is missing before {text!r}", _FORMS[statement])

    def _string(self, statement: str) -> str:
        kind, text = self._next()
        if kind != STRING:
            raise Refused(f"{statement}: {text!r} is not a string", _FORMS[statement])
        return text

    def _value(self, statement: str) -> int | str:
        """A value; where pseudo-variables are allowed, with theirs."""
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
            raise Refused(f"{statement}: {text!r} has no value", "a number, a string or a define of one")
        if number > _LARGEST + negative:
            raise Refused(f"{statement}: {text} has more than 32 bits", f"-{_LARGEST + 1} to {_LARGEST}")
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
            raise Refused(f"{statement}: {text!r} is not a string", _FORMS[statement])
        if parentheses:
            sign = self._next()
            if sign == (SIGN, ","):
                self._string(statement)
                sign = self._next()
            if sign != (SIGN, ")"):
                raise Refused(f"{statement}: ')' is missing before {sign[1]!r}", _FORMS[statement])
        if statement == "loadmodulex":
            text = self.preprocessor.with_variables(text)
        name = text.rpartition("/")[2].removesuffix(".so")
        if not name:
            raise Refused(f"{statement}: {text!r} names no module", _FORMS[statement])
        if self._before is not None:
            reason = f"modparam before a module is loaded, as one is at {self._place}"
            raise KamailioCfgError(self._before.path, self._before.line, reason, "loadmodule first")
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
        value = self._value(statement)
        self._sign(")", statement)
        if statement == "modparamx":
            modules = self.preprocessor.with_variables(modules)
            name = self.preprocessor.with_variables(name)
        if not self._loaded and self._before is None:
            self._before = self._place
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
        parameter = Parameter(_decoded(module), _decoded(name), value, self._place.path, self._place.line)
        self._found.setdefault(parameter.module, []).append(parameter)


_FORMS = {
    "modparam": 'modparam("module", "name", value)',
    "modparamx": 'modparamx("module", "name", value)',
    "loadmodule": 'loadmodule "name.so"',
    "loadmodulex": 'loadmodulex "name.so"',
    "run_dir": 'run_dir = "/path"',
    "rundir": 'rundir = "/path"',
    "subst": '#!subst "/pattern/replacement/"',
    "substdef": '#!substdef "/NAME/value/"',
    "substdefs": '#!substdefs "/NAME/value/"',
}
"""What each statement looks like."""


def _number(text: str) -> int | None:
    """The value of a number or of a word that stands for one."""
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


def _decoded(text: str) -> str:
    """A text of bytes as a string."""
    return text.encode("latin-1").decode(errors="surrogateescape")


def _shown(text: str) -> str:
    """A part of a message, as one printable line that is not too long."""
    cut = text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."
    return cut if cut.isprintable() else cut.encode("unicode_escape").decode()
