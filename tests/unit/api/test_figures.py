"""What the API computes from stored rows: training by step, the changes of an evolution, comparisons of runs."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from sqlalchemy import text

from eva.types import TrainingStep
from store.game import checkpoints, prompts
from store.runs.runs import create_run, find_run
from store.schema.tables import runs
from store.views import run_comparison
from tests.support.cli_fixtures import Played
from tests.support.service_fixtures import Pair, Served

BASE = "/v1/runs/last"


def get(served: Served, path: str, **params: Any) -> Any:
    answer = served.client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def trained(served: Served) -> Served:
    """A run with two trainings of 600 steps; one value of the loss stands out, one was no number."""
    with served.service.store.transaction() as conn:
        run = create_run(conn, stem="r", config={"iterations": 2}, config_hash="h", seed=1)
        for checkpoint in (1, 2):
            steps = [TrainingStep(step, {"loss": 1 / (checkpoint * step), "kl": float(step)}) for step in range(1, 601)]
            checkpoints.copy_training_steps(conn, run.id, checkpoint, steps)
        for value, step in (("999", 123), ("null", 456)):
            conn.execute(
                text(
                    "UPDATE training_steps SET values = jsonb_set(values, '{loss}', CAST(:value AS jsonb))"
                    " WHERE checkpoint = 2 AND step = :step"
                ),
                {"value": value, "step": step},
            )
    return served


def test_a_long_series_is_thinned_and_keeps_its_extremes(trained: Served) -> None:
    found = get(trained, f"{BASE}/metrics", name="loss", points=50)
    assert found["names"] == ["kl", "loss"]
    loss = found["items"][0]
    assert (loss["total"], loss["missing"]) == (1199, 1)
    assert 25 <= len(loss["values"]) <= 50
    assert max(loss["values"]) == 999 and min(loss["values"]) == 1 / 1200
    at = loss["values"].index(999)
    assert (loss["checkpoints"][at], loss["steps"][at], loss["places"][at]) == (2, 123, 722)
    assert loss["places"] == sorted({*loss["places"]})


def test_each_interval_of_a_series_keeps_its_extremes(trained: Served) -> None:
    kl = get(trained, f"{BASE}/metrics", name="kl", checkpoint=1, points=6)["items"][0]
    assert kl["steps"] == [1, 200, 201, 400, 401, 600]


def test_a_short_series_is_returned_in_full(trained: Served) -> None:
    kl = get(trained, f"{BASE}/metrics", name="kl", checkpoint=2, points=600)["items"][0]
    assert kl["values"] == [float(step) for step in range(1, 601)] and kl["total"] == 600


def test_an_unknown_metric_is_refused_with_the_names_of_the_known_ones(trained: Served) -> None:
    refused = trained.client.get(f"{BASE}/metrics", params={"name": "los"})
    assert refused.status_code == 404 and "kl, loss" in refused.json()["expected"]


def test_a_prompt_differs_from_its_parent_by_what_its_text_says(played_service: Served, played: Played) -> None:
    with played.store.transaction() as conn:
        every = prompts.read_prompts(conn, played.run_id)
    child = next(one for one in every if one.parent is not None)
    assert child.parent is not None
    found = get(played_service, f"{BASE}/prompts/{child.number}/difference")
    assert (found["against"], found["operator"], found["truncated"]) == (child.parent, child.operator, False)
    texts = {
        kind: "".join(one["text"] for one in found["stretches"] if one["kind"] != kind) for kind in ("added", "removed")
    }
    assert texts == {"added": every[child.parent].text, "removed": child.text}
    same = get(played_service, f"{BASE}/prompts/0/difference", against=0)["stretches"]
    assert [one["kind"] for one in same] == ["same"]


def test_a_seed_prompt_has_no_parent_to_differ_from(played_service: Served) -> None:
    refused = played_service.client.get(f"{BASE}/prompts/0/difference")
    assert refused.status_code == 404 and "against" in refused.json()["next_move"]


def test_runs_beside_each_other_show_what_differs(pair_service: Pair) -> None:
    first, second = pair_service.names
    found = get(pair_service.served, "/v1/compare", run=[first, second])
    assert found["config"] == [{"key": "pairs.min_margin", "values": [0.0, 0.2]}]
    assert [run["name"] for run in found["runs"]] == [first, second]
    curve = found["runs"][0]["curve"]
    assert [point["iteration"] for point in curve] == [0, 1]
    assert 0 < curve[0]["seconds"] < curve[1]["seconds"] and curve[1]["gpu_seconds"] == 0
    batch = get(pair_service.served, f"/v1/runs/{first}/statistics", name="batch")["items"]
    assert [point["info_mean"] for point in curve] == [one["data"]["info_mean"] for one in batch]
    assert {point["checkpoint"] for point in found["runs"][0]["heldout"]} == {0, 1, 2}


def test_paired_differences_are_those_of_the_prompts_that_both_answered(pair_service: Pair) -> None:
    first, second = pair_service.names
    paired = get(pair_service.served, "/v1/compare", run=[first, second])["paired"]
    with pair_service.served.service.store.transaction() as conn:
        means: list[dict[tuple[str, int], float]] = []
        for name in (first, second):
            rows = conn.execute(
                text(
                    "SELECT p.text, w.checkpoint, avg(w.value) FROM prompts p JOIN rewards w "
                    "ON w.run_id = p.run_id AND w.prompt = p.number "
                    "WHERE p.run_id = :run AND p.parent IS NULL GROUP BY p.text, w.checkpoint"
                ),
                {"run": find_run(conn, name).id},
            )
            means.append({(row[0], row[1]): row[2] for row in rows})
    seeds = [one for one in paired if one["prompts"] == "seeds"]
    assert [one["checkpoint"] for one in seeds] == sorted({key[1] for key in means[0].keys() & means[1].keys()})
    for one in seeds:
        both = [
            (means[0][key], means[1][key]) for key in means[0].keys() & means[1].keys() if key[1] == one["checkpoint"]
        ]
        gaps = [b - a for a, b in both]
        assert one["count"] == len(both)
        assert one["difference"] == pytest.approx(statistics.fmean(gaps))
        assert (one["better"], one["worse"]) == (sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps))
        assert one["standard_error"] == pytest.approx(statistics.stdev(gaps) / len(gaps) ** 0.5)
    assert {(one["prompts"], one["checkpoint"]) for one in paired} >= {("easy", 0), ("easy", 2)}


def test_of_many_seed_prompts_the_same_few_are_compared(pair_service: Pair) -> None:
    with pair_service.served.service.store.transaction() as conn:
        first, second = (find_run(conn, name).id for name in pair_service.names)
        every, few = (run_comparison.paired_over_seeds(conn, first, second, most) for most in (20_000, 6))
        again = run_comparison.paired_over_seeds(conn, second, first, 6)
    assert 0 < few[0].count < every[0].count
    assert [(one.count, one.first, one.better) for one in few] == [(one.count, one.second, one.worse) for one in again]


@pytest.mark.parametrize("runs", [["last"], ["last", "last"], ["last"] * 7])
def test_only_different_runs_are_compared(pair_service: Pair, runs: list[str]) -> None:
    assert pair_service.served.client.get("/v1/compare", params={"run": runs}).status_code == 422


def test_runs_share_what_was_played_before_their_lines_part(served: Served) -> None:
    store = served.service.store
    with store.transaction() as conn:
        parent, early, late, grandchild, stranger = (
            create_run(conn, stem=name, config={"iterations": 9}, config_hash=name, seed=1)
            for name in ("parent", "early", "late", "grandchild", "stranger")
        )
        for run, origin, at in ((early, parent, 2), (late, parent, 5), (grandchild, early, 4)):
            conn.execute(runs.update().where(runs.c.id == run.id).values(forked_from=origin.id, forked_at=at))
        pairs = ((parent, late), (early, late), (grandchild, late), (grandchild, early), (late, stranger))
        shared = {
            tuple(run.name.split("-")[0] for run in pair): run_comparison.shared_iterations(
                conn, pair[0].id, pair[1].id
            )
            for pair in pairs
        }
    assert shared == {
        ("parent", "late"): 5,
        ("early", "late"): 2,
        ("grandchild", "late"): 2,
        ("grandchild", "early"): 4,
        ("late", "stranger"): 0,
    }
