"""`eva submit` and `eva watch` through a service, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.commands.watch import follow
from cli.progress import PlainProgress
from orchestrator.launch import Launcher
from store import runs
from tests.cli_fixtures import Command
from tests.fake_jobs import FakeJobs
from tests.service_fixtures import Served

SMALL = ("--set", "prompts.playground=16", "--set", "evaluation.playground=3", "--set", "iterations=1")


def test_a_run_is_submitted_played_and_watched(served: Served, eva: Command, tmp_path: Path) -> None:
    asked = ("submit", "playground", *SMALL, "--name", "far", "--tag", "a", "--restarts", "2", "--url", served.url,
             "--idempotency-key", "k")
    told, again = eva(*asked), eva(*asked)
    assert told.exit_code == 0, told.output
    assert told.stdout == again.stdout, "asked again under its key, it is the same run"
    name = told.stdout.split()[0]
    assert f"eva watch {name} --url {served.url}" in told.stdout
    jobs = FakeJobs()
    launcher = Launcher(served.service.store, jobs, most=1)
    launcher.tick()
    jobs.play(served.service.store, tmp_path)
    for where in (("--url", served.url), ()):
        watched = eva("watch", name, *where)
        assert watched.exit_code == 0, watched.output
        assert f"{name} is finished" in watched.stdout


def test_a_config_file_goes_as_it_is_and_its_paths_are_refused(served: Served, eva: Command, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("name: file\nprompts: {path: mine.jsonl}\nmodel: {path: playground}\nreward: {kind: mock}\n"
                      "evolving: {evolver: {kind: playground}}\n", "utf-8")
    refused = eva("submit", config, "--url", served.url)
    assert refused.exit_code == 2 and "EVA_DATASETS" in refused.stderr
    shown = eva("submit", config, "--set", "prompts={playground: 16}", "--url", served.url, "--json")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["config"]["prompts"]["playground"] == 16


@pytest.mark.parametrize(("arguments", "told"), [
    (("submit", "playground"), "eva serve"),
    (("submit", "playground", "--url", "localhost:1"), "is no address"),
    (("watch", "last", "--url", "http://127.0.0.1:1"), "Check --url"),
    (("submit", "nope", "--url", "{url}"), "playground"),
    (("watch", "nope", "--url", "{url}"), "nope"),
])
def test_what_cannot_be_asked_for_is_told(served: Served, eva: Command, arguments: tuple[str, ...], told: str) -> None:
    refused = eva(*(argument.format(url=served.url) for argument in arguments), env={"RAY_ADDRESS": ""})
    assert refused.exit_code in (2, 4) and told in refused.stderr


def test_watching_tells_each_stage_once_and_what_a_run_waits_for() -> None:
    def run(status: str, **launch: Any) -> dict[str, Any]:
        return {"name": "r", "status": status, "iteration": 0, "iterations": 1, "error": None,
                "launch": {"ahead": None, "message": None, **launch}}

    def stage(name: str, status: str, done: int) -> dict[str, Any]:
        return {"iteration": 0, "name": name, "status": status, "done": done, "total": 8, "counts": {"pairs": 5}}

    first = stage("baseline", "done", 8)
    seen = iter([
        (run("queued"), [first]), (run("queued", ahead=2), [first]), (run("queued", message="Ray is away"), [first]),
        (run("running"), [first, stage("pair", "running", 3)]),
        (run("running"), [first, stage("pair", "done", 8), stage("train", "running", 0)]), (run("finished"), [first])])
    lines: list[str] = []
    facts = follow(lambda: next(seen), PlainProgress("r", 1, lines.append), sleep=lambda seconds: None)
    assert facts["status"] == "finished"
    told = zip(["2 before it", "Ray is away", "5 pairs"], lines, strict=True)
    assert all(part in line for part, line in told), lines


def test_a_launched_driver_plays_only_the_attempt_that_is_waited_for(served: Served, eva: Command) -> None:
    name = eva("submit", "playground", *SMALL, "--url", served.url).stdout.split()[0]
    refused = eva("drive", name, "--attempt", "1")
    assert refused.exit_code == 3 and "does not wait for attempt 1" in refused.stderr
    with served.service.store.transaction() as conn:
        assert runs.find_run(conn, name).status == "queued"
    for wrong in (("drive",), ("drive", name, "--config", "playground"), ("drive", name, "--set", "seed=1")):
        assert eva(*wrong).exit_code == 2
    lost = eva("drive", "--config", "playground", env={"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", "EVA_DATA_DIR": ""})
    assert lost.exit_code == 2 and "--runtime-env-json" in lost.stderr
