"""TypeScript declarations of the API's schemas: `python -m api.clients.declarations > …/static/data/schema.d.ts`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import Any, cast

from api.main import bare_app

_PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def declarations() -> str:
    """One interface for every schema of the OpenAPI document."""
    schemas: Mapping[str, Any] = bare_app().openapi()["components"]["schemas"]
    parts = ["// Made by `make dashboard-types` from the API's OpenAPI document."]
    parts += [_declared(name, schema) for name, schema in sorted(schemas.items())]
    return "\n\n".join(parts) + "\n"


def _declared(name: str, schema: Mapping[str, Any]) -> str:
    if "properties" not in schema:
        return f"export type {name} = {type_of(schema)};"
    # responses contain every field, also those with a default; only errors leave out what is null
    required: list[str] = list(schema["properties"]) if name != "Problem" else schema.get("required", [])
    lines = [
        f"  {_key(key)}{'' if key in required else '?'}: {type_of(part)};" for key, part in schema["properties"].items()
    ]
    return "\n".join([f"export interface {name} {{", *lines, "}"])


def type_of(schema: Mapping[str, Any]) -> str:
    """The TypeScript type of a JSON schema."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " | ".join(dict.fromkeys(type_of(one) for one in schema[choice]))
    kind = schema.get("type")
    if kind == "array":
        item = type_of(schema.get("items", {}))
        return f"({item})[]" if " " in item else f"{item}[]"
    if kind == "object":
        rest = schema.get("additionalProperties")
        return f"Record<string, {type_of(cast('dict[str, Any]', rest)) if isinstance(rest, dict) else 'any'}>"
    return _PLAIN.get(str(kind), "any")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else json.dumps(name)


if __name__ == "__main__":
    sys.stdout.write(declarations())
