"""The faults that commands say they raise are those that they raise."""

import json
from typing import Any

import pytest

from jsonrpcs_tx import JsonRpcService, Settings, makeService

CALLS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "cfg.help": (("no", "no"),),
    "cfg.get": (("core", "no"), ("x[y]",)),
    "cfg.set": (("core", "no", 1), ("x[y]", "a", 1)),
    "cfg.seti": (("core", "no", 1), ("x[y]", "a", 1)),
    "cfg.sets": (("core", "debug", "x"), ("x[y]", "a", "1")),
    "cfg.set_delayed": (("core", "no", 1), ("x[y]", "a", 1)),
    "cfg.reset": (("no",), ("x[y]",)),
    "cfg.del": (("core", "debug"), ("core[1]", "no")),
    "cfg.del_delayed": (("core", "debug"), ("core[1]", "no")),
    "cfg.add_group_inst": (("core",), ("no[1]",)),
    "cfg.del_group_inst": (("core",), ("no[1]",)),
    "cnt.get": (("no", "no"),),
    "cnt.get_raw": (("no", "no"),),
    "cnt.reset": (("no", "no"),),
    "cnt.help": (("no", "no"),),
    "core.sfmalloc": ((),),
    "core.shmmem": (("x",),),
    "dispatcher.oclist": ((9,),),
    "dispatcher.set_state": (("", 1, "a"), ("x", 1, "a"), ("a", 1, "a")),
    "dispatcher.set_duid_state": (("", 1, "a"), ("x", 1, "a")),
    "dispatcher.reload": ((),),
    "dispatcher.add": ((1, "no"), (1, "sip:192.0.2.1"), (1, "sip:192.0.2.2")),
    "dispatcher.remove": ((1, "sip:192.0.2.1"), (1, "sip:192.0.2.1")),
    "htable.get": (("no", "a"), ("t", "a"), ("t",)),
    "htable.sets": (("no", "a", "b"), ("t",)),
    "htable.seti": (("no", "a", 1),),
    "htable.setxs": (("no", "a", "b", 1),),
    "htable.setxi": (("no", "a", 1, 1),),
    "htable.setex": (("no", "a", 1),),
    "htable.delete": (("no", "a"), ("t", "a")),
    "htable.flush": (("no",), ()),
    "htable.dump": (("no",),),
    "htable.dmqsync": ((),),
    "htable.dmqresync": ((),),
    "htable.store": (("no",), ("t",)),
    "htable.reload": (("no",), ("t",)),
    "mod.stats": ((), ("all",), ("all", "pkg")),
    "modparam.list": (("no",),),
    "modparam.getn": (("no", "a"), ("jsonrpcs", "no"), ("jsonrpcs", "fifo_name")),
    "modparam.gets": (("no", "a"), ("jsonrpcs", "no"), ("jsonrpcs", "transport")),
    "modparam.setn": (
        ("no", "a", 1),
        ("jsonrpcs", "no", 1),
        ("jsonrpcs", "fifo_name", 1),
        ("jsonrpcs", "transport", 1),
    ),
    "pkg.stats": (("no", 1), ("pid",), ("pid", 1)),
    "pv.shvGet": (("no",),),
    "pv.shvSet": ((), ("no",), ("no", "int", 1), ("no", "int"), ("no", "str"), ("no", "x", 1)),
    "rpc.discover": (("no",),),
    "system.methodHelp": (("no",), ()),
    "system.methodSignature": (("no",), ()),
    "tls.reload": ((),),
    "tls.kill": ((1,),),
}
"""Calls that fail, by the command."""


def call(service: JsonRpcService, method: str, *params: Any) -> Any:
    document = {"jsonrpc": "2.0", "method": method, "params": list(params), "id": 1}
    return json.loads(service.jsonrpc_exec(json.dumps(document)).body)


@pytest.fixture(scope="module")
def service() -> JsonRpcService:
    return makeService(Settings(load=["all"], htable=["t=>size=4;"], reload_delta=1000))


def test_every_fault(service: JsonRpcService) -> None:
    """What a call fails with is in the description, by code and by how its text begins; each text is seen."""
    described = call(service, "rpc.discover")["result"]["methods"]
    errors = {
        method["name"]: {one["code"]: one["message"].split("; or ") for one in method["errors"]} for method in described
    }
    seen: set[tuple[str, str]] = set()
    for method, calls in CALLS.items():
        for params in calls:
            error = call(service, method, *params).get("error")
            if error is None:
                continue
            texts = [text for text in errors[method][error["code"]] if error["message"].startswith(text)]
            assert texts, (method, params, error, errors[method])
            seen.update((method, text) for text in texts)
    without_file = {
        *((f"htable.{name}", "No such htable") for name in ("store", "reload")),
        ("dispatcher.reload", "Ongoing reload"),
    }
    declared = {
        (name, fault.text)
        for name in CALLS
        for fault in service.registry[name].options.faults
        if not is_rare(fault.text)
    }
    assert declared - seen == without_file


def is_rare(text: str) -> bool:
    """Whether a fault needs more than a call: a file of tables, or one that cannot be read or written."""
    return text.endswith(("store failed", "reload failed", "not reloaded"))


def test_all_are_called(service: JsonRpcService) -> None:
    """Every command that declares a fault is called above, under one of its names."""
    called = {service.registry[name].function for name in CALLS}
    declaring = {name for name, command in service.registry.items() if command.options.faults}
    assert {name for name in declaring if service.registry[name].function not in called} <= {
        *("cfg.commit", "cfg.set_delayed_int", "cfg.set_delayed_string")
    }
