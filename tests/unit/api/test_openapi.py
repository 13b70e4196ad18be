"""The committed OpenAPI document is the one that the service gives, and it says what clients need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from api.document import document_text
from tests.service_fixtures import Served
from tests.structure import ROOT

COMMITTED = ROOT / "docs/reference/openapi.json"


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_the_committed_document_is_current() -> None:
    assert COMMITTED.read_text("utf-8") == document_text(), (
        "the API has changed: python -m api.document > docs/reference/openapi.json, and read the difference as a "
        "client would")


def test_the_service_gives_the_same_document(served: Served) -> None:
    assert served.client.get("/v1/openapi.json").json() == json.loads(COMMITTED.read_text("utf-8"))


def test_every_operation_says_what_it_answers_and_how_it_fails() -> None:
    document = json.loads(COMMITTED.read_text("utf-8"))
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(names) == len(set(names)) > 10
    for name, operation in operations(document):
        assert operation["description"], name
        assert operation["responses"]["default"]["content"]["application/problem+json"], name
        assert "422" not in operation["responses"], f"{name} promises another form of error than it gives"
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), f"{name}: {parameter['name']}"


def test_every_field_of_every_schema_is_explained() -> None:
    schemas = json.loads(COMMITTED.read_text("utf-8"))["components"]["schemas"]
    bare = [f"{name}.{field}" for name, schema in schemas.items()
            for field, facts in schema.get("properties", {}).items() if not facts.get("description")]
    assert bare == []


def test_every_reference_leads_somewhere() -> None:
    text = COMMITTED.read_text("utf-8")
    document = json.loads(text)
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(document["components"]["schemas"])
