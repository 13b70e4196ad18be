"""Launching and controlling runs over the API: stored once, checked as `eva run` does, refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx import Response

from eva.config.files import load_config
from orchestrator.launch.launcher import Launcher
from orchestrator.launch.registration import register_run
from store.runs import events, leases, runs
from tests.support.cli_fixtures import command_line
from tests.support.fake_jobs import FakeJobs
from tests.support.openai_server import OpenAIServer
from tests.support.service_fixtures import Served

SMALL = ["prompts.playground=16", "evaluation.playground=3", "iterations=1"]
NEW = {"preset": "playground", "overrides": SMALL, "name": "mine", "tags": ["a", "b"], "note": "why"}


def post(served: Served, path: str, body: Any = None, status: int = 202, **headers: str) -> Any:
    answer = served.client.post(f"/v1/runs{path}", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def refused(answer: Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["next_move"]
    return answer.json()["detail"]


def kinds(served: Served, name: str) -> list[str]:
    with served.service.store.transaction() as conn:
        return [event.kind for event in events.events_after(conn, runs.find_run(conn, name).id)]


def test_a_run_is_launched_played_and_seen_to_its_end(served: Served, tmp_path: Path) -> None:
    answer = served.client.post("/v1/runs", json=NEW)
    assert answer.status_code == 201, answer.text
    run = answer.json()
    assert answer.headers["location"] == f"/v1/runs/{run['name']}" and run["name"].startswith("mine-")
    assert (run["status"], run["tags"], run["note"], run["config"]["iterations"]) == ("queued", ["a", "b"], "why", 1)
    assert (run["launch"]["state"], run["launch"]["ahead"]) == ("queued", 0)
    jobs = FakeJobs()
    launcher = Launcher(served.service.store, jobs, most=1)
    launcher.tick()
    (arguments,) = jobs.jobs.values()
    assert arguments == ["drive", run["name"], "--attempt", "1"], "nothing in it comes from the client"
    jobs.play(served.service.store, tmp_path)
    launcher.tick()
    seen = served.client.get("/v1/runs/last").json()
    assert (seen["status"], seen["launch"]["state"], seen["launch"]["attempt"]) == ("finished", "ended", 1)


def test_a_launched_run_is_checked_and_stored_like_one_of_eva_run(served: Served, tmp_path: Path) -> None:
    store, eva = served.service.store, command_line(served.service.settings)
    run = post(served, "", NEW, 201)
    dry = eva("run", "playground", *(part for one in SMALL for part in ("--set", one)), "--dry-run", "--name", "mine")
    rehearsed = post(served, "?dry_run=true", NEW, 200)
    behind = dry.stdout.partition("\nname: ")[2]
    assert [line[2:] for line in behind.splitlines() if line.startswith("# ") and ": every" not in line][:-1] == [
        *rehearsed["estimate"],
        *(f"checked: {fact}" for fact in rehearsed["checks"]),
    ]
    assert rehearsed["config"] == run["config"]
    assert len(served.client.get("/v1/runs").json()["items"]) == 1, "a rehearsal stores nothing"
    with store.transaction() as conn:
        row = runs.find_run(conn, run["name"])
    assert row.code is not None and row.prompt_count == 16


def test_a_request_that_is_sent_again_gets_its_reply_before_anything_is_checked(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = post(served, "", NEW, 201, **{"Idempotency-Key": "once"})

    def absent(*_: object) -> None:
        raise AssertionError("a repeated request looks for no machines")

    monkeypatch.setattr("orchestrator.launch.preflight.find_machines", absent)
    monkeypatch.setattr("orchestrator.launch.new_run.check_run", absent)
    assert post(served, "", NEW, 201, **{"Idempotency-Key": "once"})["name"] == first["name"]


def test_numbers_of_prompts_have_bounds(served: Served) -> None:
    for key in ("prompts.playground", "evaluation.playground"):
        asked = {**NEW, "overrides": [*SMALL, f"{key}=1000000000"]}
        assert f"config.{key}" in str(post(served, "?dry_run=true", asked, 422)["errors"])


def test_a_request_that_is_sent_again_gives_the_same_run(served: Served) -> None:
    first, again = (post(served, "", NEW, 201, **{"Idempotency-Key": "k1"}) for _ in range(2))
    assert first["name"] == again["name"]
    other = served.client.post("/v1/runs", json=NEW | {"note": "x"}, headers={"Idempotency-Key": "k1"})
    assert "another request" in refused(other, 409)
    assert post(served, "", NEW, 201, **{"Idempotency-Key": "k2"})["name"] != first["name"]
    fork = {"at": 0, "name": "fork"}
    forks = {post(served, f"/{first['name']}:fork", fork, 201, **{"Idempotency-Key": "k3"})["name"] for _ in range(2)}
    assert len(forks) == 1


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({}, 422, "preset"),
        ({"preset": "playground", "run": "last"}, 422, "either"),
        ({"preset": "playground", "config": {}}, 422, "prompts: missing"),
        ({"preset": "nope"}, 422, "playground"),
        ({"preset": "/etc/passwd"}, 422, "preset"),
        ({"preset": "playground", "overrides": ["trainng.beta=1"]}, 422, "did you mean 'training'"),
        ({"preset": "playground", "overrides": ["model.path=/models/secret"]}, 403, "EVA_MODELS"),
        ({"preset": "playground", "overrides": ["reward.function=os:system"]}, 403, "EVA_FUNCTIONS"),
        (
            {
                "config": {
                    "prompts": {"path": "/etc/passwd"},
                    "model": {"path": "playground"},
                    "reward": {"kind": "mock"},
                    "evolving": {"evolver": {"kind": "playground"}},
                }
            },
            403,
            "EVA_DATASETS",
        ),
        ({"preset": "playground", "entrypoint": "rm -rf /"}, 422, "entrypoint"),
        ({"preset": "playground", "name": "../../x"}, 422, "name"),
        ({"preset": "playground", "restart": {"times": -1}}, 422, "restart"),
        ({"preset": "playground", "overrides": ["fleet.gpus_per_engine=1"]}, 422, "and there is none: this machine"),
    ],
)
def test_what_cannot_be_launched_is_refused_and_nothing_is_stored(
    served: Served, body: dict[str, Any], status: int, told: str
) -> None:
    assert told in refused(served.client.post("/v1/runs", json=body), status)
    assert served.client.get("/v1/runs").json()["items"] == []


def test_a_config_is_edited_as_text_checked_key_by_key_and_launched(served: Served) -> None:
    draft = served.client.post(
        "/v1/configs",
        json={
            "preset": "playground",
            "changes": {"prompts.playground": 16, "evaluation.playground": 3, "training.beta": -1},
        },
    )
    assert draft.status_code == 200 and draft.json()["text"].startswith("# ")
    edited = draft.json()["config"]
    wrong = served.client.post("/v1/runs?dry_run=true", json={"preset": "playground", "config": edited})
    assert "training.beta" in refused(wrong, 422)
    assert [one["where"] for one in wrong.json()["errors"]] == ["config.training.beta"]
    edited["training"]["beta"] = 0.2
    named = edited | {"reward": {"kind": "verifier", "function": "os:system"}}
    other = served.client.post("/v1/runs?dry_run=true", json={"preset": "playground", "config": named})
    assert "reward.function" in refused(other, 403)
    assert [one["where"] for one in other.json()["errors"]] == ["config.reward.function"]
    run = post(served, "", {"preset": "playground", "config": edited}, 201)
    assert run["config"]["training"]["beta"] == 0.2 and run["prompts"] == 16
    # the next one starts from that run: its reward is no name of this service, but that run has it
    again = served.client.post("/v1/configs", json={"run": run["name"], "changes": {"seed": 7}}).json()["config"]
    refused(served.client.post("/v1/runs", json={"config": again}), 403)
    assert post(served, "", {"run": run["name"], "config": again}, 201)["config"] == run["config"] | {"seed": 7}
    assert served.client.get("/v1/configs/schema").json()["properties"]["iterations"]["minimum"] == 1


@pytest.fixture
def endpoint() -> Iterator[str]:
    """The address of an endpoint that answers, with a password in it."""
    with OpenAIServer() as server:
        yield server.api_base.replace("://", "://user:pa55w0rd-of-it@")


def test_a_rehearsal_says_which_seconds_pass_behind_the_training(served: Served, endpoint: str) -> None:
    evolver = "evolving.evolver={kind: evol_instruct, model: openai/m, api_base: '" + endpoint + "'}"
    row = register_run(served.service.store, load_config("playground", [*SMALL[:2], "info_from=reuse", evolver]))
    draft = served.client.post("/v1/configs", json={"run": row.name}).json()
    rehearsed = post(served, "?dry_run=true", {"run": row.name, "config": draft["config"]}, 200)
    hidden = {stage["name"]: stage["hidden"] for stage in rehearsed["plan"]["stages"]}
    assert hidden["evolve"] > 0 and hidden["train"] == 0


def test_a_fork_shows_its_changes_before_it_starts_and_keeps_hidden_credentials(served: Served, endpoint: str) -> None:
    url = endpoint
    evolver = ["evolving.evolver={kind: evol_instruct, model: openai/m, api_base: '" + url + "'}"]
    row = register_run(served.service.store, load_config("playground", [*SMALL, *evolver]))
    draft = served.client.post("/v1/configs", json={"run": row.name, "changes": {"sampling.fraction": 0.5}}).json()
    assert "pa55w0rd" not in draft["text"] and "***" in draft["text"]
    body = {"at": 0, "config": draft["config"]}
    told = served.client.post(f"/v1/runs/{row.name}:fork?dry_run=true", json=body)
    assert told.status_code == 200, told.text
    assert told.json()["changes"] == [{"key": "sampling.fraction", "before": 0.25, "after": 0.5}]
    assert "pa55w0rd" not in told.text and len(served.client.get("/v1/runs").json()["items"]) == 1
    fork = post(served, f"/{row.name}:fork", body, 201)
    with served.service.store.transaction() as conn:
        assert runs.get_run(conn, runs.find_run(conn, fork["name"]).id).config["evolving"]["evolver"]["api_base"] == url


def test_a_fork_that_cannot_play_on_this_machine_is_refused(served: Served) -> None:
    url = "http://127.0.0.1:1/v1"
    evolver = f"evolving.evolver={{kind: evol_instruct, model: openai/m, api_base: '{url}'}}"
    row = register_run(served.service.store, load_config("playground", [*SMALL, evolver]))
    forked = served.client.post(f"/v1/runs/{row.name}:fork", json={"at": 0})
    assert f"evolving.evolver.api_base {url} does not answer" in refused(forked, 422)
    on_gpus = served.client.post(f"/v1/runs/{row.name}:fork", json={"at": 0, "overrides": ["fleet.gpus_per_engine=1"]})
    assert "and there is none: this machine" in refused(on_gpus, 422)
    assert len(served.client.get("/v1/runs").json()["items"]) == 1


def test_runs_are_paused_resumed_and_cancelled(served: Served) -> None:
    name = post(served, "", NEW, 201)["name"]
    assert post(served, f"/{name}:pause")["status"] == "paused"
    again = post(served, f"/{name}:resume", {"restart": {"times": 2}})
    assert (again["status"], again["launch"]["restarts"]) == ("queued", 2)
    changed = served.client.post(f"/v1/runs/{name}:resume", json={"overrides": ["training.beta=0.3"]})
    assert "beta" in refused(changed, 409)
    path = served.client.post(f"/v1/runs/{name}:resume", json={"overrides": ["model.path=/x"]})
    refused(path, 403)
    assert post(served, f"/{name}:cancel")["status"] == "cancelled"
    assert "cancelled" in refused(served.client.post(f"/v1/runs/{name}:resume"), 409)
    assert kinds(served, name)[:5] == ["registered", "queued", "asked", "paused", "queued"]
    refused(served.client.post("/v1/runs/nope:pause"), 404)


def test_name_note_and_tags_change_only_with_the_current_etag(served: Served) -> None:
    name = post(served, "", NEW, 201)["name"]
    tag = served.client.get(f"/v1/runs/{name}").headers["etag"]
    assert "If-Match" in refused(served.client.patch(f"/v1/runs/{name}", json={"note": "x"}), 428)
    # it plays meanwhile, which changes the answer but nobody's words
    post(served, f"/{name}:pause")
    changed = served.client.patch(f"/v1/runs/{name}", json={"note": "new"}, headers={"If-Match": tag})
    assert changed.status_code == 200 and changed.json()["note"] == "new" and changed.json()["tags"] == ["a", "b"]
    refused(served.client.patch(f"/v1/runs/{name}", json={"note": "lost"}, headers={"If-Match": tag}), 412)
    renamed = served.client.patch(
        f"/v1/runs/{name}", json={"name": "better", "tags": []}, headers={"If-Match": changed.headers["etag"]}
    )
    assert (renamed.json()["name"], renamed.json()["tags"]) == ("better", [])
    assert renamed.headers["location"] == "/v1/runs/better"
    with served.service.store.transaction() as conn:
        row = runs.find_run(conn, "better")
    assert row.folder_name == name, "its files stay where they are"
    other = post(served, "", NEW, 201)["name"]
    waiting = served.client.patch(f"/v1/runs/{other}", json={"name": "x"}, headers={"If-Match": "*"})
    assert "waits for a driver" in refused(waiting, 409)
    post(served, f"/{other}:pause")
    for taken in ("better", name):
        answer = served.client.patch(f"/v1/runs/{other}", json={"name": taken}, headers={"If-Match": "*"})
        assert "another run is called" in refused(answer, 409)


def test_a_deleted_run_is_hidden_but_not_gone(served: Served) -> None:
    kept, name = post(served, "", NEW, 201)["name"], post(served, "", NEW, 201)["name"]
    assert "waits for a driver" in refused(served.client.delete(f"/v1/runs/{name}"), 409)
    post(served, f"/{name}:pause")
    with served.service.store.transaction() as conn:
        row = runs.find_run(conn, name)
        fence = leases.claim(conn, row.id, {"host": "elsewhere", "pid": 1}, 60)
    assert "is being played" in refused(served.client.delete(f"/v1/runs/{name}"), 409)
    with served.service.store.transaction() as conn:
        assert fence is not None
        leases.release(conn, fence)
    for _ in range(2):
        assert served.client.delete(f"/v1/runs/{name}").status_code == 204
    assert [one["name"] for one in served.client.get("/v1/runs").json()["items"]] == [kept]
    assert len(served.client.get("/v1/runs", params={"deleted": True}).json()["items"]) == 2
    assert served.client.get("/v1/runs/last").json()["name"] == kept
    assert served.client.get(f"/v1/runs/{name}").json()["deleted_at"] is not None
    assert "Restore it first" in refused(served.client.post(f"/v1/runs/{name}:resume"), 409)
    assert post(served, f"/{name}:restore", status=200)["deleted_at"] is None
    assert len(served.client.get("/v1/runs").json()["items"]) == 2


def test_presets_say_what_they_need(served: Served) -> None:
    items = served.client.get("/v1/presets").json()["items"]
    assert "playground" in [one["name"] for one in items]
    assert all(one["needs"] and one["summary"] for one in items)
