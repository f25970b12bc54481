"""The catalogue says of each command of Kamailio what its exports and documents say."""

import re
import subprocess
import sys
from collections.abc import Iterator

import attrs
import pytest
from twisted.internet import reactor

from jsonrpcs_tx import Settings, catalogue, makeService
from jsonrpcs_tx.catalogue import CHANGE, DANGER, EACH, EFFECTS, READ, RUNS, SHARED, Entry
from jsonrpcs_tx.catalogue.entries import Parameter
from tests.support import REPOSITORY

SOURCES = {
    "cfg-group",
    "cfg-variable",
    "cnt-group",
    "cnt-variable",
    "destination",
    "method",
    "module",
    "set",
    "shv",
    "statistic",
    "table",
}
"""Where a server can be asked for values."""
TYPES = {**dict.fromkeys("dltbjLJ", "int"), "u": "uint", "f": "float", "s": "str", "S": "str"}
"""The types of the letters of a scan format."""
SCANNED_OTHERWISE = {
    "cfg.set": "the value is scanned as d or as s, by the type of the variable",
    "cfg.set_delayed": "the same",
    "core.kill": "without a signal it is 15",
    "core.sfmalloc": "without a pool it is all",
    "cpl.load": "two scans of the same format",
    "dlg.bridge_dlg": "two scans of the same format",
    "dlg.briefing": "without attributes it shows the usual ones",
    "lcr.dump_rules": "without parameters it shows all rules",
    "mod.mem_stats": "two scans of the same format",
    "mod.mem_statsx": "two scans of the same format",
    "mod.stats": "two scans of the same format",
    "permissions.allowUri": "three scans of the same format",
    "permissions.testUri": "three scans of the same format",
    "pike.list": "without a filter it shows those that are hot",
    "pike.top": "the same",
    "pkg.stats": "the number goes with the filter",
    "pv.shvGet": "without a name it shows all variables",
    "pv.shvSet": "the value is scanned by the type before it",
    "secfilter.print": "without a type it shows all",
    "stats.clear_statistics": "scanned until there are no more",
    "stats.fetch": "the same",
    "stats.fetchn": "the same",
    "stats.get_statistics": "the same",
    "stats.reset_statistics": "the same",
    "system.methodSignature": "our server does what Kamailio has not implemented",
    "tm.reply": "scans of the same format",
    "tm.reply_callid": "scans of the same format",
    "tm.retransmit_reply_callid": "two scans of the same format",
    "ul.lookup": "two scans of the same format",
    "userblocklist.check_userallowlist": "the domain before the prefix may be left out",
    "userblocklist.check_userblocklist": "the same",
}
"""Commands whose formats do not show all their parameters as they are: the exports list each format once."""


@attrs.frozen
class Export:
    """A command as Kamailio's sources export it."""

    method: str
    module: str
    flags: str
    scan: str


def exports() -> list[Export]:
    """What the sources of Kamailio 6.2 export; a line for each module that has a command."""
    lines = (REPOSITORY / "tests" / "data" / "catalogue.tsv").read_text().splitlines()[1:]
    return [Export(*line.split("\t")) for line in lines]


def entries() -> list[Entry]:
    """The whole catalogue."""
    return [entry for method in catalogue.methods() if (entry := catalogue.find(method))]


def scanned(formats: str) -> Iterator[tuple[str, bool]]:
    """The type of each parameter that scan formats ask for, and whether it may be left out."""
    for call in formats.split(" | "):
        optional = text = False
        for letter in call:
            if letter == "*":
                optional = True
            elif letter == ".":
                text = True
            else:
                kind = TYPES[letter]
                yield "any" if text and kind == "str" else kind, optional
                text = False


def test_lists_all() -> None:
    """The catalogue has each command that is exported, once and sorted, and no other."""
    assert list(catalogue.methods()) == sorted({export.method for export in exports()})
    assert [entry.method for entry in entries()] == list(catalogue.methods())


def test_nothing_undecided() -> None:
    """The effect of each command is one of the three, and each has a sentence of help that fits into a line."""
    for entry in entries():
        assert entry.effect in EFFECTS, entry.method
        assert re.fullmatch(r"[A-Z][^\n]{8,118}\.", entry.help), entry.method


def test_agrees_with_exports() -> None:
    """Modules and flags are those of the exports."""
    exported: dict[str, list[Export]] = {}
    for export in exports():
        exported.setdefault(export.method, []).append(export)
    for entry in entries():
        named = exported[entry.method]
        assert list(entry.modules) == [export.module for export in named], entry.method
        assert entry.array == any("array" in export.flags for export in named), entry.method
        assert entry.delta == any("delta" in export.flags for export in named), entry.method


def test_parameters_are_scanned() -> None:
    """The types of parameters, and which may be left out, are those of the scan formats, but for those listed above."""
    for export in exports():
        entry = catalogue.find(export.method)
        assert entry
        listed = [(parameter.type, parameter.optional) for parameter in entry.parameters]
        formats = list(scanned(export.scan))
        assert (listed == formats) == (export.method not in SCANNED_OTHERWISE), (entry.usage, export.scan)
        kinds = {kind for kind, _ in formats} | ({"int/str"} if len(formats) > 1 else set())
        assert {kind for kind, _ in listed} <= kinds or export.method == "system.methodSignature", entry.usage


def test_parameters() -> None:
    """Parameters have names of their own, the optional ones come last, only the last repeats, and each source of values
    is one that can be asked.
    """
    for entry in entries():
        names = [parameter.name for parameter in entry.parameters]
        assert all(re.fullmatch(r"[a-z]\w*", name) for name in names), entry.usage
        assert len(set(names)) == len(names), entry.usage
        optional = [parameter.optional for parameter in entry.parameters]
        assert optional == sorted(optional), entry.usage
        assert not any(parameter.repeated for parameter in entry.parameters[:-1]), entry.usage
        for parameter in entry.parameters:
            assert parameter.source in SOURCES | {""}, entry.usage
            assert parameter.type in {"int", "uint", "float", "str", "any", "int/str"}, entry.usage
            assert not (parameter.source and parameter.values), entry.usage


@pytest.mark.parametrize(
    ("method", "effect"),
    [
        ("core.uptime", READ),
        ("dispatcher.set_state", CHANGE),
        ("dispatcher.reload", CHANGE),
        ("core.kill", DANGER),
        ("dlg.terminate_dlg", DANGER),
        ("corex.debug", CHANGE),  # shows the level, or sets it
        ("dns.stats_get", CHANGE),  # shows a counter, and can reset it
        ("mqueue.fetch", CHANGE),  # takes an item out
        ("ulscscf.snapshot", DANGER),  # overwrites a file, or crashes
        ("shm.rprint", DANGER),  # overwrites a file
        ("dlg.set_state", DANGER),  # drops a call without accounting
    ],
)
def test_effects(method: str, effect: str) -> None:
    """A command counts as the gravest that it can do."""
    entry = catalogue.find(method)
    assert entry is not None
    assert entry.effect == effect


def test_runs_decided() -> None:
    """Of each command that changes something it is decided whether one run does for all who ask for it together."""
    for entry in entries():
        assert (entry.runs in RUNS) == (entry.effect != READ), entry.method
        assert entry.runs in (*RUNS, ""), entry.method


def test_shared_are_reloads() -> None:
    """What is shared only reloads what is kept elsewhere, the whole or a part of it; and all that does so is shared."""
    loading = re.compile(r"^Reloads |^Fetches .* again")
    shared = {entry.method for entry in entries() if entry.runs == SHARED}
    assert shared == {entry.method for entry in entries() if entry.effect != READ and loading.match(entry.help)}
    assert {"dispatcher.reload", "permissions.trustedReload", "cr.reload_routes", "uac.reg_reload"} <= shared
    for method in ("dispatcher.set_state", "htable.flush", "htable.store", "cfg.commit", "stats.reset_statistics"):
        entry = catalogue.find(method)
        assert entry
        assert entry.runs == EACH, method


def test_intervals() -> None:
    """What a module may refuse for having come too soon changes something."""
    found = {entry.method for entry in entries() if entry.interval}
    assert found == {
        *("dialplan.reload", "dispatcher.add", "dispatcher.reload", "dispatcher.remove"),
        *("permissions.addressReload", "permissions.trustedReload", "rtpengine.reload", "secfilter.reload"),
    }


def test_reading_is_safe() -> None:
    """No command counts as reading whose name says that it does something."""
    doing = re.compile(r"[._](re)?(add|clean|del|drop|end|flush|kill|load|pause|re(load|set|move)|rm|set|store)(_|$)")
    harmless = {
        "app_perl.get_reset_cycles",  # after how many runs there is a restart
        "gflags.is_set",
        "lcr.load_gws",  # which would be loaded for a call
    }
    assert {entry.method for entry in entries() if entry.effect == READ and doing.search(entry.method)} == harmless


def test_our_commands_agree() -> None:
    """What the catalogue demands is enough for a command of ours that has the name of one of Kamailio's."""
    registry = makeService(Settings(), reactor).registry
    for method in set(registry) & set(catalogue.methods()):
        entry = catalogue.find(method)
        assert entry
        demanded = sum(not parameter.optional for parameter in entry.parameters)
        taken = registry[method].binding.parameters
        assert sum(parameter.required for parameter in taken) <= demanded or method == "system.methodSignature"


def test_usage() -> None:
    """The usage shows optional and repeated parameters as such."""
    assert usage("dispatcher.add") == "dispatcher.add SET DESTINATION [FLAGS] [PRIORITY] [ATTRIBUTES]"
    assert usage("core.echo") == "core.echo [VALUE...]"
    assert usage("core.uptime") == "core.uptime"


def usage(method: str) -> str:
    entry = catalogue.find(method)
    assert entry
    return entry.usage


def test_parameter_at() -> None:
    """The last parameter stands for all that follow if it repeats."""
    echo, state = catalogue.find("core.echo"), catalogue.find("dispatcher.set_state")
    assert echo
    assert state
    assert echo.parameter(7) is echo.parameters[0]
    assert state.parameter(1) is state.parameters[1]
    assert state.parameter(3) is None
    assert [parameter.source for parameter in state.parameters] == ["", "set", "destination"]
    assert "ap" in state.parameters[0].values


def test_notation() -> None:
    """Names, types, values and sources are read from the notation."""
    parameter = Parameter("[unit:str=b,k...]")
    assert (parameter.name, parameter.type, parameter.values) == ("unit", "str", ("b", "k"))
    assert (parameter.optional, parameter.repeated, parameter.source) == (True, True, "")
    assert str(parameter) == "[UNIT...]"


@pytest.mark.parametrize("method", ["", "core", "core.uptim", "core.uptime\tcore", "core.uptime\n", "CORE.UPTIME", "é"])
def test_finds_no_other(method: str) -> None:
    """Only an exact name is found."""
    assert catalogue.find(method) is None


@pytest.mark.parametrize(
    ("written", "first"),
    [
        ("core.uptme", "core.uptime"),
        ("dispacher.list", "dispatcher.list"),
        ("htable.listtables", "htable.listTables"),
        ("set_state", "dispatcher.set_state"),
        ("uptime", "core.uptime"),
        ("core.ping", "core.uptime"),
        ("ul.show", "ul.dump"),
        ("DISPATCHER.LIST", "dispatcher.list"),
        ("dispatcher_list", "dispatcher.list"),
    ],
)
def test_nearest(written: str, first: str) -> None:
    """The name that was meant comes first."""
    assert catalogue.nearest(written)[0] == first


def test_nearest_among() -> None:
    """Where a server has told its methods, only these are named."""
    assert catalogue.nearest("ul.show", among=("ul.shown", "x.y")) == ["ul.shown"]
    assert catalogue.nearest("core.uptme", among=("Core.Uptime",)) == ["Core.Uptime"]


@pytest.mark.parametrize("written", ["", "xyz", "\0", "x" * 1_000_000, "." * 1000])
def test_nothing_near(written: str) -> None:
    """What is like nothing gets no names."""
    assert catalogue.nearest(written) == []


def test_imports_little() -> None:
    """The catalogue can be asked without importing anything large."""
    code = (
        "import sys, types; package = types.ModuleType('jsonrpcs_tx'); package.__path__ = ['jsonrpcs_tx'];"
        "sys.modules['jsonrpcs_tx'] = package; from jsonrpcs_tx import catalogue;"
        "assert catalogue.find('core.uptime') and catalogue.methods();"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    large = {"attr", "attrs", "msgspec", "twisted", "difflib", "inspect", "typing", "json"}
    assert not large & set(done.stdout.split())
