"""`eva` through a service, as a user calls it: runs are submitted, watched and shown as if the store were local."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api.security.access import Access
from api.service import Service
from cli.commands.watch import follow
from cli.terminal.progress import PlainProgress
from eva.settings import Settings
from orchestrator.launch.launcher import Launcher
from store.runs import runs
from store.runs.api_keys import create_key
from store.session import Store
from tests.support.cli_fixtures import Command, Played, command_line
from tests.support.fake_jobs import FakeJobs
from tests.support.service_fixtures import Pair, Served, listening_to, serving

SMALL = ("--set", "prompts.playground=16", "--set", "evaluation.playground=3", "--set", "iterations=1")


def test_a_run_is_submitted_played_and_watched(served: Served, eva: Command, tmp_path: Path) -> None:
    asked = (
        "submit",
        "playground",
        *SMALL,
        "--name",
        "far",
        "--tag",
        "a",
        "--restarts",
        "2",
        "--url",
        served.url,
        "--idempotency-key",
        "k",
    )
    told, again = eva(*asked), eva(*asked)
    assert told.exit_code == 0, told.output
    assert told.stdout == again.stdout, "submitted again under the same key, it is the same run"
    name = told.stdout.split()[0]
    assert f"eva watch {name} --url {served.url}" in told.stdout
    jobs = FakeJobs()
    launcher = Launcher(served.service.store, jobs, most=1)
    launcher.tick()
    jobs.play(served.service.store, tmp_path)
    for where in (("--url", served.url), ()):
        watched = eva("watch", name, *where)
        assert watched.exit_code == 0, watched.output
        assert watched.stdout.count(f"{name} is finished") == 1


def test_a_config_file_is_sent_unchanged_and_its_paths_are_refused(
    served: Served, eva: Command, tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        "name: file\nprompts: {path: mine.jsonl}\nmodel: {path: playground}\nreward: {kind: mock}\n"
        "evolving: {evolver: {kind: playground}}\ngeneration: {max_tokens: 64}\n",
        "utf-8",
    )
    refused = eva("submit", config, "--url", served.url)
    assert refused.exit_code == 2 and "EVA_DATASETS" in refused.stderr
    shown = eva("submit", config, "--set", "prompts={playground: 16}", "--url", served.url, "--json")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["config"]["prompts"]["playground"] == 16


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("submit", "playground"), "eva serve"),
        (("submit", "playground", "--url", "localhost:1"), "is not an address"),
        (("watch", "last", "--url", "http://127.0.0.1:1"), "no eva service responds"),
        (("submit", "nope", "--url", "{url}"), "playground"),
        (("watch", "nope", "--url", "{url}"), "nope"),
    ],
)
def test_an_impossible_request_is_refused_with_a_reason(
    served: Served, eva: Command, arguments: tuple[str, ...], told: str
) -> None:
    refused = eva(*(argument.format(url=served.url) for argument in arguments), env={"RAY_ADDRESS": ""})
    assert refused.exit_code in (2, 4) and told in refused.stderr


def test_watching_shows_each_stage_once_and_what_a_run_waits_for() -> None:
    def run(status: str, **launch: Any) -> dict[str, Any]:
        return {
            "name": "r",
            "status": status,
            "iteration": 0,
            "iterations": 1,
            "error": None,
            "launch": {"ahead": None, "message": None, **launch},
        }

    def stage(name: str, status: str, done: int) -> dict[str, Any]:
        return {"iteration": 0, "name": name, "status": status, "done": done, "total": 8, "counts": {"pairs": 5}}

    first = stage("evaluate_initial", "done", 8)
    seen = iter(
        [
            (run("queued"), [first]),
            (run("queued", ahead=2), [first]),
            (run("queued", message="Ray is away"), [first]),
            (run("queued") | {"wait": {"what": "start", "usual_s": 65.0, "runs": 3}}, [first]),
            (run("running") | {"wait": {"what": "evaluate", "usual_s": None, "runs": 0}}, [first]),
            (run("running"), [first, stage("pair", "running", 3)]),
            (run("running"), [first, stage("pair", "done", 8), stage("train", "running", 0)]),
            (run("finished"), [first]),
        ]
    )
    lines: list[str] = []
    facts = follow(lambda: next(seen), PlainProgress("r", 1, lines.append), sleep=lambda seconds: None)
    assert facts["status"] == "finished"
    waits = ["workers start (took 1:05", "take over the new policy"]
    told = zip(["behind 2 runs", "Ray is away", *waits, "5 pairs"], lines, strict=True)
    assert all(part in line for part, line in told), lines


def test_a_launched_driver_plays_only_the_attempt_that_the_run_waits_for(served: Served, eva: Command) -> None:
    name = eva("submit", "playground", *SMALL, "--url", served.url).stdout.split()[0]
    refused = eva("drive", name, "--attempt", "1")
    assert refused.exit_code == 3 and "does not wait for attempt 1" in refused.stderr
    with served.service.store.transaction() as conn:
        assert runs.find_run(conn, name).status == "queued"
    for wrong in (("drive",), ("drive", name, "--config", "playground"), ("drive", name, "--set", "seed=1")):
        assert eva(*wrong).exit_code == 2
    lost = eva("drive", "--config", "playground", env={"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", "EVA_DATA_DIR": ""})
    assert lost.exit_code == 2 and "--runtime-env-json" in lost.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("runs",),
        ("runs", "--json"),
        ("show",),
        ("show", "last", "--json"),
        ("lineage", "last", "60"),
        ("lineage", "last", "60", "--json"),
        ("events",),
        ("events", "last", "--json", "--after", "2", "--limit", "3"),
        ("logs",),
        ("logs", "--list"),
        ("watch",),
        ("export", "last", "--what", "pairs", "--out", "-"),
    ],
    ids=" ".join,
)
def test_a_service_shows_the_same_as_the_local_store(
    played: Played, played_service: Served, arguments: tuple[str, ...]
) -> None:
    here, there = played.eva(*arguments), played.eva(*arguments, "--url", played_service.url)
    assert (there.exit_code, there.stdout) == (here.exit_code, here.stdout)
    assert here.exit_code == 0, here.output


def test_runs_are_compared_through_a_service(pair_service: Pair) -> None:
    served = pair_service.served
    eva = command_line(served.service.settings)
    assert eva("compare", *pair_service.names, "--url", served.url).stdout == eva("compare", *pair_service.names).stdout


def test_a_service_that_needs_a_key_gets_the_one_in_the_environment(
    store: Store, store_settings: Settings, eva: Command
) -> None:
    with store.transaction() as conn:
        key, _ = create_key(conn, "reader", "read", None)
    with serving(Service(store, store_settings, access=Access(store))) as guarded:
        assert "no runs yet" in eva("runs", "--url", guarded.url, env={"EVA_KEY": key}).stdout
        for wrong in ({"EVA_KEY": ""}, {"EVA_KEY": key[:-1] + ("a" if key[-1] != "a" else "b")}):
            refused = eva("runs", "--url", guarded.url, env=wrong)
            assert refused.exit_code == 2 and "EVA_KEY" in refused.stderr and key not in refused.stderr
        scoped = eva("submit", "playground", "--url", guarded.url, env={"EVA_KEY": key})
        assert scoped.exit_code == 2 and "scope write" in scoped.stderr


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (200, "{}", "of the same version as this eva"),
        (404, '{"given": "there is nothing at /v1/runs"}', "of the same version as this eva"),
        (502, "<html>", "responded with status 502"),
        (200, "<html>", "no eva service responds"),
    ],
)
def test_a_service_of_another_kind_or_version_is_recognised(eva: Command, status: int, answer: str, told: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": answer.encode()})

    with listening_to(app) as url:
        refused = eva("runs", "--url", url)
    assert refused.exit_code == 4 and told in refused.stderr, refused.output


def test_a_key_is_never_sent_to_where_a_redirect_points(eva: Command) -> None:
    asked: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            asked.append(scope["path"])
            await send({"type": "http.response.start", "status": 302, "headers": [(b"location", b"/elsewhere")]})
            await send({"type": "http.response.body", "body": b""})

    with listening_to(app) as url:
        refused = eva("runs", "--url", url, env={"EVA_KEY": "eva_secret"})
    assert (refused.exit_code, asked) == (2, ["/v1/runs"]) and "status 302" in refused.stderr


@pytest.mark.parametrize(
    "command",
    [("show",), ("lineage",), ("events",), ("logs",), ("watch",), ("export", "--what", "pairs")],
    ids=" ".join,
)
@pytest.mark.parametrize("name", ["playgrund", "a/b", "../v1/keys", "x:pause", ""])
def test_an_unknown_run_is_named(played: Played, played_service: Served, command: tuple[str, ...], name: str) -> None:
    first, *options = command
    number = ["0"] if first == "lineage" else []
    for where in ((), ("--url", played_service.url)):
        refused = played.eva(first, name, *number, *options, *where)
        assert refused.exit_code == 2 and "there is no run" in refused.stderr, refused.output
