"""A command of Kamailio's, as a line of the catalogue describes it."""

READ = "read"
"""The effect of a command that only tells something."""
CHANGE = "change"
"""The effect of a command that changes something, sends something, or writes to the log or the database."""
DANGER = "danger"
"""The effect of a command that can end calls, connections or processes, or overwrite a file that the caller names."""
EFFECTS = (READ, CHANGE, DANGER)
"""What a command can do, the least harm first."""
EACH = "each"
"""Of a command that changes something: every call of it is run."""
SHARED = "shared"
"""Of a command that loads again what stands elsewhere, and so may be run once for all who ask for it together: one run
does what many would, and it does not matter in which order such commands are run.
"""
RUNS = (EACH, SHARED)
"""How often a command that changes something is run. (One that reads may be run once for all, or again.)"""


class Parameter:
    """A parameter of a command.

    @ivar name: what the help calls it.
    @ivar type: C{int}, C{uint} (not below 0), C{float}, C{str} (a number is refused), C{any} (a text; a number is taken
        for one), or C{int/str} (what the other parameters ask for).
    @ivar optional: whether it may be left out.
    @ivar repeated: whether it may come any number of times; the last one only.
    @ivar values: the usual values; empty if there are too many to list.
    @ivar source: what a server can list the values of: C{cfg-group}, C{cfg-variable}, C{cnt-group}, C{cnt-variable},
        C{destination}, C{method}, C{module}, C{set}, C{shv}, C{statistic}, C{table}; or an empty string.
    """

    __slots__ = ("name", "optional", "repeated", "source", "type", "values")

    name: str
    type: str
    source: str

    def __init__(self, notation: str) -> None:
        """@param notation: C{name:type}, with C{=value,value} or C{@source}, with C{...} if repeated, in brackets if
        optional.
        """
        self.optional: bool = notation.startswith("[")
        notation = notation.strip("[]")
        self.repeated: bool = notation.endswith("...")
        notation = notation.removesuffix("...")
        notation, _, self.source = notation.partition("@")
        notation, _, values = notation.partition("=")
        self.values: tuple[str, ...] = tuple(values.split(",")) if values else ()
        self.name, _, self.type = notation.partition(":")

    def __str__(self) -> str:
        """How a usage line shows it: C{NAME}, C{[NAME]}, C{NAME...}."""
        shown = self.name.upper() + ("..." if self.repeated else "")
        return f"[{shown}]" if self.optional else shown


class Entry:
    """A command.

    @ivar method: its name.
    @ivar modules: the modules that have a command of this name; often one, C{core} for the core.
    @ivar array: whether the result is an array, whatever the number of its values.
    @ivar delta: whether Kamailio can hold it to a least interval between two runs (C{rpc_exec_delta}).
    @ivar interval: whether its module refuses it, before it does anything, for some seconds after the last run of one
        of its commands with this mark: C{reload_delta} of dispatcher, permissions, dialplan and secfilter, the delay of
        rtpengine.
    @ivar effect: C{READ}, C{CHANGE} or C{DANGER}; the gravest of what it can do with any parameters.
    @ivar runs: C{EACH} or C{SHARED}; empty for one that reads.
    @ivar parameters: the parameters in their order.
    @ivar help: what it does, a sentence.
    """

    __slots__ = ("array", "delta", "effect", "help", "interval", "method", "modules", "parameters", "runs")

    method: str
    effect: str
    runs: str
    help: str

    def __init__(self, line: str) -> None:
        """@param line: A line of the catalogue, without its end."""
        self.method, modules, flags, self.effect, self.runs, parameters, self.help = line.split("\t")
        self.modules: tuple[str, ...] = tuple(modules.split(","))
        self.array: bool = "array" in flags
        self.delta: bool = "delta" in flags
        self.interval: bool = "interval" in flags
        self.parameters: tuple[Parameter, ...] = tuple(Parameter(notation) for notation in parameters.split())

    def parameter(self, position: int) -> Parameter | None:
        """The parameter at a position from 0 on, where the last one may stand for any number; None if there is none."""
        if position < len(self.parameters):
            return self.parameters[position]
        return self.parameters[-1] if self.parameters and self.parameters[-1].repeated else None

    @property
    def usage(self) -> str:
        """The method with its parameters: C{htable.get TABLE KEY}."""
        return " ".join((self.method, *map(str, self.parameters)))
