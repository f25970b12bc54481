"""Settings from a kamailio.cfg: which parameters of which modules are settings here."""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from jsonrpcs_tx.config import kamailiocfg
from jsonrpcs_tx.config.kamailiocfg import CORE, Parameter
from jsonrpcs_tx.config.settings import OWN_MODULE, Settings, fields
from jsonrpcs_tx.config.sources import Given, Source, Sources, add_value
from jsonrpcs_tx.errors import ConfigError
from jsonrpcs_tx.problems import FIRST, Problems

_PLAIN: Final = Settings()

DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType(
    {"pretty_format": 1, "fifo_name": _PLAIN.fifo_name, "dgram_socket": _PLAIN.dgram_socket}
)
"""The defaults with a kamailio.cfg, as in Kamailio's code: C{pretty_format} is 1, and there are the FIFO and the
socket, whatever other addresses are given.
"""

VERSIONS: Final[Mapping[str, str]] = MappingProxyType({"5.6": "5.6.3", "6.1": "6.1.4"})
"""The versions of Kamailio that files are taken to be for without C{modparams_version}, by C{compatibility}."""

_NUMBER, _STRING, _EITHER = (int,), (str,), (int, str)

_TYPES: Final[Mapping[str, Mapping[str, tuple[type, ...]]]] = {
    CORE: {"run_dir": _STRING, "rpc_exec_delta": _NUMBER},
    OWN_MODULE: {
        **dict.fromkeys(("dgram_group", "dgram_user", "fifo_group", "fifo_user"), _EITHER),
        **dict.fromkeys(("dgram_socket", "fifo_name", "fifo_reply_dir"), _STRING),
        **dict.fromkeys(
            ("dgram_mode", "dgram_timeout", "dgram_workers", "fifo_mode", "pretty_format", "transport"), _NUMBER
        ),
    },
    "dispatcher": {
        **dict.fromkeys(
            (
                *("attrs_col", "attrs_pvname", "db_url", "destination_col", "ds_db_extra_attrs", "ds_default_socket"),
                *("ds_default_sockname", "ds_ping_from", "ds_ping_method", "ds_ping_reply_codes", "event_callback"),
                *("flags_col", "hash_pvar", "list_file", "outbound_proxy", "priority_col", "setid_col"),
                *("setid_pvname", "table_name", "xavp_ctx", "xavp_dst"),
            ),
            _STRING,
        ),
        **dict.fromkeys(
            (
                *("ds_attrs_none", "ds_dns_interval", "ds_dns_mode", "ds_dns_ttl", "ds_hash_check_interval"),
                *("ds_hash_expire", "ds_hash_initexpire", "ds_hash_size", "ds_inactive_threshold"),
                *("ds_latency_estimator_alpha", "ds_load_mode", "ds_ping_interval", "ds_ping_latency_stats"),
                *("ds_probing_mode", "ds_probing_threshold", "ds_timer_mode", "flags", "force_dst", "reload_delta"),
                *("use_default", "xavp_ctx_mode", "xavp_dst_mode"),
            ),
            _NUMBER,
        ),
    },
    "htable": {
        **dict.fromkeys(
            (
                *("array_size_suffix", "db_url", "event_callback", "expires_column", "htable", "key_name_column"),
                *("key_type_column", "key_value_column", "value_type_column"),
            ),
            _STRING,
        ),
        **dict.fromkeys(
            (
                *("db_expires", "dmq_init_sync", "enable_dmq", "event_callback_mode", "fetch_rows", "timer_interval"),
                "timer_procs",
            ),
            _NUMBER,
        ),
    },
    "pv": dict.fromkeys(("avp_aliases", "shvset", "varset"), _STRING),
}
"""The parameters of Kamailio 5.6.3, and the newer C{rpc_exec_delta}, with the types of their values, by module."""

_ONE_BY_ONE: Final = frozenset((("htable", "htable"), ("pv", "shvset")))
"""Kamailio's parameters that add a value each time they are set; of all others the last value counts."""


@attrs.frozen
class Taken:
    """What a kamailio.cfg says about settings.

    @ivar path: the file.
    @ivar given: the values by the names of settings, with their sources. They include names that are not settings, if a
        line for jsonrpcs has one.
    @ivar unknown: unknown parameters, of modules that may have got them after Kamailio 5.6.
    """

    path: str
    given: dict[str, Given]
    unknown: tuple[Parameter, ...] = ()

    def of_families(self, load: Iterable[str]) -> "Taken":
        """Without the parameters of modules whose commands are not loaded.

        @param load: the setting C{load}.
        """
        if "all" in load:
            return self
        left_out = {field.name for field in fields() if field.module not in {*load, OWN_MODULE}}
        return attrs.evolve(self, given={name: one for name, one in self.given.items() if name not in left_out})


def take(path: str, otherwise: Sources, defaults: Mapping[str, Any], problems: Problems = FIRST) -> Taken:
    """Take settings from a kamailio.cfg, as directed by the settings C{modparams_...} and C{load}, which are given
    elsewhere.

    @param otherwise: what is given elsewhere, and takes precedence.
    @param defaults: the values of settings that are given nowhere.
    @param problems: takes what is wrong.
    @raise JsonRpcsError: see L{read_modparams}; or one of these settings has a value that is not allowed.
    """
    names = ("compatibility", "modparams_version", "modparams_define", "modparams_modules")
    how = otherwise.only(names).settings(problems, {})
    version = how.modparams_version or VERSIONS[how.compatibility]
    taken = read_modparams(path, problems, version, how.modparams_define, how.modparams_modules)
    return taken.of_families(Sources(taken.given, otherwise.given).only(("load",)).settings(problems, defaults).load)


def read_modparams(
    path: str,
    problems: Problems = FIRST,
    version: str = kamailiocfg.DEFAULT_VERSION,
    defines: Iterable[str] = (),
    modules: Collection[str] = (CORE, "dispatcher", "htable", "pv"),
) -> Taken:
    """Take settings from a kamailio.cfg: from its lines C{modparam("jsonrpcs", "name", value)}, and from those of other
    modules where they are settings here.

    @param problems: takes what is wrong.
    @param version: of the Kamailio that the file is for.
    @param defines: C{NAME} or C{NAME=VALUE}, as C{kamailio -A} takes them.
    @param modules: the other modules whose parameters are taken; C{core} for those of the core.
    @raise ConfigError: the file cannot be read as Kamailio reads it, a value has a type that the parameter does not
        take, or a module other than jsonrpcs has no such parameter.
    """
    read = kamailiocfg.read(path, version, defines, note=problems.note)
    every_name_known = kamailiocfg.read_version(version) < (5, 7, 0)
    given: dict[str, Given] = {}
    unknown: list[Parameter] = []
    for parameter in (one for module in _TYPES if module in {*modules, OWN_MODULE} for one in read.get(module, ())):
        module, name = parameter.module, parameter.name
        types = _TYPES[module].get(name)
        if types is not None and not isinstance(parameter.value, types):
            problems.note(_refused(parameter, f"{parameter.value!r} has the wrong type", _words(types)))
        elif _is_setting(module, name):
            if types is not None and (module, name) not in _ONE_BY_ONE:
                given.pop(name, None)
            add_value(given, name, parameter.value, Source("modparam", parameter.path, parameter.line), _several(name))
        elif types is None and module != OWN_MODULE and not every_name_known:
            unknown.append(parameter)
        elif types is None:
            problems.note(_refused(parameter, f"no such parameter of {module}", ", ".join(_TYPES[module])))
    return Taken(path, given, tuple(unknown))


def _is_setting(module: str, name: str) -> bool:
    """Whether a parameter becomes a setting. Every parameter of jsonrpcs does: an unknown one is an error that says
    what was meant.
    """
    modules = {field.module for field in fields() if field.name == name}
    meant = module == OWN_MODULE and not modules and name.isidentifier()
    return meant or module in modules or (module == CORE and name in _TYPES[CORE])


def _several(name: str) -> bool:
    return any(field.kind.several for field in fields() if field.name == name)


def _words(types: tuple[type, ...]) -> str:
    return " or ".join({int: "a number", str: "a string in quotes"}[one] for one in types)


def _refused(parameter: Parameter, reason: str, allowed: str) -> ConfigError:
    name = parameter.name if parameter.name.isidentifier() else repr(parameter.name[:100])
    return ConfigError(f"{name}: {reason}", allowed, parameter.path, parameter.line)
