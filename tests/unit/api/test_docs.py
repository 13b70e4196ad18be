"""The examples of docs/reference/api.md answer, and every path of the API has one."""

from __future__ import annotations

import re

import pytest

from api.main import routed
from tests.service_fixtures import Pair, Served
from tests.structure import ROOT

PAGE = (ROOT / "docs/reference/api.md").read_text("utf-8")
LINES = re.findall(r'^curl .*', PAGE, re.M)
EXAMPLES = [found.strip('";') for line in LINES if " -X" not in line and " -d" not in line
            for found in re.findall(r"localhost:8377(\S+)", line)]
CHANGES = [found.strip('";') for line in LINES if " -X" in line or " -d" in line
           for found in re.findall(r"localhost:8377(\S+)", line)]


@pytest.mark.parametrize("path", [path for path in EXAMPLES if "playground-b" not in path])
def test_the_example_answers(played_service: Served, path: str) -> None:
    answer = played_service.client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.content


def test_the_example_of_two_runs_answers(pair_service: Pair) -> None:
    path = next(path for path in EXAMPLES if "playground-b" in path)
    for shown, name in zip(("playground-a", "playground-b"), pair_service.names, strict=True):
        path = path.replace(shown, name)
    assert pair_service.served.client.get(path).status_code == 200


def test_every_path_has_an_example() -> None:
    shown = {example.split("?")[0].replace("/last", "/{run}").replace("/60", "/{number}")
             for example in EXAMPLES + CHANGES}
    assert set(routed().openapi()["paths"]) | {"/v1/openapi.json"} == shown
