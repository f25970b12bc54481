"""OpenRPC documents, checked by the published meta-schema; and values, checked by the schemas in them."""

import functools
import json
from typing import Any

from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from tests.support import REPOSITORY

_DATA = REPOSITORY / "tests" / "data" / "openrpc"

_RIGHT: set[tuple[str, str]] = set()
"""Components with a method that has been checked beside them, as JSON."""


@functools.cache
def _meta() -> Draft7Validator:
    schemas = {name: json.loads((_DATA / f"{name}.json").read_text()) for name in ("meta-schema", "json-schema")}
    resource = Resource.from_contents(schemas["json-schema"], default_specification=DRAFT7)
    known: Any = Registry().with_resources(
        [("https://meta.json-schema.tools/", resource), ("https://meta.json-schema.tools", resource)]
    )
    return Draft7Validator(schemas["meta-schema"], registry=known)


def methods_of(document: Any) -> dict[str, Any]:
    """The methods of a document by their names, once it is found to be one.

    The meta-schema checks its form; what else the specification asks for is checked here. A method that has been found
    right beside the same components need not be checked again.
    """
    methods = {method["name"]: method for method in document["methods"]}
    assert list(methods) == sorted(methods)
    assert len(methods) == len(document["methods"])
    components = json.dumps(document["components"])
    keys = {(components, json.dumps(method)): method for method in document["methods"]}
    new = [method for key, method in keys.items() if key not in _RIGHT]
    _meta().validate({**document, "methods": new})
    for method in new:
        names = [parameter["name"] for parameter in method["params"]]
        assert len(set(names)) == len(names)
        required = [parameter["required"] for parameter in method["params"]]
        assert required == sorted(required, reverse=True), f"{method['name']}: a required one after an optional one"
        codes = [error["code"] for error in method.get("errors", ())]
        assert len(set(codes)) == len(codes)
        for schema in [method["result"]["schema"], *(parameter["schema"] for parameter in method["params"])]:
            Draft7Validator.check_schema(schema)
            fits(document, schema, None)  # every reference leads somewhere
    _RIGHT.update(keys)
    return methods


def fits(document: Any, schema: Any, value: object) -> bool:
    """Whether a value fits a schema of a document.

    @raise Exception: a reference leads nowhere.
    """
    return Draft7Validator({"components": document["components"], "allOf": [schema]}).is_valid(value)
