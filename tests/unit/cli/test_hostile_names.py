"""`eva logs`, `eva events` and `eva compare` show what the API returns, safely for a terminal."""

from __future__ import annotations

import json

from store.runs.events import append_event
from store.runs.runs import create_run, rename_run
from tests.support.cli_fixtures import Command, Played, command_line
from tests.support.service_fixtures import Pair, Served


def test_logs_are_shown_safely_and_without_secrets(served: Served, eva: Command) -> None:
    with served.service.store.transaction() as conn:
        run = create_run(conn, stem="r", config={"iterations": 1}, config_hash="h", seed=1)
    folder = served.service.settings.logs_dir / run.name
    folder.mkdir(parents=True)
    (folder / "eva.log").write_text("one\n\x1b[2Jtwo https://a:b@c/\n")
    shown = eva("logs", "last", "-n", "1")
    assert (shown.exit_code, shown.stdout) == (0, "␛[2Jtwo https://***@c/\n")
    assert "eva.log" in eva("logs", "--list").stdout
    refused = eva("logs", "last", "--name", "../../secret")
    assert refused.exit_code == 2 and "eva.log" in refused.stderr


def test_the_logs_of_a_renamed_run_are_found_where_they_were_written(served: Served, eva: Command) -> None:
    with served.service.store.transaction() as conn:
        run = create_run(conn, stem="r", config={"iterations": 1}, config_hash="h", seed=1)
        rename_run(conn, run.id, "better")
    folder = served.service.settings.logs_dir / run.name
    folder.mkdir(parents=True)
    (folder / "eva.log").write_text("played\n")
    assert eva("logs", "better").stdout == "played\n"
    assert served.client.get("/v1/runs/better/logs").json()["lines"] == ["played"]


def test_events_come_in_order_as_text_and_as_json(served: Served, eva: Command) -> None:
    with served.service.store.transaction() as conn:
        run = create_run(conn, stem="r", config={"iterations": 1}, config_hash="h", seed=1)
        append_event(conn, run.id, "began", iteration=0)
        append_event(conn, run.id, "odd", {"text": "\x1b[2J", "count": 3}, iteration=1, stage="judge_batch")
    lines = eva("events").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert "iteration 1 judge_batch" in lines[1] and "text ␛[2J, count 3" in lines[1]
    found = [json.loads(line) for line in eva("events", "last", "--after", "1", "--json").stdout.splitlines()]
    assert [(one["seq"], one["kind"], one["data"]["count"]) for one in found] == [(2, "odd", 3)]


def test_runs_are_compared_as_the_api_compares_them(pair_service: Pair) -> None:
    eva = command_line(pair_service.served.service.settings, width=140)
    narrow = eva("compare", *pair_service.names, env={"COLUMNS": "80"}).stdout.splitlines()
    tables = narrow[next(place for place, line in enumerate(narrow) if "Mean rewards" in line) :]
    assert any(" better " in line and line.rstrip().endswith("worse") for line in tables), "a heading is one line"
    assert max(map(len, narrow)) <= 80
    shown = eva("compare", *pair_service.names)
    assert shown.exit_code == 0, shown.stderr
    assert "pairs.min_margin" in shown.stdout and "seeds" in shown.stdout
    asked = pair_service.served.client.get("/v1/compare", params={"run": [*pair_service.names]}).json()
    assert json.loads(eva("compare", *pair_service.names, "--json").stdout) == asked
    assert eva("compare", "last", "last").exit_code == 2


def test_judged_prompts_are_exported_without_a_service(played: Played) -> None:
    written = played.eva("export", "last", "--what", "judged", "--out", "-").stdout
    assert {json.loads(line)["part"] for line in written.splitlines()} == {"pool", "batch"}
