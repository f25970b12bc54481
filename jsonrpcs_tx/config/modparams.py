"""Settings from a kamailio.cfg: which parameters of which modules are settings here."""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from jsonrpcs_tx.config import kamailiocfg
from jsonrpcs_tx.config.files import ConfigError
from jsonrpcs_tx.config.kamailiocfg import CORE, KamailioCfgError, Parameter
from jsonrpcs_tx.config.settings import OWN_MODULE, Field, Settings, fields

_PLAIN: Final = Settings()

DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType(
    {"pretty_format": 1, "fifo_name": _PLAIN.fifo_name, "dgram_socket": _PLAIN.dgram_socket}
)
"""What holds with a kamailio.cfg that says nothing of it, as in Kamailio: in its code C{pretty_format} is 1, and there
are the FIFO and the socket, whatever other addresses are given.
"""

_NUMBER, _STRING, _EITHER = (int,), (str,), (int, str)

_TYPES: Final[Mapping[str, Mapping[str, tuple[type, ...]]]] = {
    CORE: {"run_dir": _STRING},
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
}
"""The parameters of Kamailio 5.6.3 with the types of their values, by module."""

_ONE_BY_ONE: Final = frozenset((("htable", "htable"),))
"""Kamailio's parameters that add something each time they are set; of all others the last value counts."""


@attrs.frozen
class Taken:
    """What a kamailio.cfg says about settings.

    @ivar path: the file.
    @ivar parameters: by the names of settings, what sets each, with file and line: one parameter, or as many as the
        setting has values.
    @ivar unknown: parameters that nobody knows, of modules that may have got them after Kamailio 5.6.
    """

    path: str
    parameters: Mapping[str, tuple[Parameter, ...]]
    unknown: tuple[Parameter, ...] = ()

    @property
    def values(self) -> dict[str, Any]:
        """The values by the names of settings, as L{jsonrpcs_tx.config.settings.from_values} takes them."""
        known = {field.name: field for field in fields()}
        return {
            name: [one.value for one in parameters] if known[name].kind.several else parameters[-1].value
            for name, parameters in self.parameters.items()
        }

    def place(self, name: str, value: object) -> str:
        """Where a setting is given a value, as the start of a message; empty, if that is not in the file."""
        ones = self.parameters.get(name, ())
        place = next((one for one in ones if one.value == value), ones[-1] if ones else None)
        return f"modparams: {place.path}: line {place.line}: " if place is not None else ""

    def of_families(self, load: Iterable[str]) -> "Taken":
        """Without the parameters of modules whose commands are not loaded.

        @param load: the setting C{load}.
        """
        wanted = {*load, OWN_MODULE, CORE}
        if "all" in wanted:
            return self
        kept = {name: ones for name, ones in self.parameters.items() if ones[-1].module in wanted}
        return attrs.evolve(self, parameters=kept)


def read_modparams(
    path: str,
    version: str = kamailiocfg.DEFAULT_VERSION,
    defines: Iterable[str] = (),
    modules: Collection[str] = (CORE, "dispatcher", "htable"),
) -> Taken:
    """Take settings from a kamailio.cfg: from its lines C{modparam("jsonrpcs", "name", value)}, and from those of other
    modules where they are settings here.

    @param version: of the Kamailio that the file is for.
    @param defines: C{NAME} or C{NAME=VALUE}, as C{kamailio -A} takes them.
    @param modules: the others whose parameters are taken; C{core} for its C{run_dir}.
    @raise ConfigError: the file cannot be read as Kamailio reads it, or one of these modules has no such parameter, or
        none for a value of that type.
    """
    try:
        read = kamailiocfg.read(path, version, defines)
        found = [one for module in _TYPES if module in {*modules, OWN_MODULE} for one in read.get(module, ())]
        return _taken(path, found, every_name_known=kamailiocfg.read_version(version) < (5, 7, 0))
    except KamailioCfgError as error:
        raise ConfigError(f"modparams: {error.reason}", error.allowed) from None


def _taken(path: str, found: Iterable[Parameter], every_name_known: bool) -> Taken:
    known = {field.name: field for field in fields() if field.module}
    parameters: dict[str, tuple[Parameter, ...]] = {}
    unknown: list[Parameter] = []
    for parameter in found:
        field = known.get(parameter.name)
        if parameter.module != CORE and field is not None and field.module != parameter.module:
            field = None
        types = _TYPES[parameter.module].get(parameter.name)
        if field is None and types is None:
            if parameter.module == OWN_MODULE or every_name_known:
                raise _refused(parameter, "no such setting", ", ".join(_names(parameter.module, known.values())))
            unknown.append(parameter)
        elif types is not None and not isinstance(parameter.value, types):
            raise _refused(parameter, f"{parameter.value!r} has the wrong type", _words(types))
        elif field is not None:
            adds = field.kind.several and (types is None or (parameter.module, parameter.name) in _ONE_BY_ONE)
            before = parameters.get(field.name, ()) if adds else ()
            parameters[field.name] = (*before, parameter)
    return Taken(path, parameters, tuple(unknown))


def _names(module: str, known: Iterable[Field]) -> list[str]:
    """The parameters that a module has."""
    return list(dict.fromkeys([*(field.name for field in known if field.module == module), *_TYPES[module]]))


def _words(types: tuple[type, ...]) -> str:
    return " or ".join({int: "a number", str: "a string in quotes"}[one] for one in types)


def _refused(parameter: Parameter, reason: str, allowed: str) -> ConfigError:
    place = f"{parameter.path}: line {parameter.line}: {parameter.name}"
    return ConfigError(f"modparams: {place}: {reason}", allowed)
