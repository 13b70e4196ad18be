"""Metrics for Prometheus say what the store holds."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, select

from store.leases import claim
from store.runs import create_run, set_status
from store.session import Store
from store.stages import advance_stage, close_stage, open_stage, read_stages
from store.tables import heldout_responses, responses
from tests.cli_fixtures import Played
from tests.service_fixtures import Served

Samples = dict[tuple[str, tuple[str, ...]], float]


def scrape(served: Served) -> Samples:
    """Each sample by its name and the values of its labels."""
    answer = served.client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {(sample.name, tuple(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(answer.text) for sample in family.samples}


def test_responses_and_tokens_are_those_that_are_stored(played: Played, played_service: Served) -> None:
    samples = scrape(played_service)
    stages = [one for one in samples if one[0] == "eva_responses_total"]
    with played.store.transaction() as conn:
        for table, names in ((responses, ("judge",)), (heldout_responses, ("baseline", "evaluate"))):
            count, tokens = conn.execute(select(func.count(), func.sum(table.c.tokens))).one()
            mine = [labels for _, labels in stages if labels[0].startswith(names)]
            assert mine
            assert sum(samples["eva_responses_total", labels] for labels in mine) == count
            assert sum(samples["eva_response_tokens_total", labels] for labels in mine) == tokens
    assert samples["eva_runs", ("finished",)] >= 1
    assert samples["eva_stages_closed_total", ("train",)] >= 3
    assert samples["eva_incidents_total", ("engine_lost",)] == 0


def test_a_run_that_plays_is_told_of_and_one_that_does_not_is_not(store: Store, served: Served) -> None:
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
