"""Metrics for Prometheus say what the store holds."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, select, text

from eva.settings import Settings
from store.runs.forks import copy_history
from store.runs.leases import claim
from store.runs.runs import create_run, set_status
from store.runs.stage_totals import stage_sums
from store.runs.stages import advance_stage, close_stage, open_stage, read_stages
from store.schema.tables import heldout_responses, responses
from store.session import Store
from tests.support.cli_fixtures import Played
from tests.support.played_run import play_run, playground_config
from tests.support.service_fixtures import Served

PAGE = Path(__file__).parents[3] / "docs/reference/observability.md"
Samples = dict[tuple[str, tuple[str, ...]], float]


def scrape(served: Served) -> Samples:
    """Each sample by its name and the values of its labels."""
    answer = served.client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_responses_and_tokens_are_those_that_are_stored(played: Played, played_service: Served) -> None:
    samples = scrape(played_service)
    stages = [one for one in samples if one[0] == "eva_responses_total"]
    with played.store.transaction() as conn:
        for table, names in ((responses, ("judge",)), (heldout_responses, ("evaluate_initial", "evaluate"))):
            count, tokens = conn.execute(select(func.count(), func.sum(table.c.tokens))).one()
            mine = [labels for _, labels in stages if labels[0].startswith(names)]
            assert mine
            assert sum(samples["eva_responses_total", labels] for labels in mine) == count
            assert sum(samples["eva_response_tokens_total", labels] for labels in mine) == tokens
    assert samples["eva_runs", ("finished",)] >= 1
    assert samples["eva_stages_closed_total", ("train",)] >= 3
    assert samples["eva_incidents_total", ("engine_lost",)] == 0


def test_the_page_lists_every_metric(served: Served, store: Store) -> None:
    with store.transaction() as conn:
        run = create_run(conn, stem="r", config={"iterations": 1, "fleet": {"engines": 2}}, config_hash="h", seed=1)
        set_status(conn, run.id, "running")
        open_stage(conn, run.id, 0, "judge_pool", total=9)
        advance_stage(
            conn,
            run.id,
            0,
            "judge_pool",
            2,
            tallies={
                "responses": 3,
                "tokens": 9,
                "cost_usd": 0.25,
                "engine_ms": 4,
                "engine_busy_ms": 3,
                "engine_filled_ms": 1,
            },
        )
        assert claim(conn, run.id, {"pid": 1}, 60) is not None
    listed = re.findall(r"^\| `(eva_\w+)`", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted({name for name, _ in scrape(served)})


def test_only_playing_runs_have_metrics_of_their_own(store: Store, served: Served) -> None:
    with store.transaction() as conn:
        run = create_run(conn, stem='a "quoted"\nname', config={"iterations": 7}, config_hash="h", seed=1)
        idle = create_run(conn, stem="idle", config={"iterations": 1}, config_hash="h", seed=1)
        for row in (run, idle):
            set_status(conn, row.id, "running")
        open_stage(conn, run.id, 0, "judge_batch", total=40)
        advance_stage(conn, run.id, 0, "judge_batch", 12, tallies={"responses": 72, "tokens": 900})
        assert claim(conn, run.id, {"pid": 1}, 60) is not None
    samples = scrape(served)
    assert samples["eva_run_stage_done", (run.name, "judge_batch")] == 12
    assert samples["eva_run_stage_total", (run.name, "judge_batch")] == 40
    assert samples["eva_run_iterations", (run.name,)] == 7
    assert 0 < samples["eva_run_lease_seconds", (run.name,)] <= 60
    assert not [labels for _, labels in samples if idle.name in labels]


def test_what_closed_counts_once_whoever_takes_it_along_and_what_is_open_counts_as_it_goes(
    store: Store, store_settings: Settings, served: Served
) -> None:
    run = play_run(store, store_settings, playground_config("iterations=2"))
    with store.transaction() as conn:
        rows = read_stages(conn, run.id)
        for row in rows:
            close_stage(conn, run.id, row.iteration, row.name, {"responses": 1000})
        fork = create_run(conn, stem="fork", config={}, config_hash="h", seed=1)
        copy_history(conn, run.id, fork.id, 1)
    before = scrape(served)
    for name in {row.name for row in rows}:
        mine = [row for row in rows if row.name == name]
        assert before["eva_stages_closed_total", (name,)] == len(mine)
        assert before["eva_stage_seconds_total", (name,)] == pytest.approx(sum(row.seconds for row in mine))
        assert before.get(("eva_responses_total", (name,)), 0) == sum(row.counts.get("responses", 0) for row in mine)
    assert before["eva_evolved_prompts_total", ()] == sum(row.counts.get("accepted", 0) for row in rows)
    with store.transaction() as conn:
        for _ in range(2):
            open_stage(conn, fork.id, 1, "judge_pool", total=9)
        advance_stage(
            conn,
            fork.id,
            1,
            "judge_pool",
            2,
            tallies={
                "responses": 3,
                "quarantined": 1,
                "cost_usd": 0.25,
                "engine_ms": 4000,
                "engine_busy_ms": 3000,
                "engine_filled_ms": 1500,
            },
        )
        advance_stage(conn, fork.id, 1, "judge_pool", 3, tallies={"responses": 1, "cost_usd": 0.5})
    during = scrape(served)
    with store.transaction() as conn:
        close_stage(conn, fork.id, 1, "judge_pool")
    after = scrape(served)
    grown = {key[0]: value - before.get(key, 0) for key, value in during.items() if key[1] == ("judge_pool",)}
    assert grown == {
        "eva_stages_closed_total": 0,
        "eva_stage_seconds_total": 0,
        "eva_stage_retries_total": 1,
        "eva_stage_units_total": 3,
        "eva_responses_total": 4,
        "eva_response_tokens_total": 0,
        "eva_cost_usd_total": 0.75,
        "eva_engine_seconds_total": 4,
        "eva_engine_busy_seconds_total": 3,
        "eva_engine_filled_seconds_total": 1.5,
    }
    assert during["eva_quarantined_prompts_total", ()] == 1
    changed = {key: value - during.get(key, 0) for key, value in after.items() if value != during.get(key)}
    assert changed == {("eva_stages_closed_total", ("judge_pool",)): 1, ("eva_stage_units_total", ("judge_pool",)): 6}


def test_an_older_store_is_summed_when_it_is_brought_up_to_date(store: Store, store_settings: Settings) -> None:
    run = play_run(store, store_settings, playground_config("iterations=1"))
    known = import_module("migrations.versions.0013_stage_totals")
    with store.transaction() as conn:
        fork = create_run(conn, stem="fork", config={}, config_hash="h", seed=1)
        copy_history(conn, run.id, fork.id, 1)
        before = stage_sums(conn)
        conn.execute(text("DELETE FROM stage_totals"))
        conn.execute(text(known._KNOWN))
        assert stage_sums(conn) == before


def test_tallies_add_up_over_batches_and_stay_beside_the_counts_of_the_end(store: Store) -> None:
    with store.transaction() as conn:
        run = create_run(conn, stem="r", config={}, config_hash="h", seed=1)
        open_stage(conn, run.id, 0, "judge_pool", total=3)
        for tokens in (5, 7):
            advance_stage(conn, run.id, 0, "judge_pool", 1, tallies={"responses": 2, "tokens": tokens})
        advance_stage(conn, run.id, 0, "judge_pool", 1)
        close_stage(conn, run.id, 0, "judge_pool", {"quarantined": 1})
        (stage,) = read_stages(conn, run.id)
    assert stage.counts == {"responses": 4, "tokens": 12, "quarantined": 1}
