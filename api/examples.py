"""Examples of the schemas in the OpenAPI document: assembled from their fields, so that a new schema has one, too.

A text's example is found by the name of its field in TEXTS; a test says which are missing, and that every example is
valid by its own schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

Schema = Mapping[str, Any]

NOON = "2026-01-31T12:00:00Z"

TEXTS: dict[str, Any] = {
    "Alive.status": "ok",
    "PromptFamily.text": "Take j i: sort, then keep.",
    "PromptFileUpload.first": ["Explain the tides to a sailor."],
    "PromptFileUpload.name": "upload:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08.jsonl",
    "PlannedStage.name": "train",
    "RecordedPolicy.values": {"hard": [0.69, 0.41]},
    "RecordedProvenance.models": {"playground": "9f86d081884c7d65"},
    "Run.deleted_at": None,
    "RunDetails.deleted_at": None,
    "Run.status": "finished",
    "RunDetails.status": "finished",
    "ChangedKey.after": 0.05,
    "ChangedKey.before": 0.1,
    "ConfigDifference.values": [0.1, 0.05],
    "Delivery.id": "msg_4nJpU1hS0cVYrQ2mZk8dWxTe",
    "Delivery.topic": "finished",
    "DifferingKey.key": "training.beta",
    "ChangedKey.key": "training.beta",
    "ConfigDifference.key": "training.beta",
    "Export.error": None,
    "HeldoutOverlap.examples": [["Take j i: sort, then keep.", "Take i j: sort, then keep."]],
    "Overlap.heldout": "Take i j: sort, then keep.",
    "Key.name": "grafana",
    "NewKey.name": "grafana",
    "Webhook.name": "ci",
    "NewWebhook.name": "ci",
    "NewWebhook.secret": "whsec_EXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMP=",
    "NewKey.secret": "eva_5dK2mXw9_…",
    "NewWebhook.url": "https://ci.example/***",
    "Webhook.url": "https://ci.example/***",
    "Log.name": "eva.log",
    "Logs.name": "eva.log",
    "Login.key": "eva_5dK2mXw9_…",
    "Message.content": "Explain the tides to a sailor.",
    "Preset.name": "playground",
    "Problem.detail": "there is no run 'nope'. Expected a run such as playground-ryaa. List the runs with `eva runs`.",
    "Problem.given": "there is no run 'nope'",
    "Problem.expected": "a run such as playground-ryaa",
    "Ready.status": "ready",
    "RunGroup.value": 0.1,
    "Series.key": "train/loss",
    "Statistic.data": {"reward_mean": 0.69, "info_mean": 0.41},
    "Statistic.name": "batch",
    "Stage.name": "train",
    "OpenStage.name": "train",
    "OpenStage.status": "running",
    "Inequality.name": "evolving beats repeating",
    "address": None,
    "answer": "i",
    "against": "playground",
    "arithmetic": ["time, train: 1,024 rows x 200 tokens x 8 x 0.00 B = 1.4e+12 operations, at 40 G/s a core = 18 s"],
    "arm": "creator",
    "arms": ["creator", "same_prompts"],
    "batch_reason": "it was in the buffer",
    "changes": {"training.beta": 0.05},
    "checks": ["24 prompts in playground"],
    "choices": ["playground", "paper-dpo"],
    "code": ["eva 0.1.0"],
    "config": {"name": "tides", "iterations": 3, "training": {"beta": 0.1}},
    "config_hash": "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "counts": {"pairs": 93},
    "data": {"batch": 96},
    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "cut": {"later turns without answers": 2},
    "dropped": {"too_long": 1},
    "empty": {"null": 1},
    "error": None,
    "estimate": ["about 20,000 responses, 2.1 million tokens"],
    "expected": "a number greater than 0",
    "figure": "heldout.hard",
    "finish": "stop",
    "first": "creator",
    "folder": "/data/eva/runs/playground-ryaa/checkpoints/1",
    "given": "-1",
    "heldout": ["heldout.jsonl"],
    "host": "gpu-1",
    "job": "eva-playground-ryaa-1-3f2a1b",
    "joined": {"input": 40},
    "key": "eva_5dK2mXw9",
    "kind": "stage_closed",
    "last_error": None,
    "lacks": None,
    "lines": ["12:00:00 INFO the run is running"],
    "loss": "dpo",
    "machines": "this machine (2 cores, no GPU)",
    "message": None,
    "mode": "greedy",
    "model": "playground",
    "models": ["playground"],
    "name": "playground-ryaa",
    "names": ["train/loss", "train/rewards/margins"],
    "needs": "2 cores, 4 GB",
    "next": None,
    "next_move": "List the runs with `eva runs`",
    "note": "the good one",
    "operator": "deepening",
    "operators": ["deepening", "breadth"],
    "overrides": ["iterations=2"],
    "path": "model.safetensors",
    "pool_reason": "it was in the batch of iteration 1",
    "postgres": "18.1",
    "preset": "playground",
    "prompts": "heldout.hard",
    "quantity": "mean success",
    "quarantined": {"judge": "the response is empty"},
    "question": "Does evolving the prompts help?",
    "reason": None,
    "reference": "i",
    "rewarder": "verifier workers.playground.reward:grade",
    "role": "user",
    "run": "playground-ryaa",
    "runs": ["playground-ryaa"],
    "second": "same_prompts",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "skipped": {"too_long": 1},
    "split": "hard",
    "splits": ["easy", "medium", "hard"],
    "stage": "train",
    "starts": ["Take j i j j: sort, then behead."],
    "status": "finished",
    "summary": "A tiny model learns to apply chains of operations to letters.",
    "tags": ["paper"],
    "text": "Take j i j j: sort, then behead, then keep.",
    "title": "Not Found",
    "topic": "sort",
    "trained_on": "Take j i: sort, then keep.",
    "type": "urn:eva:problem:not-found",
    "unused": ["source"],
    "value": 0.1,
    "values": [0.69, 0.41],
    "what": "start",
    "where": "body.config",
    "why": ["its info 1.0 is among the largest of the pool"],
}
"""Examples of texts and of what has no type, by field or by `Schema.field`."""


REQUESTS: dict[str, Any] = {
    "Draft": {"preset": "playground", "changes": {"training.beta": 0.2}},
    "ExportRequest": {"kind": "pairs", "format": "parquet"},
    "KeyRequest": {"name": "grafana", "scope": "read", "days": 90},
    "NewFork": {"at": 1, "overrides": ["sampling.fraction=0.5"]},
    "NewRun": {"preset": "playground", "overrides": ["iterations=2"], "tags": ["mine"]},
    "NewStudy": {"preset": "study-smoke"},
    "ResumeOptions": {"overrides": ["training.beta=0.3"], "accept_changes": True},
    "RunChanges": {"note": "the good one"},
    "WebhookRequest": {"name": "ci", "url": "https://ci.example/hooks/eva", "topics": ["failed", "finished"]},
}
"""Examples of requests: what is usually sent, without the fields that are left out."""


class NoExampleError(LookupError):
    """A text of a schema has no example in TEXTS."""


def add_examples(schemas: dict[str, dict[str, Any]]) -> None:
    """Gives every schema of the document an example, but for those with a text that has none: a service needs none."""
    for name, schema in schemas.items():
        with suppress(NoExampleError):
            schema["examples"] = [example_of(name, schemas)]


def example_of(name: str, schemas: Mapping[str, Schema], inside: tuple[str, ...] = ()) -> Any:
    """Returns an example of the schema called `name`. Raises NoExampleError."""
    schema = schemas[name]
    if name in REQUESTS:
        return REQUESTS[name]
    if "enum" in schema:
        return schema["enum"][0]
    return {
        field: _value(facts, f"{name}.{field}", schemas, (*inside, name))
        for field, facts in schema.get("properties", {}).items()
    }


def _value(schema: Schema, place: str, schemas: Mapping[str, Schema], inside: tuple[str, ...]) -> Any:
    """An example of a field, whose schema this is."""
    if place in TEXTS:
        return TEXTS[place]
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[1]
        return None if name in inside else example_of(name, schemas, inside)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if choices:
        return _value(choices[0], place, schemas, inside)
    match schema.get("type"):
        case "boolean":
            return True
        case "integer" | "number":
            return _number(schema)
        case "array" if (item := _item(schema, place, schemas, inside)) is not None:
            return item
        case "string" if schema.get("format") == "date-time":
            return NOON
        case _:
            field = place.rsplit(".", 1)[1]
            if field not in TEXTS:
                raise NoExampleError(f"give {place} an example in api/examples.py")
            return TEXTS[field]


def _item(schema: Schema, place: str, schemas: Mapping[str, Schema], inside: tuple[str, ...]) -> list[Any] | None:
    """An example of a list whose items are not texts, None for other lists."""
    if "prefixItems" in schema:
        return [_value(item, place, schemas, inside) for item in cast("list[Schema]", schema["prefixItems"])]
    item = cast("Schema", schema.get("items", {}))
    kinds = {choice.get("type") for choice in item.get("anyOf", [item])}
    told = bool({"$ref", "enum", "const", "format"} & item.keys())
    if not told and kinds & {"string", "array", None}:
        return None
    value = _value(item, place, schemas, inside)
    return [] if value is None else [value] * max(1, int(schema.get("minItems", 1)))


def _number(schema: Schema) -> float:
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    value = 0.5 if schema["type"] == "number" else 2
    if low is not None and value < low:
        value = low + 1 if "exclusiveMinimum" in schema else low
    return high if high is not None and value > high else value
