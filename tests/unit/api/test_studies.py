"""Studies as the API shows them: the list, a report, and one HTML page."""

from __future__ import annotations

import pytest

from store.runs import studies
from tests.support.played_study import FIGURE, NAME
from tests.support.service_fixtures import Served


def test_studies_are_listed_with_the_state_of_their_runs(study_service: Served) -> None:
    (study,) = study_service.client.get("/v1/studies").json()["items"]
    assert (study["name"], study["figure"], study["arms"]) == (NAME, FIGURE, ["two", "one", "again"])
    assert (study["planned"], study["counts"]) == (9, {"finished": 8, "failed": 1})


def test_a_report_has_comparisons_and_names_its_runs(study_service: Served) -> None:
    report = study_service.client.get(f"/v1/studies/{NAME}").json()
    first, second = report["comparisons"]
    assert (first["first"], first["second"], second["repeats"]) == ("one", "two", True)
    assert first["difference"]["low"] < first["difference"]["value"] < first["difference"]["high"]
    names = {run["name"] for run in report["runs"]}
    assert {pair["first"] for pair in first["pairs"]} <= names
    for name in names:
        assert study_service.client.get(f"/v1/runs/{name}").status_code == 200


def test_a_page_contains_its_report_and_loads_nothing(study_service: Served) -> None:
    answer = study_service.client.get(f"/v1/studies/{NAME}/report")
    assert answer.headers["content-disposition"] == f'attachment; filename="{NAME}.html"'
    assert "default-src 'none'" in answer.text and f'"figure":"{FIGURE}"' in answer.text


def test_an_unknown_study_is_refused_with_similar_names(study_service: Served) -> None:
    refused = study_service.client.get("/v1/studies/iteration")
    assert refused.status_code == 404 and NAME in refused.json()["expected"]


def test_secrets_in_arms_are_not_shown(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "hush-hush-hush-1")
    config = {
        "name": "s",
        "base": "playground",
        "arms": {"a": {}, "b": {"reward.api_key_env": "MY_KEY", "reward.api_base": "http://me:hush-hush-hush-1@host"}},
        "outcome": {"figure": FIGURE},
    }
    with served.service.store.transaction() as conn:
        studies.create_study(conn, "s", config, "h")
    answer = served.client.get("/v1/studies/s")
    assert answer.json()["arms"][1]["changes"]["reward.api_key_env"] == "MY_KEY"
    assert "hush" not in answer.text
