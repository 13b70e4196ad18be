"""Lists of runs: sorted, searched, grouped, with keys of their configs."""

from __future__ import annotations

from typing import Any

import pytest

from eva.types import Checkpoint
from store.game.checkpoints import insert_checkpoint
from store.rows import RunRow
from store.runs.runs import annotate_run, create_run
from store.runs.stages import open_stage
from store.schema.tables import runs, stages, training_steps
from store.session import Store
from store.views.statistics import put_statistic
from tests.support.service_fixtures import Served


def get(served: Served, path: str, **params: Any) -> Any:
    answer = served.client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def walk(served: Served, **params: Any) -> list[Any]:
    """Every run, two to a page."""
    items: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = get(served, "/v1/runs", limit=2, **params, **cursor)
        items += page["items"]
        if page["next"] is None:
            assert page["total"] == len(items)
            return items
        cursor = {"cursor": page["next"]}


def make_run(store: Store, name: str, beta: float | None, success: float | None, *tags: str, note: str = "") -> RunRow:
    """A run whose first policy succeeds on half of the held-out prompts; its newest on `success`, if any."""
    config = {"iterations": 1, "training": {"beta": beta}, "reward": {"api_base": "https://me:hunter22@host/v1"}}
    with store.transaction() as conn:
        run = create_run(conn, stem=name, config=config, config_hash=name, seed=1)
        annotate_run(conn, run.id, note=note, tags=tags)
        for checkpoint, share in enumerate((0.5, success)):
            score = {"checkpoint": checkpoint, "split": "hard set", "mode": "greedy", "reward": None}
            if share is not None:
                put_statistic(conn, run.id, checkpoint - 1, "heldout", [{**score, "accuracy": share}])
    return run


@pytest.fixture
def listed(served: Served, store: Store) -> Served:
    """Six runs with one key that differs, four of them trained."""
    make_run(store, "a", 0.1, 0.6, "sweep", note="the first try")
    make_run(store, "b", 0.2, 0.8, "sweep", "good")
    make_run(store, "c", 0.1, 0.8)
    make_run(store, "d", 10.0, None, "100%_sure")
    make_run(store, "e", None, 0.9)
    make_run(store, "f", 0.1, None)
    return served


def stems(items: list[Any]) -> str:
    return "".join(run["name"].partition("-")[0] for run in items)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("-created", "fedcba"),
        ("created", "abcdef"),
        ("name", "abcdef"),
        ("-name", "fedcba"),
        ("config.training.beta", "fcabde"),
        ("-config.training.beta", "dbfcae"),
        ("-heldout.hard set", "ecbafd"),
        ("heldout.hard set", "fdacbe"),
        ("-heldout.other", "fedcba"),
        ("seconds", "fedcba"),
        ("-config.no.such.key", "fedcba"),
    ],
)
def test_runs_are_sorted_over_all_pages_those_without_a_value_last(listed: Served, sort: str, order: str) -> None:
    assert stems(walk(listed, sort=sort)) == order


def test_an_unknown_order_is_refused_with_the_known_ones(listed: Served) -> None:
    refused = listed.client.get("/v1/runs", params={"sort": "-reward_mean"})
    assert refused.status_code == 422 and "heldout.SET" in refused.json()["expected"]


def test_words_are_parts_of_a_name_a_note_or_a_tag(listed: Served) -> None:
    assert stems(walk(listed, words="SWEE")) == "ba"
    assert stems(walk(listed, words="swee try")) == "a"
    assert stems(walk(listed, words="0%_")) == "d"
    assert stems(walk(listed, words="swee", tag="good")) == "b"
    assert walk(listed, words="sweep nothing") == []


def test_runs_are_selected_by_values_of_their_config(listed: Served) -> None:
    def having(*conditions: str, **more: Any) -> str:
        return stems(walk(listed, config=list(conditions), **more))

    assert having("training.beta=0.1") == "fca" == having("training.beta=1e-1")
    assert having("training.beta=null") == "e" and having("no.key=null", words="try") == "a"
    assert having("iterations=1", "training.beta=0.2") == "b"
    assert having("training.beta=NaN") == having('training.beta=["\\ud800"]') == having("no.key=1") == ""
    assert stems(walk(listed, words="swee training.beta=0.2")) == "b" and walk(listed, words="=x a=b") == []
    assert get(listed, "/v1/groups", by="tag", config="training.beta=0.2")["items"][0]["runs"]
    assert listed.client.get("/v1/runs", params={"config": "training.loss"}).status_code == 422


def test_a_list_shows_keys_of_the_config_without_secrets(listed: Served) -> None:
    (run,) = get(listed, "/v1/runs", words="try", key=["training.beta", "reward.api_base", "no.key"])["items"]
    assert run["config"] == {"training.beta": 0.1, "reward.api_base": "https://***@host/v1", "no.key": None}


def test_groups_have_the_mean_of_the_runs_that_were_trained(listed: Served) -> None:
    groups = get(listed, "/v1/groups", by="config.training.beta")["items"]
    assert [(group["value"], len(group["runs"])) for group in groups] == [(0.1, 3), (0.2, 1), (10.0, 1), (None, 1)]
    (mean,) = groups[0]["heldout"]
    assert (mean["split"], mean["runs"], mean["mean"]) == ("hard set", 2, pytest.approx(0.7))
    # Student's t with one degree of freedom: 12.7 standard errors of 0.1
    assert (mean["low"], mean["high"]) == (pytest.approx(0.7 - 1.27, abs=0.01), pytest.approx(0.7 + 1.27, abs=0.01))
    assert groups[1]["heldout"][0]["low"] is None and groups[2]["heldout"] == []
    by_tag = get(listed, "/v1/groups", by="tag")["items"]
    assert [(group["value"], len(group["runs"])) for group in by_tag] == [
        ("sweep", 2),
        ("100%_sure", 1),
        ("good", 1),
        (None, 3),
    ]
    assert len(get(listed, "/v1/groups", by="tag", words="try")["items"]) == 1


def test_the_keys_that_tell_runs_apart_are_named(listed: Served) -> None:
    assert get(listed, "/v1/groups/keys")["items"] == [{"key": "training.beta", "values": 4}]


def test_a_fork_has_not_spent_what_its_parent_has(served: Served, store: Store) -> None:
    parent = make_run(store, "parent", 0.1, 0.6)
    fork = make_run(store, "fork", 0.1, 0.6)
    with store.transaction() as conn:
        for run in (parent, fork):
            for iteration in (0, 1):
                for name in ("evolve", "judge_batch"):
                    open_stage(conn, run.id, iteration, name)
                insert_checkpoint(conn, run.id, Checkpoint(iteration + 1, iteration, "folder", "digest"))
                for step in (1, 2, 3):
                    values = {"run_id": run.id, "checkpoint": iteration + 1, "step": step, "values": {"loss": 0.5}}
                    conn.execute(training_steps.insert().values(**values))
        conn.execute(stages.update().values(seconds=2.0, counts={"tokens": 10, "cost_usd": 0.25}))
        conn.execute(runs.update().where(runs.c.id == fork.id).values(forked_from=parent.id, forked_at=1))
    spent = {run["name"]: (run["seconds"], run["tokens"], run["steps"], run["cost_usd"]) for run in walk(served)}
    # tokens of evolving are an LLM's
    assert spent == {parent.name: (8.0, 20, 6, 1.0), fork.name: (4.0, 10, 3, 0.5)}
    for figure in ("seconds", "tokens", "steps", "cost"):
        assert stems(walk(served, sort=f"-{figure}")) == "parentfork"
        assert stems(walk(served, sort=figure)) == "forkparent"


def test_the_best_policy_of_a_run_may_be_an_earlier_one(served: Served, store: Store) -> None:
    better = make_run(store, "better", 0.1, 0.6)
    worse = make_run(store, "worse", 0.1, 0.4)
    (found,) = get(served, "/v1/runs", words="worse")["items"][0]["outcome"]
    assert (found["newest"]["policy"], found["best"]["policy"], found["best"]["success"]) == (1, 0, 0.5)
    with store.transaction() as conn:
        score = {"checkpoint": 2, "split": "hard set", "mode": "greedy", "reward": None, "accuracy": 0.9}
        put_statistic(conn, worse.id, 1, "heldout", [score, {**score, "mode": "sampled", "accuracy": 1.0}])
        put_statistic(conn, worse.id, 2, "heldout", [{**score, "checkpoint": 3, "accuracy": 0.1}])
    assert stems(walk(served, sort="-heldout.hard set")) == "betterworse"
    assert stems(walk(served, sort="-best.hard set")) == "worsebetter"
    assert better.id != worse.id and stems(walk(served, sort="-best.other")) == "worsebetter"


def test_an_open_stage_says_how_long_it_still_takes(served: Served, store: Store) -> None:
    run = make_run(store, "playing", 0.1, None)
    with store.transaction() as conn:
        open_stage(conn, run.id, 0, "judge_batch", total=10)
    assert walk(served)[0]["stage"]["eta_s"] is None
    with store.transaction() as conn:
        conn.execute(stages.update().values(done=4, seconds=8.0))
    assert walk(served)[0]["stage"]["eta_s"] == pytest.approx(12.0)
