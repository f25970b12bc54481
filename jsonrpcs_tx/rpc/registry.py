"""Commands: the decorator that makes a function one, and the table of all."""

import inspect
import math
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, Final, TypeVar, get_args, get_origin

import attrs
from twisted.internet.defer import Deferred

from jsonrpcs_tx.access.roles import FOR_ADMIN, UNKNOWN, catalogued_effect
from jsonrpcs_tx.access.secrets import Concealment
from jsonrpcs_tx.catalogue import CHANGE, DANGER, READ
from jsonrpcs_tx.rpc.binding import JSON_NAMES, MISSING, Binding, Parameter, Text, hints_of, place_of
from jsonrpcs_tx.rpc.callparameter import CallParameter, call_parameter
from jsonrpcs_tx.rpc.errors import Error, error_of, with_data
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.likeness import likeness_of
from jsonrpcs_tx.rpc.results import check_result, check_result_with_bytes
from jsonrpcs_tx.rpc.structures import holds_bytes
from jsonrpcs_tx.state.places import place_outside

_TRUSTED: Final = frozenset(f"jsonrpcs_tx.commands.{family}" for family in ("core", "jsonrpc", "system"))
"""Modules with commands that return nothing but what they have made themselves, or what came as JSON."""

_PLAIN: Final = (str, bool, type(None))
"""The types of defaults that a description shows, besides finite numbers."""

MAX_SIGNATURES: Final = 256
"""Signatures that are remembered: large programs have many commands that are alike."""

_SIGNATURES: Final[dict[tuple[Hashable, tuple[str, ...] | None], "_Signature"]] = {}

_F = TypeVar("_F", bound=Callable[..., Any])
_ATTRIBUTE = "__jsonrpcs_commands__"


@attrs.frozen
class CommandOptions:
    """The options of the decorator; see L{command}."""

    name: str
    usage: Error | None
    interval: float
    lock: str | None
    timeout: float | None
    stateless: bool
    deprecated: str | None = None
    exec_delta: bool = False
    changes: bool = True
    secret: tuple[str, ...] | None = None
    faults: tuple[Error, ...] = ()


def command(
    name: str,
    *,
    usage: Fault | Error | None = None,
    interval: float = 0,
    lock: str | None = None,
    timeout: float | None = None,
    stateless: bool = False,
    deprecated: str | None = None,
    exec_delta: bool = False,
    changes: bool = True,
    secret: Sequence[str] | None = None,
    faults: Iterable[Fault | Error] = (),
) -> Callable[[_F], _F]:
    """Make a function or a method a command.

    The function has positional parameters, annotated with C{str}, L{Text}, C{int}, C{float}, C{bool}, C{None} or
    anything that msgspec converts: C{list[int]}, dataclasses, C{Annotated[int, Meta(ge=1)]}, or a union of these.
    Without an annotation, any string, number or boolean is taken; C{object} takes anything. A default makes a
    parameter optional, C{*args} takes the rest. One that is annotated with L{jsonrpcs_tx.Call} gets the call; clients
    do not see it. The function returns what JSON can express (str, int, float, bool, None, list, dict, and what msgspec
    makes of dataclasses and the like; bytes where its annotation says so), or raises L{Fault} or
    L{InvalidParams}. It is asynchronous if it is an C{async def} or its return annotation is a Deferred.
    The first paragraph of its docstring is what C{system.methodHelp} answers.

    The decorator can be stacked, to give a command several names.

    @param name: as clients call it, for example C{dispatcher.set_state}; case-sensitive.
    @param usage: the fault for a parameter that is missing or is not the string that is wanted; default: the
        dialect's Invalid Parameters.
    @param interval: the least time in seconds between two runs; a call that comes earlier is answered with 500
        "Command Executed Too Fast".
    @param lock: commands with the same lock never overlap: one that comes while another is in progress waits for it
        over HTTP(S), and is refused with 500 elsewhere.
    @param timeout: the most time in seconds that an asynchronous command may take, in place of the server's setting.
    @param stateless: it needs nothing of the process that it runs in but its parameters, so that any worker process
        may run it (setting C{dgram_workers}).
    @param deprecated: what to do in place of calling it, such as C{use shop.order}. The help says so, and the log names
        each caller once.
    @param exec_delta: the setting C{rpc_exec_delta} is its least interval (Kamailio's C{RPC_EXEC_DELTA}).
    @param changes: it changes something, whatever the parameters are, so that the audit log records each call of it;
        False for one that only reads.
    @param secret: the names of the parameters that the audit log must not show; C{()}: it may show all. Default: those
        that are named as secrets are, such as C{password}, C{api_key} or C{token}; see L{jsonrpcs_tx.access.secrets}.
    @param faults: those that it raises, for the description of the command in C{rpc.discover}; a text may be the
        beginning of what clients get.
    @raise ValueError: the name is not a string, is empty, or is not printable ASCII without blanks.
    @raise TypeError: when it decorates: another option is not of its type, or out of range, or what it decorates is not
        a function.
    """
    if not isinstance(name, str) or not name or not all("!" <= char <= "~" for char in name):
        if callable(name):
            raise TypeError(f"{place_of(name)}: @command without a name; allowed: @command(NAME)")
        place = place_outside(__name__)
        raise ValueError(f"command name {name!r:.100}: {place}: must be printable ASCII without blanks")

    def decorate(function: _F) -> _F:
        try:
            if not callable(function) and not isinstance(function, classmethod | staticmethod):
                raise TypeError(f"a {type(function).__name__} is not a command; allowed: a function or a method")
            options = CommandOptions(
                name,
                _usage_of(usage),
                interval,
                lock,
                timeout,
                stateless,
                deprecated,
                exec_delta,
                changes,
                _names(secret),
                _faults(faults),
            )
            _check_options(options)
            setattr(function, _ATTRIBUTE, (options, *getattr(function, _ATTRIBUTE, ())))
        except (TypeError, AttributeError) as error:
            raise TypeError(f"command {name}: {place_of(function)}: {error}") from None
        return function

    return decorate


def _check_options(options: CommandOptions) -> None:
    """@raise TypeError: one is not of its type, or out of range."""
    for name, wanted, fits in (
        ("interval", "a number of seconds, 0 or more", _is_number(options.interval) and options.interval >= 0),
        ("lock", "a string", options.lock is None or isinstance(options.lock, str)),
        (
            "timeout",
            "a number of seconds above 0",
            options.timeout is None or (_is_number(options.timeout) and options.timeout > 0),
        ),
        ("stateless", "True or False", isinstance(options.stateless, bool)),
        ("changes", "True or False", isinstance(options.changes, bool)),
        ("exec_delta", "True or False", isinstance(options.exec_delta, bool)),
        (
            "deprecated",
            "a string that says what to do instead",
            options.deprecated is None or (isinstance(options.deprecated, str) and options.deprecated != ""),
        ),
    ):
        if not fits:
            raise TypeError(f"{name}: must be {wanted}, not {getattr(options, name)!r:.60}")


def _names(secret: object) -> tuple[str, ...] | None:
    """@raise TypeError: it is not a sequence of names."""
    if secret is None:
        return None
    if isinstance(secret, list | tuple) and all(isinstance(name, str) for name in secret):
        return tuple(secret)
    raise TypeError(f"secret: must be a tuple of parameter names, not {secret!r:.60}")


def _usage_of(usage: object) -> Error | None:
    """@raise TypeError: it is not a valid fault."""
    return None if usage is None else _error("usage: must be a Fault with a code and a text", usage)


def _faults(faults: object) -> tuple[Error, ...]:
    """@raise TypeError: one is not a valid fault."""
    wanted = "faults: must be a tuple of Faults, each with a code and a text"
    if not isinstance(faults, list | tuple):
        raise TypeError(f"{wanted}, not {faults!r:.60}")
    return tuple(_error(wanted, fault) for fault in faults)


def _error(wanted: str, fault: object) -> Error:
    """@raise TypeError: it is not a valid fault."""
    if isinstance(fault, Error):
        return fault
    if isinstance(fault, Fault):
        with suppress(Exception):  # of a subclass, anything
            return with_data(error_of(fault), fault.data)
    raise TypeError(f"{wanted}, not {fault!r:.60}")


def _is_limited(options: CommandOptions) -> bool:
    return options.exec_delta or options.interval > 0 or options.lock is not None


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type] # it is one


@attrs.frozen(eq=False)
class Command:
    """A function under the name by which clients call it.

    @ivar asynchronous: its definition says that it answers later.
    @ivar call_parameter: the parameter in which it gets its L{jsonrpcs_tx.Call}; None without one.
    @ivar simple: nothing is to be done before it is called: it is not deprecated, and has neither a least interval, nor
        a lock, nor a parameter for its call.
    @ivar plain: it can just be called: it is simple, and not asynchronous.
    @ivar changes: see L{command}.
    @ivar concealment: says which of its parameters are secret.
    @ivar trusted: its result need not be checked.
    @ivar check_result: checks that JSON can express its result, see L{jsonrpcs_tx.rpc.results.check_result}.
    """

    name: str
    function: Callable[..., Any]
    binding: Binding
    call_parameter: CallParameter | None
    asynchronous: bool
    options: CommandOptions
    simple: bool
    plain: bool
    changes: bool
    concealment: Concealment
    trusted: bool
    check_result: Callable[[Any], None]

    @property
    def help(self) -> str:
        """The first paragraph of its docstring, on one line, and what to use instead if it is deprecated."""
        return _help(self.function, self.options)

    @property
    def family(self) -> str:
        """What its name has before the first dot; empty if there is none."""
        return self.name.rpartition(".")[0].partition(".")[0]

    @property
    def effect(self) -> str:
        """What it does: C{READ} if its decorator says that it changes nothing; else C{DANGER} if it has the name of a
        command of Kamailio's that is dangerous, or is in L{FOR_ADMIN}; else C{CHANGE}.
        """
        if not self.changes:
            return READ
        return DANGER if self.name in FOR_ADMIN or catalogued_effect(self.name) == DANGER else CHANGE

    @property
    def result(self) -> Any:
        """The annotation of its result; of what is awaited, C{int} for C{Deferred[int]}."""
        return _awaited(hints_of(self.function).get("return", Any))

    def shown_default(self, parameter: Parameter) -> object:
        """The default of an optional parameter, for descriptions; C{MISSING} if it is not shown: JSON cannot express
        it, or it is secret.
        """
        shown = not (parameter.required or self.concealment.hides(parameter.name)) and _is_shown(parameter.default)
        return parameter.default if shown else MISSING

    @property
    def defined(self) -> str:
        """Where its function is defined: the function, the file and the line."""
        return place_of(self.function)

    def signatures(self) -> list[list[str]]:
        """The type of the result and of each parameter, for each number of parameters, in XML-RPC's terms."""
        parameters = [*self.binding.parameters, *([] if self.binding.rest is None else [self.binding.rest])]
        names = [" or ".join(parameter.json_types()) for parameter in parameters]
        returned = _result_name(self.result)
        least = sum(parameter.required for parameter in self.binding.parameters)
        return [[returned, *names[:count]] for count in range(least, len(names) + 1)]

    def describe(self) -> dict[str, Any]:
        """All that is known of it, as plain data; see L{Registry.describe}."""
        hints = hints_of(self.function)
        given = inspect.signature(self.function).parameters
        parameters = []
        for parameter in self.binding.parameters:
            described = {
                "name": parameter.name,
                "type": _annotation(hints.get(parameter.name, Any)),
                "optional": not parameter.required,
                "variadic": False,
                "positional": given[parameter.name].kind is inspect.Parameter.POSITIONAL_ONLY,
            }
            if (default := self.shown_default(parameter)) is not MISSING:
                described["default"] = default
            parameters.append(described)
        if self.binding.rest is not None:
            name = self.binding.rest.name
            flags = {"optional": True, "variadic": True, "positional": True}
            parameters.append({"name": name, "type": _annotation(hints.get(name, Any)), **flags})
        return {
            "name": self.name,
            "family": self.family,
            "help": self.help,
            "deprecated": self.options.deprecated,
            "asynchronous": self.asynchronous,
            "changes": self.changes,
            "stateless": self.options.stateless,
            "interval": self.options.interval,
            "lock": self.options.lock,
            "timeout": self.options.timeout,
            "result": _annotation(self.result),
            "parameters": parameters,
        }


def _result_name(hint: Any) -> str:
    return JSON_NAMES.get(get_origin(hint) or hint, "any")


def _awaited(hint: Any) -> Any:
    """The type of the result, for the annotation of one that comes later."""
    while get_origin(hint) in (Deferred, Awaitable):
        hint = get_args(hint)[0]
    return hint


def _annotation(hint: Any) -> str:
    """An annotation as it is written in a program."""
    return "Text" if hint == Text else inspect.formatannotation(hint)


def _is_shown(default: object) -> bool:
    """Whether a description shows a default."""
    return type(default) in _PLAIN or _is_number(default)


def _help(function: Callable[..., Any], options: CommandOptions) -> str:
    text = " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())
    if options.deprecated is None:
        return text
    return f"{text} Deprecated: {options.deprecated}.".lstrip()


def _make(function: Callable[..., Any], options: CommandOptions) -> Command:
    """@raise TypeError: the function cannot be a command."""
    try:
        signature = _signature(function, options.secret)
    except (TypeError, ValueError) as error:
        raise TypeError(f"command {options.name}: {place_of(function)}: {error}") from None
    simple = not (_is_limited(options) or options.deprecated or signature.call_parameter)
    return Command(
        name=options.name,
        function=function,
        binding=signature.binding,
        call_parameter=signature.call_parameter,
        asynchronous=signature.asynchronous,
        options=options,
        changes=options.changes,
        concealment=signature.concealment,
        simple=simple,
        plain=simple and not signature.asynchronous,
        trusted=function.__module__ in _TRUSTED,
        check_result=signature.check_result,
    )


@attrs.frozen
class _Signature:
    """What the signature of a command's function says; see L{Command}."""

    binding: Binding
    call_parameter: CallParameter | None
    asynchronous: bool
    concealment: Concealment
    check_result: Callable[[Any], None]

    @classmethod
    def of(cls, function: Callable[..., Any], secret: tuple[str, ...] | None) -> "_Signature":
        """Read a signature.

        @param secret: the names of the secret parameters, see L{command}.
        @raise TypeError: the function cannot be a command.
        """
        _check_kind(function)
        hints = hints_of(function)
        hint, binding = hints.get("return"), Binding(function, hints)
        return cls(
            binding,
            call_parameter(function, hints),
            inspect.iscoroutinefunction(function) or (get_origin(hint) or hint) in (Deferred, Awaitable),
            _concealment(binding, secret),
            check_result_with_bytes if holds_bytes(_awaited(hint)) else check_result,
        )


def _signature(function: Callable[..., Any], secret: tuple[str, ...] | None) -> _Signature:
    """What the signature of a function says, read once for all functions that have the same.

    @raise TypeError: the function cannot be a command.
    """
    likeness = likeness_of(function)
    if likeness is None:
        return _Signature.of(function, secret)
    known = _SIGNATURES.get((likeness, secret))
    if known is None:
        known = _Signature.of(function, secret)
        if len(_SIGNATURES) >= MAX_SIGNATURES:
            _SIGNATURES.clear()
        _SIGNATURES[likeness, secret] = known
    return known


def _concealment(binding: Binding, secret: tuple[str, ...] | None) -> Concealment:
    """@raise TypeError: a parameter that is said to be secret does not exist."""
    names = [parameter.name for parameter in binding.parameters]
    rest = None if binding.rest is None else binding.rest.name
    for name in secret or ():
        if name not in (*names, rest):
            raise TypeError(f"secret: it has no parameter {name}")
    return Concealment(names, rest, secret)


def _check_kind(function: Any) -> None:
    """@raise TypeError: what it returns is not a result, but something to iterate over."""
    function = inspect.unwrap(function)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError('it yields; a command returns its result, or is an "async def" that awaits')


def _options(value: object) -> tuple[CommandOptions, ...]:
    """The options of the decorators of a function or static method; empty if it has none."""
    function = getattr(value, "__func__", value)
    found: tuple[CommandOptions, ...] = getattr(value, _ATTRIBUTE, ()) or getattr(function, _ATTRIBUTE, ())
    return found


def _declared(holders: Iterable[object]) -> dict[str, tuple[CommandOptions, ...]]:
    """The names of the commands' functions that modules or classes hold, later ones over earlier ones.

    @raise TypeError: one is the function of a property.
    """
    for value in (value for holder in holders for value in vars(holder).values()):
        if isinstance(value, property | cached_property):
            function = value.fget if isinstance(value, property) else value.func
            for option in _options(function):
                reason = "a property is not a command; allowed: a function or a method"
                raise TypeError(f"command {option.name}: {place_of(function)}: {reason}")
    return {name: _options(value) for holder in holders for name, value in vars(holder).items() if _options(value)}


def declares_stateless(source: object) -> bool:
    """Whether a function, module, class or instance holds a command that is declared free of state."""
    if inspect.ismodule(source):
        holders: Iterable[object] = [source]
    else:
        holders = source.__mro__ if inspect.isclass(source) else type(source).__mro__
    declared = [_options(source), *_declared(holders).values()]
    return any(option.stateless for options in declared for option in options)


def commands_of(source: object) -> list[Command]:
    """The commands that a source holds, in the order of their definition.

    @param source: a decorated function, or a module, class instance or other object with such functions or methods. A
        method that overrides a decorated one is that command; a function under several names is one.
    @raise TypeError: it holds no command, is a class, or one of the commands cannot be called by a client or is a
        property.
    """
    return [_make(function, options) for function, options in _functions_of(source)]


def _functions_of(source: object) -> list[tuple[Any, CommandOptions]]:
    """The functions that L{commands_of} makes commands of, each with what one of its decorators says.

    @raise TypeError: it holds no command, or is a class.
    """
    if inspect.isclass(source):
        names = [option.name for options in _declared(source.__mro__).values() for option in options]
        holds = f" that holds {', '.join(names)}" if names else ""
        raise TypeError(f"{place_of(source)} is a class{holds}; allowed: an instance of it, {source.__name__}(...)")
    if _options(source):
        functions: list[tuple[Any, tuple[CommandOptions, ...]]] = [(source, _options(source))]
    else:
        holders = [source] if inspect.ismodule(source) else [*reversed(type(source).__mro__)]
        named = [(getattr(source, name), options) for name, options in _declared(holders).items()]
        functions = list({getattr(found[0], "__func__", found[0]): found for found in named}.values())
    found = [(function, option) for function, options in functions for option in options]
    if not found:
        raise TypeError(f"{place_of(source)} holds no commands: no function in it is decorated with @command(NAME)")
    return found


class Registry(Mapping[str, Command]):
    """The table of all commands, by name. It may change at any time; a command in progress goes on to its end.

    @ivar table: the commands by name, for reading only.
    @ivar observers: called without arguments after each change.
    @ivar retired: names of commands that were declared free of state, and that were removed or replaced: what another
        process has under such a name is not valid any more.
    """

    def __init__(self, *sources: object) -> None:
        self.table: dict[str, Command] = {}
        self.observers: list[Callable[[], object]] = []
        self.retired: set[str] = set()
        for source in sources:
            self.add(source)

    def add(self, source: object, replace: bool = False) -> None:
        """Add the commands of a source; see L{commands_of}.

        @param replace: they replace commands of the same names.
        @raise ValueError: a name is already taken, and the message says by whom; then no command is added.
        """
        found: dict[str, Command] = {}
        for new in commands_of(source):
            other = found.get(new.name) or (None if replace else self.table.get(new.name))
            if other is not None:
                raise ValueError(f"command {new.name}: {new.defined} takes the name of {other.defined}")
            found[new.name] = new
        self._retire(found)
        self.table.update(found)
        self._tell()

    def remove(self, what: object) -> list[str]:
        """Remove commands.

        @param what: the name of a command; C{shop.*} for all of the family C{shop}; or a source whose commands were
            added, as for L{add}: those that others have replaced stay.
        @return: the names of the commands that were removed.
        @raise ValueError: there is no such command.
        """
        names = self._named(what) if isinstance(what, str) else self.names_of(what)
        if not names:
            raise ValueError(f"{what!r:.200}: no such command has been added; allowed: a name, FAMILY.*, or a source")
        self._retire(names)
        for name in names:
            del self.table[name]
        self._tell()
        return names

    def names_of(self, source: object) -> list[str]:
        """The names under which the commands of a source are in the table; those that others have replaced are not."""
        declared = {options.name: function for function, options in _functions_of(source)}
        return [name for name, function in declared.items() if name in self and self.table[name].function == function]

    def effect_of(self, method: str) -> str:
        """What a command does, for roles.

        @return: see L{Command.effect}; C{UNKNOWN} if there is no such command.
        """
        command = self.table.get(method)
        return UNKNOWN if command is None else command.effect

    def describe(self) -> list[dict[str, Any]]:
        """All commands, sorted by name, as data that JSON can express.

        @return: a dict for each, with

          - C{name}, C{family}, C{help}; C{deprecated}, what to do instead, or None;
          - C{asynchronous}, C{changes}, C{stateless}, C{interval} in seconds, C{lock} or None, C{timeout} in seconds or
            None: as the decorator has them, see L{command};
          - C{result}: the type of the result, as an annotation; of what is awaited, C{int} for C{Deferred[int]};
          - C{parameters}, in their order: C{name}; C{type}, as an annotation, of each value if it is C{variadic};
            C{optional}; C{variadic}, it takes all further values; C{positional}, it cannot be given by name; and
            C{default}, if JSON can express that.
        """
        return [self.table[name].describe() for name in sorted(self.table)]

    def _named(self, name: str) -> list[str]:
        if name.endswith(".*"):
            return [one for one, command in self.table.items() if command.family == name[:-2]]
        return [name] if name in self.table else []

    def _retire(self, names: Iterable[str]) -> None:
        self.retired.update(name for name in names if name in self.table and self.table[name].options.stateless)

    def _tell(self) -> None:
        for observer in tuple(self.observers):
            observer()

    def __getitem__(self, name: str) -> Command:
        return self.table[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)
