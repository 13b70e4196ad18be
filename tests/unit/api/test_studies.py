"""Studies as the API shows them: the list, a report, and one HTML page."""

from __future__ import annotations

import pytest

from eva.studies.plan import study_hash
from eva.studies.study import StudyConfig
from store.runs import studies
from store.runs.runs import create_run
from tests.support.played_study import FIGURE, NAME
from tests.support.service_fixtures import Served


def test_studies_are_listed_with_the_state_of_their_runs(study_service: Served) -> None:
    (study,) = study_service.client.get("/v1/studies").json()["items"]
    assert (study["name"], study["figure"], study["arms"]) == (NAME, FIGURE, ["two", "one", "again"])
    assert (study["planned"], study["counts"]) == (9, {"finished": 8, "failed": 1})


def test_studies_are_listed_in_pages_with_their_total(served: Served) -> None:
    config = {"name": "s", "base": "playground", "arms": {"a": {}, "b": {}}, "outcome": {"figure": FIGURE}}
    with served.service.store.transaction() as conn:
        for name in ("first", "second", "third"):
            studies.create_study(conn, name, {**config, "name": name}, name)
    page = served.client.get("/v1/studies", params={"limit": 2}).json()
    assert ([study["name"] for study in page["items"]], page["total"]) == (["third", "second"], 3)
    rest = served.client.get("/v1/studies", params={"limit": 2, "cursor": page["next"]}).json()
    assert ([study["name"] for study in rest["items"]], rest["total"], rest["next"]) == (["first"], 3, None)


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
    records = served.client.get("/v1/studies/s/records")
    assert records.json()["config"]["arms"]["b"]["reward.api_key_env"] == "MY_KEY" and "hush" not in records.text


def test_a_study_is_launched_once_and_a_changed_one_under_its_name_is_refused(served: Served) -> None:
    asked = {
        "name": "mine",
        "base": "playground",
        "arms": {"a": {}, "b": {"informativeness.metric": "uniform"}},
        "outcome": {"figure": FIGURE},
    }
    for _ in range(2):
        launched = served.client.post("/v1/studies", json={"study": asked})
        assert launched.status_code == 202 and launched.headers["location"] == "/v1/studies/mine"
        assert launched.json()["driver"] == {"state": "queued", "attempt": 0, "job": None, "message": None}
    (study,) = served.client.get("/v1/studies").json()["items"]
    assert (study["arms"], study["planned"]) == (["a", "b"], 20)

    store = served.service.store
    with store.transaction() as conn:
        row = studies.find_study(conn, "mine")
        # else its driver, which reads it from the store, would take it for a changed one
        assert study_hash(StudyConfig.model_validate(row.config)) == row.config_hash
        run = create_run(conn, stem="r", config={}, config_hash="h", seed=0)
        studies.add_run(conn, row.id, seed=0, model="playground", arm="a", shared=False, run_id=run.id)
    refused = served.client.post("/v1/studies", json={"study": asked | {"seeds": 3}})
    assert refused.status_code == 409 and "seeds" in refused.json()["given"]
    refused = served.client.post("/v1/studies", json={"study": asked | {"base": "/etc/passwd"}})
    assert refused.status_code == 403
    refused = served.client.post("/v1/studies", json={"preset": "study-smok"})
    assert refused.status_code == 422 and "study-smoke" in refused.text
    assert served.client.post("/v1/studies", json={}).status_code == 422
