from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text, update

from eva.settings import Settings
from store.game import prompts
from store.schema import tables
from store.session import Store
from store.views import statistics
from tests.support.cli_fixtures import Command, Played, command_line
from tests.support.played_run import play_run, playground_config


def report_of(played: Played) -> dict[str, Any]:
    shown = played.eva("show", played.name, "--json")
    assert shown.exit_code == 0, shown.stderr
    return json.loads(shown.stdout)


def test_runs_lists_the_run_and_where_it_stands(played: Played) -> None:
    shown = played.eva("runs")
    assert shown.exit_code == 0
    (line,) = [line for line in shown.stdout.splitlines() if played.name in line]
    assert "finished" in line
    assert "3/3" in line


def test_runs_as_json_names_every_run(played: Played) -> None:
    (row,) = json.loads(played.eva("runs", "--json").stdout)
    assert row["name"] == played.name
    assert (row["iteration"], row["iterations"], row["held_by"], row["stage"]) == (3, 3, None, None)


def test_a_store_without_runs_says_how_to_start_one(eva: Command) -> None:
    assert "eva demo" in eva("runs").stdout


def test_a_run_whose_driver_was_killed_shows_as_interrupted(
    store: Store, store_settings: Settings, eva: Command
) -> None:
    run = play_run(store, store_settings, playground_config("iterations=1", "prompts.playground=8"))
    with store.transaction() as conn:
        conn.execute(update(tables.runs).values(status="running"))
        conn.execute(text("UPDATE stages SET status = 'running', finished_at = NULL, done = 3 WHERE name = 'train'"))
    (line,) = [line for line in eva("runs").stdout.splitlines() if run.name in line]
    assert "interrupted" in line
    assert "training 3/" in line
    assert "training 3/" in eva("show").stdout


def test_a_folder_without_a_data_directory_is_not_given_one(store_settings: Settings) -> None:
    eva = command_line(Settings(store_settings.data_dir / "nothing", None, None))
    for command in (["runs"], ["show"], ["lineage", "last", "0"], ["export", "last", "--what", "pairs"]):
        shown = eva(*command)
        assert shown.exit_code == 2
        assert "there are no runs in" in shown.stderr
    assert not (store_settings.data_dir / "nothing").exists()


@pytest.mark.parametrize("command", [["show"], ["lineage"], ["export", "--what", "pairs"]])
def test_an_unknown_run_is_refused_with_similar_names(played: Played, command: list[str]) -> None:
    name, *options = command
    number = ["0"] if name == "lineage" else []
    shown = played.eva(name, "playgrund", *number, *options)
    assert shown.exit_code == 2
    assert played.name in shown.stderr
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize("width", [80, 100])
def test_show_prints_the_report_within_the_terminal(played: Played, width: int) -> None:
    shown = played.eva("show", "last", env={"COLUMNS": str(width)})
    assert shown.exit_code == 0
    for title in (
        "What happened",
        "Held-out accuracy",
        "A family of prompts",
        "A held-out prompt",
        "number of operations",
    ):
        assert title in shown.stdout
    assert all(len(line) <= width for line in shown.stdout.splitlines())


def counted(conn: Connection, query: str) -> dict[int, int]:
    return {row[0]: row[1] for row in conn.execute(text(query))}


def test_the_report_holds_what_the_run_stored(played: Played) -> None:
    report = report_of(played)
    assert [row["iteration"] for row in report["iterations"]] == [0, 1, 2]
    first, second, _ = report["iterations"]
    assert first["warm_up"] is True
    assert first["children"] is None
    assert second["sampled"] == 12
    assert second["batch"]["children"] + second["batch"]["buffer"] == second["batch"]["prompts"] == 48
    with played.store.transaction() as conn:
        pairs = counted(conn, "SELECT iteration, count(*) FROM pairs GROUP BY 1")
        children = counted(conn, "SELECT born, count(*) FROM prompts WHERE depth > 0 GROUP BY 1")
        tokens = conn.execute(text("SELECT sum(tokens) FROM responses")).scalar_one()
    assert {row["iteration"]: row["pairs"] for row in report["iterations"]} == pairs
    assert {row["iteration"]: row["children"]["accepted"] for row in report["iterations"][1:]} == children
    assert sum(row["sampled_tokens"] for row in report["iterations"]) == tokens
    assert first["loss"] == pytest.approx((0.69 + 0.68 + 0.67) / 3)
    assert first["steps"] == 3


def keys(value: Any) -> set[str]:
    """Every key of the report, except names of sets and counted reasons."""
    if isinstance(value, list):
        return {key for item in value for key in keys(item)}
    if not isinstance(value, dict):
        return set()
    free = {"refused", "skipped", "dropped", "degenerate", "by_stage"}
    named = {key for key in value if key not in ("easy", "medium", "hard")}
    return named | {inner for key, item in value.items() if key not in free for inner in keys(item)}


def test_every_key_of_the_report_is_documented(played: Played) -> None:
    page = (Path(__file__).parents[3] / "docs" / "report.md").read_text("utf-8")
    assert [key for key in sorted(keys(report_of(played))) if f"`{key}`" not in page] == []


def test_held_out_accuracy_is_counted_with_its_interval(played: Played) -> None:
    heldout = report_of(played)["heldout"]
    assert [*heldout] == ["easy", "medium", "hard"]
    for split in heldout.values():
        assert (split["before"]["checkpoint"], split["after"]["checkpoint"]) == (0, 3)
        for at in (split["before"], split["after"]):
            for mode in ("greedy", "sampled"):
                score = at[mode]
                assert score["n"] == 30
                assert score["accuracy"] == score["correct"] / 30
                assert score["low"] <= score["accuracy"] <= score["high"]
    assert heldout["hard"]["after"]["sampled"]["accuracy"] > heldout["hard"]["before"]["sampled"]["accuracy"]


def test_the_family_leads_from_a_seed_to_a_late_descendant(played: Played) -> None:
    family = report_of(played)["family"]
    path = [member for member in family if member["on_path"]]
    assert path[0]["parent"] is None
    assert path[0]["operator"] is None
    for parent, child in pairwise(path):
        assert child["parent"] == parent["number"]
        assert child["operator"]
    assert path[-1]["iteration"] == 2
    numbers = {member["number"] for member in path}
    assert all(member["parent"] in numbers for member in family if not member["on_path"])
    judged = [member for member in family if member["info"] is not None]
    assert judged
    for member in judged:
        assert member["best"]["reward"] >= member["worst"]["reward"]


def test_the_example_is_one_that_the_first_policy_fails_and_the_last_solves(played: Played) -> None:
    example = report_of(played)["example"]
    assert example["split"] == "hard"
    answers = example["answers"]
    assert [answer["checkpoint"] for answer in answers] == [0, 1, 2, 3]
    assert (answers[0]["correct"], answers[-1]["correct"]) == (False, True)


def test_lineage_shows_the_line_up_and_the_tree_below(played: Played) -> None:
    with played.store.transaction() as conn:
        deepest = max(prompts.read_prompts(conn, played.run_id), key=lambda prompt: (prompt.depth, -prompt.number))
        line = prompts.ancestors(conn, played.run_id, deepest.number)
    facts = json.loads(played.eva("lineage", played.name, line[1].number, "--json").stdout)
    assert [row["number"] for row in facts["ancestors"]] == [line[0].number]
    assert facts["prompt"]["operator"] == line[1].operator
    assert {row.number for row in line[2:]} <= {row["number"] for row in facts["descendants"]}
    shown = played.eva("lineage", played.name, line[1].number)
    for row in line[:3]:
        assert f"#{row.number} " in shown.stdout
    assert str(line[1].operator) in shown.stdout


def test_lineage_stops_at_the_requested_depth(played: Played) -> None:
    root = report_of(played)["family"][0]["number"]
    facts = json.loads(played.eva("lineage", played.name, root, "--depth", "1", "--json").stdout)
    assert {row["distance"] for row in facts["descendants"]} == {1}
    assert json.loads(played.eva("lineage", played.name, root, "--depth", "0", "--json").stdout)["descendants"] == []


def test_a_missing_prompt_is_named_in_the_error(played: Played) -> None:
    shown = played.eva("lineage", played.name, "999999")
    assert shown.exit_code == 2
    assert "has no prompt 999999" in shown.stderr
    assert played.eva("lineage", played.name, "99999999999").exit_code == 2


def test_hostile_texts_reach_no_terminal(store: Store, store_settings: Settings, eva: Command) -> None:
    play_run(store, store_settings, playground_config("iterations=2", "prompts.playground=16"))
    hostile = "[red]owned[/] \x1b[2J\x1b]0;title\x07\u202e"
    with store.transaction() as conn:
        for table, column in (
            ("prompts", "text"),
            ("responses", "text"),
            ("heldout_responses", "text"),
            ("heldout_prompts", "text"),
            ("prompts", "topic"),
        ):
            conn.execute(text(f"UPDATE {table} SET {column} = :hostile"), {"hostile": hostile})  # noqa: S608 - names above
        conn.execute(text("UPDATE prompts SET operator = :hostile WHERE depth > 0"), {"hostile": hostile})
        conn.execute(text("UPDATE runs SET error = :hostile, status = 'failed'"), {"hostile": hostile})
    for command in (["show"], ["lineage", "last", "0"], ["runs"]):
        shown = eva(*command)
        assert shown.exit_code == 0, shown.stderr
        assert not {"\x1b", "\x07", "\u202e"} & {*shown.stdout}
    assert "[red]owned[/]" in eva("show").stdout


def test_a_run_with_a_users_own_prompts_has_a_report_too(store: Store, store_settings: Settings, eva: Command) -> None:
    config = playground_config("iterations=2", "prompts.playground=16", "evaluation.playground=null")
    play_run(store, store_settings, config)
    shown = eva("show")
    assert shown.exit_code == 0, shown.stderr
    assert "What happened" in shown.stdout
    assert "Held-out" not in shown.stdout
    report = json.loads(eva("show", "--json").stdout)
    assert (report["heldout"], report["example"]) == ({}, None)


def test_show_prints_the_diversity_and_audit_that_the_run_stored(store: Store, store_settings: Settings) -> None:
    config = playground_config(
        "iterations=2",
        "prompts.playground=12",
        "evaluation.playground=3",
        "collapse.warn={vendi: 12, distinct_2: 0}",
        "collapse.pause={effective_roots: 0.5}",
    )
    run = play_run(store, store_settings, config)
    eva = command_line(store_settings)
    rows = json.loads(eva("show", run.name, "--json").stdout)["iterations"]
    with store.transaction() as conn:
        diversity, audit = (statistics.get_statistics(conn, run.id, name) for name in ("diversity", "audit"))
    assert [row["audit"] for row in rows] == [audit[0], audit[1]]
    assert [{key: value for key, value in row["diversity"].items() if key != "breaches"} for row in rows] == [
        diversity[0],
        diversity[1],
    ]
    assert [[breach["figure"] for breach in row["diversity"]["breaches"]] for row in rows] == [["vendi"], ["vendi"]]
    assert rows[0]["diversity"]["breaches"][0]["pauses"] is False
    shown = eva("show", run.name).stdout
    assert "Diversity of the batch" in shown and "Reward against length" in shown
    assert f"iteration 0: vendi is {diversity[0]['vendi']:.4g}, below 12 (warned)" in shown
