"""A generated client is complete and typed, and reads the responses of the service."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any, get_args, get_type_hints

import pytest

from tests.support.client_fixtures import Generated
from tests.support.service_fixtures import Served


def test_the_client_is_generated_completely_and_without_a_warning(generated: Generated) -> None:
    assert "WARNING" not in generated.printed.upper(), generated.printed


def test_every_response_is_typed(generated: Generated) -> None:
    package = import_module("eva_client.api")
    seen = 0
    for found in pkgutil.walk_packages(package.__path__, "eva_client.api."):
        if found.ispkg:
            continue
        module = import_module(found.name)
        answers = get_args(get_type_hints(module.sync)["return"])
        # what has no body is Any to the generator
        bodiless = {"delete_session", "revoke_key", "remove_webhook", "delete_run", "stream_events", "get_run"}
        assert Any not in answers or found.name.rpartition(".")[2] in bodiless, found.name
        assert generated.part("models.Problem") in answers, found.name
        seen += 1
    assert seen > 40


READING: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("runs.list_runs", (), {"limit": 1}),
    ("runs.get_run", ("last",), {}),
    ("iterations.list_iterations", ("last",), {}),
    ("iterations.list_stages", ("last",), {}),
    ("events.list_events", ("last",), {"after": 3}),
    ("statistics.read_statistics", ("last",), {"name": ["batch"]}),
    ("statistics.read_run_curves", (), {"run": ["last"]}),
    ("metrics.read_metrics", ("last",), {}),
    ("prompts.list_prompts", ("last",), {"iteration": 1, "text": "reverse"}),
    ("prompts.get_prompt", ("last", 60), {}),
    ("prompts.list_responses", ("last", 60), {}),
    ("prompts.get_lineage", ("last", 60), {"depth": 2}),
    ("prompts.get_difference", ("last", 60), {}),
    ("checkpoints.list_checkpoints", ("last",), {}),
    ("checkpoints.get_checkpoint", ("last", 1), {}),
    ("logs.read_logs", ("last",), {}),
    ("exports.list_exports", ("last",), {}),
    ("exports.get_card", ("last",), {}),
    ("presets.list_presets", (), {}),
    ("session.get_session", (), {}),
    ("health.readyz", (), {}),
    ("health.get_prometheus_metrics", (), {}),
]


@pytest.mark.parametrize(("operation", "arguments", "named"), READING)
def test_the_client_reads_the_responses_of_the_service(
    generated: Generated, played_service: Served, operation: str, arguments: tuple[Any, ...], named: dict[str, Any]
) -> None:
    with generated.part("Client")(base_url=played_service.url) as client:
        answer = generated.ask(client, operation, *arguments, **named)
    assert isinstance(answer, str) or type(answer).__module__.startswith("eva_client.models")


def test_a_refused_request_returns_a_problem_with_the_next_move(generated: Generated, played_service: Served) -> None:
    with generated.part("Client")(base_url=played_service.url) as client:
        refused = generated.part("api.runs.get_run").sync("nope", client=client)
    assert isinstance(refused, generated.part("models.Problem"))
    assert (refused.status, refused.next_move) == (404, "List the runs with `eva runs`")
