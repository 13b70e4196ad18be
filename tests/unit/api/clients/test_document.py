"""The committed OpenAPI document is the one that the service gives, and it says what clients need."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api.clients.openapi_document import document_text
from api.examples import REQUESTS, NoExampleError, add_examples, example_of
from api.schema import Schema
from tests.support.api_changes import breaking
from tests.support.service_fixtures import Served
from tests.support.structure import ROOT

COMMITTED = ROOT / "docs/reference/openapi.json"


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_no_change_breaks_clients() -> None:
    broken = breaking(json.loads(COMMITTED.read_text("utf-8")), json.loads(document_text()))
    assert not broken, "clients of the committed document would stumble:\n" + "\n".join(broken)


def test_the_committed_document_is_current() -> None:
    assert COMMITTED.read_text("utf-8") == document_text(), (
        "the API has changed: run `make dashboard-types`, and read the difference as a client would"
    )


def test_the_service_gives_the_same_document(served: Served) -> None:
    assert served.client.get("/v1/openapi.json").json() == json.loads(COMMITTED.read_text("utf-8"))


def test_every_operation_describes_its_responses_and_errors() -> None:
    document = json.loads(COMMITTED.read_text("utf-8"))
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(names) == len(set(names)) > 10
    for name, operation in operations(document):
        assert operation["description"], name
        assert operation["responses"]["default"]["content"]["application/problem+json"], name
        assert "422" not in operation["responses"], f"{name} promises another form of error than it gives"
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), f"{name}: {parameter['name']}"


def test_every_schema_has_an_example_that_is_valid_by_it() -> None:
    components = json.loads(document_text())["components"]
    assert len(components["schemas"]) > 100
    for name, schema in components["schemas"].items():
        example = example_of(name, components["schemas"])
        problems = [*Draft202012Validator({**schema, "components": components}).iter_errors(example)]
        assert schema["examples"] == [example], name
        assert not problems, f"{name}: {problems[0].message}"


def test_a_text_without_an_example_is_found() -> None:
    schemas: dict[str, dict[str, Any]] = {"New": {"type": "object", "properties": {"colour": {"type": "string"}}}}
    with pytest.raises(NoExampleError, match=r"New\.colour"):
        example_of("New", schemas)
    add_examples(schemas)
    assert "examples" not in schemas["New"], "the service goes on without it"


@pytest.mark.parametrize("name", [*REQUESTS])
def test_an_example_of_a_request_is_one_that_the_api_takes(name: str) -> None:
    (model,) = (each for each in _schemas(Schema) if each.__name__ == name)
    taken = model.model_validate(REQUESTS[name]).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert taken.keys() == REQUESTS[name].keys()


def _schemas(base: type[Schema]) -> Iterator[type[Schema]]:
    for each in base.__subclasses__():
        yield each
        yield from _schemas(each)


def test_every_field_of_every_schema_is_explained() -> None:
    schemas = json.loads(COMMITTED.read_text("utf-8"))["components"]["schemas"]
    bare = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, facts in schema.get("properties", {}).items()
        if not facts.get("description")
    ]
    assert bare == []


def test_every_reference_leads_somewhere() -> None:
    text = COMMITTED.read_text("utf-8")
    document = json.loads(text)
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(document["components"]["schemas"])


def parameter(document: dict[str, Any], path: str, name: str) -> dict[str, Any]:
    return next(one for one in document["paths"][path]["get"]["parameters"] if one["name"] == name)


def schema_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    return document["components"]["schemas"][name]


CHANGES: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("GET /v1/presets is gone", lambda new: new["paths"].pop("/v1/presets")),
    ("DELETE /v1/keys/{key} is gone", lambda new: new["paths"]["/v1/keys/{key}"].pop("delete")),
    (
        "is called start_run, no longer create_run",
        lambda new: new["paths"]["/v1/runs"]["post"].update(operationId="start_run"),
    ),
    ("GET /v1/session needs a key", lambda new: new["paths"]["/v1/session"]["get"].update(security=[{"key": []}])),
    (
        "query parameter tag: is gone",
        lambda new: new["paths"]["/v1/runs"]["get"]["parameters"].remove(parameter(new, "/v1/runs", "tag")),
    ),
    ("query parameter limit: is required", lambda new: parameter(new, "/v1/runs", "limit").update(required=True)),
    (
        "query parameter limit: maximum is 100, no longer 200",
        lambda new: parameter(new, "/v1/runs", "limit")["schema"].update(maximum=100),
    ),
    (
        "query parameter sort: may no longer be '-info'",
        lambda new: parameter(new, "/v1/runs/{run}/prompts", "sort")["schema"]["enum"].remove("-info"),
    ),
    (
        "POST /v1/runs/{run}:resume, body: is required",
        lambda new: new["paths"]["/v1/runs/{run}:resume"]["post"]["requestBody"].update(required=True),
    ),
    ("body.note: is required", lambda new: schema_of(new, "NewRun").update(required=["note"])),
    ("body.tags: is gone", lambda new: schema_of(new, "NewRun")["properties"].pop("tags")),
    (
        "body.note: may no longer be string",
        lambda new: schema_of(new, "NewRun")["properties"]["note"].update(type="array"),
    ),
    (
        "answer 200: application/json is no longer given",
        lambda new: new["paths"]["/v1/presets"]["get"]["responses"]["200"].pop("content"),
    ),
    ("answer 202: is gone", lambda new: new["paths"]["/v1/runs/{run}:pause"]["post"]["responses"].pop("202")),
    ("answer 200.items[].seed: is gone", lambda new: schema_of(new, "Run")["properties"].pop("seed")),
    ("answer 200.items[].seed: may now be missing", lambda new: schema_of(new, "Run")["required"].remove("seed")),
    (
        "answer 200.items[].seed: may now be null",
        lambda new: schema_of(new, "Run")["properties"].update(seed={"anyOf": [{"type": "integer"}, {"type": "null"}]}),
    ),
    ("may now be 'resting'", lambda new: schema_of(new, "Status")["enum"].append("resting")),
    ("may no longer be 'parquet'", lambda new: schema_of(new, "ExportFormat")["enum"].remove("parquet")),
]


@pytest.mark.parametrize(("told", "change"), CHANGES, ids=[told for told, _ in CHANGES])
def test_what_breaks_clients_is_named(told: str, change: Callable[[dict[str, Any]], Any]) -> None:
    before = json.loads(COMMITTED.read_text("utf-8"))
    change(after := deepcopy(before))
    assert [line for line in breaking(before, after) if told in line], breaking(before, after)


def test_additions_break_no_client() -> None:
    before = json.loads(COMMITTED.read_text("utf-8"))
    after = deepcopy(before)
    after["paths"]["/v1/more"] = after["paths"]["/v1/presets"]
    after["paths"]["/v1/runs"]["get"]["parameters"].append(
        {"name": "more", "in": "query", "required": False, "schema": {"type": "string"}}
    )
    parameter(after, "/v1/runs", "limit")["schema"]["maximum"] = 500
    parameter(after, "/v1/runs/{run}/prompts", "sort")["schema"]["enum"].append("born")
    schema_of(after, "NewRun")["properties"]["more"] = {"type": "string"}
    schema_of(after, "Run")["properties"]["more"] = {"type": "string"}
    schema_of(after, "Run")["required"].append("more")
    assert breaking(before, after) == breaking(before, before) == []
