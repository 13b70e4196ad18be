"""The examples of docs/reference/api.md work, and every path of the API has one."""

from __future__ import annotations

import re

import pytest

from api.main import bare_app
from tests.support.played_study import NAME
from tests.support.service_fixtures import Pair, Served, await_export
from tests.support.structure import ROOT

PAGE = (ROOT / "docs/reference/api.md").read_text("utf-8")
LINES = re.findall(r"^curl .*", PAGE, re.M)
EXAMPLES = [
    found.strip('";')
    for line in LINES
    if " -X" not in line and " -d" not in line
    for found in re.findall(r"localhost:8377(\S+)", line)
]
CHANGES = [
    found.strip('";')
    for line in LINES
    if " -X" in line or " -d" in line
    for found in re.findall(r"localhost:8377(\S+)", line)
]


@pytest.fixture(scope="module")
def exported(played_service: Served) -> int:
    """An export that is done."""
    return await_export(played_service, "last", "pairs", "jsonl")["id"]


@pytest.mark.parametrize(
    "path",
    [
        # runs beside each other need two of them, keys a service that asks for some (test_access.py), an archive a
        # checkpoint with files (test_reading.py); webhooks are made by those who need them (test_webhooks.py)
        path
        for path in EXAMPLES
        if not re.search("playground-b|^/v1/keys|^/v1/studies/|^/v1/webhooks/|/archive", path)
    ],
)
def test_the_example_answers(played_service: Served, exported: int, path: str) -> None:
    path = path.replace("/exports/1", f"/exports/{exported}")
    answer = played_service.client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.content


def test_the_example_of_two_runs_answers(pair_service: Pair) -> None:
    shown = next(path for path in EXAMPLES if "playground-b" in path)
    names: dict[str, str] = dict(zip(("playground-a", "playground-b"), pair_service.names, strict=True))
    # in one pass: a run's own name may begin like the second one
    path = re.sub("|".join(names), lambda found: names[found[0]], shown)
    assert pair_service.served.client.get(path).status_code == 200


def test_the_examples_of_studies_answer(study_service: Served) -> None:
    paths = [path for path in EXAMPLES if "/v1/studies/" in path]
    assert paths
    for path in paths:
        assert study_service.client.get(path.replace("/study-smoke", f"/{NAME}")).status_code == 200


def test_every_path_has_an_example() -> None:
    shown = {example.split("?")[0] for example in EXAMPLES + CHANGES}
    for before, after in (
        ("/last", "/{run}"),
        ("studies/study-smoke", "studies/{study}"),
        ("prompts/60", "prompts/{number}"),
        ("exports/1", "exports/{export}"),
        ("checkpoints/1", "checkpoints/{number}"),
        ("eva_5dK2mXw9", "{key}"),
        ("webhooks/ci", "webhooks/{webhook}"),
    ):
        shown = {path.replace(before, after) for path in shown}
    assert set(bare_app().openapi()["paths"]) | {"/v1/openapi.json"} == shown
