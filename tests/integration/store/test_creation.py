"""Estimates, evolutions, batches, checkpoints, held-out answers and statistics."""

from __future__ import annotations

import math
from dataclasses import asdict, fields

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from eva.errors import ConflictError
from eva.types import (
    Attempt,
    Chain,
    Checkpoint,
    PairChoice,
    Prompt,
    PromptResponses,
    Reply,
    Response,
    TrainingStep,
)
from store.game import batches, checkpoints, evolutions, heldout, pairs, prompts, responses
from store.rows import BatchRow, EstimateRow, HeldoutResponse, WhyRow
from store.runs import runs
from store.session import Store
from store.views import report, statistics
from store.views.prompt_lists import pages as prompt_pages
from tests.support.decisions import read_batch
from tests.support.heldout_sets import held_out

POOL = [
    EstimateRow(0, 0, 0.5, None, 0.8, 1.25, True),
    EstimateRow(1, 0, 0.1, None, 0.2, -0.5, False),
    EstimateRow(2, 0, None, "one response", None, None, False),
]
BATCH = [BatchRow(1, True, 0, 0.1), BatchRow(3, False, 0, 0.4), BatchRow(4, False, 0, None, "all equal")]


@pytest.fixture
def run_id(store: Store) -> int:
    with store.transaction() as conn:
        run = runs.create_run(conn, stem="demo", config={}, config_hash="h", seed=7)
        seeds = [Prompt(number, f"seed {number}", root=number) for number in range(3)]
        children = [Prompt(3, "child", 0, 0, "deepening", 1, 1), Prompt(4, "child 2", 0, 0, "breadth", 1, 1)]
        prompts.insert_prompts(conn, run.id, [*seeds, *children])
        return run.id


def _attempt(slot: int, attempt: int, reason: str | None = None, parent_slot: int | None = None) -> Attempt:
    reply = Reply(f"child {slot}.{attempt}\t\\", 10, 20, 0.25)
    return Attempt(slot, attempt, "deepening", parent_slot, reply, reason)


def test_estimates_come_back_in_number_order(store: Store, run_id: int) -> None:
    with store.transaction() as conn:
        for _ in range(2):
            batches.copy_estimates(conn, run_id, 1, POOL[::-1])
        assert batches.read_estimates(conn, run_id, 1) == POOL
        assert batches.read_estimates(conn, run_id, 1, sampled=True) == POOL[:1]
        assert batches.read_estimates(conn, run_id, 2) == []


def test_a_batch_comes_back_in_number_order(store: Store, run_id: int) -> None:
    with store.transaction() as conn:
        for _ in range(2):
            batches.copy_batch(conn, run_id, 1, BATCH[::-1])
        assert read_batch(conn, run_id, 1) == BATCH
        assert batches.read_batch_numbers(conn, run_id, 1) == [1, 3, 4]


def test_what_counts_of_a_prompt_is_the_first_time_that_it_was_judged(store: Store, run_id: int) -> None:
    later = [EstimateRow(number, 1, 0.9, None, 0.9, 1.0, False) for number in range(5)]
    with store.transaction() as conn:
        for _ in range(2):
            batches.copy_estimates(conn, run_id, 1, POOL)
            batches.copy_batch(conn, run_id, 1, BATCH)
            batches.copy_estimates(conn, run_id, 2, later)
        assert report.read_infos(conn, run_id, range(5)) == {0: 0.5, 1: 0.1, 2: None, 3: 0.4, 4: None}
        for iteration, infos in ((None, [0.5, 0.4, 0.1, None, None]), (2, [0.9] * 5)):
            wanted = prompt_pages.PromptFilter(iteration)
            found = prompt_pages.prompt_page(conn, run_id, wanted, "-info", 9)
            assert [row.info for row in found] == infos


def test_chains_come_back_whole_and_in_order(store: Store, run_id: int) -> None:
    first = Chain(0, (_attempt(0, 0, "copy"), _attempt(0, 1), _attempt(1, 0, parent_slot=0)))
    second = Chain(2, (_attempt(0, 0),))
    with store.transaction() as conn:
        evolutions.copy_chains(conn, run_id, 1, [second])
        for _ in range(2):
            evolutions.copy_chains(conn, run_id, 1, [first])
        assert evolutions.read_chains(conn, run_id, 1) == [first, second]


def test_children_are_noted_on_the_accepted_attempt_alone(store: Store, run_id: int) -> None:
    with store.transaction() as conn:
        evolutions.copy_chains(conn, run_id, 1, [Chain(0, (_attempt(0, 0, "copy"), _attempt(0, 1), _attempt(1, 0)))])
        evolutions.assign_children(conn, run_id, 1, [(0, 0, 3), (0, 1, 4)])
        evolutions.assign_children(conn, run_id, 1, [])
        found = conn.execute(text("SELECT slot, attempt, child FROM evolutions ORDER BY slot, attempt")).all()
    assert [tuple(row) for row in found] == [(0, 0, None), (0, 1, 3), (1, 0, 4)]


def test_why_a_prompt_was_trained_on_is_one_query(store: Store, run_id: int) -> None:
    answers = tuple(Response(sample, f"y{sample}", "stop", 1, 0) for sample in range(2))
    with store.transaction() as conn:
        responses.copy_responses(conn, run_id, 0, [PromptResponses(number, "", answers) for number in range(5)])
        batches.copy_estimates(conn, run_id, 1, POOL)
        batches.copy_batch(conn, run_id, 0, [BatchRow(1, False, 0, 0.1)])
        batches.copy_batch(conn, run_id, 1, BATCH)
        pairs.copy_pairs(conn, run_id, 1, 0, [PairChoice(1, 0, 1, 2.0, 1.5), PairChoice(3, 1, 0, 1.0, 0.0)])
        kept, child = batches.why_trained(conn, run_id, 1), batches.why_trained(conn, run_id, 3)
        equal, never = batches.why_trained(conn, run_id, 4), batches.why_trained(conn, run_id, 2)
    none = dict.fromkeys(field.name for field in fields(WhyRow))
    of_parent = {"parent": 0, "parent_info": 0.5, "parent_weight": 0.8, "parent_key": 1.25}
    assert [asdict(row) for row in kept] == [
        none | {"iteration": 0, "buffer": False, "checkpoint": 0, "batch_info": 0.1},
        none
        | {"iteration": 1, "buffer": True, "checkpoint": 0, "batch_info": 0.1}
        | {"info": 0.1, "weight": 0.2, "key": -0.5, "sampled": False}
        | {"chosen": 0, "rejected": 1, "chosen_reward": 2.0, "rejected_reward": 1.5, "margin": 0.5},
    ]
    made = none | {"iteration": 1, "buffer": False, "checkpoint": 0} | of_parent
    assert [asdict(row) for row in child] == [
        made
        | {"operator": "deepening", "batch_info": 0.4}
        | {"chosen": 1, "rejected": 0, "chosen_reward": 1.0, "rejected_reward": 0.0, "margin": 1.0}
    ]
    assert [asdict(row) for row in equal] == [made | {"operator": "breadth", "batch_reason": "all equal"}]
    assert never == []


def test_a_checkpoint_is_registered_once_and_never_becomes_other_weights(store: Store, run_id: int) -> None:
    first, second = Checkpoint(0, 0, "p0", "d0"), Checkpoint(1, 0, "p1", "d1")
    with store.transaction() as conn:
        for _ in range(2):
            checkpoints.insert_checkpoint(conn, run_id, first)
            checkpoints.insert_checkpoint(conn, run_id, second, parent=0, dropped={"too long": 2})
        found = checkpoints.read_checkpoints(conn, run_id)
        assert [(row.number, row.parent, row.digest, row.dropped) for row in found] == [
            (0, None, "d0", {}),
            (1, 0, "d1", {"too long": 2}),
        ]
        assert checkpoints.read_checkpoint(conn, run_id, 1) == found[1]
        assert checkpoints.read_checkpoint(conn, run_id, 9) is None
    with pytest.raises(ConflictError, match="digest other"), store.transaction() as conn:
        checkpoints.insert_checkpoint(conn, run_id, Checkpoint(1, 0, "p1", "other"), parent=0)


def test_training_steps_keep_their_values_even_when_one_is_not_finite(store: Store, run_id: int) -> None:
    steps = [TrainingStep(1, {"loss": 0.5, "rewards/margins": -1.0}), TrainingStep(2, {"loss": math.nan})]
    with store.transaction() as conn:
        for _ in range(2):
            checkpoints.copy_training_steps(conn, run_id, 1, steps)
        found = checkpoints.read_training_steps(conn, run_id, 1)
    assert found[0] == steps[0]
    assert found[1].step == 2 and math.isnan(found[1].values["loss"])


def test_held_out_responses_know_what_is_missing_and_how_good_they_are(store: Store, run_id: int) -> None:
    good, bad = HeldoutResponse(0, 0, "4", "stop", 1, 1.0), HeldoutResponse(0, 1, "5\x00", "stop", 1, 0.0)
    unknown = HeldoutResponse(2, 0, "", "failed", 0, math.nan)
    with store.transaction() as conn:
        heldout.insert_heldout(conn, run_id, held_out("test", "2+2\x00", "3+3", "4+4"))
        heldout.insert_heldout(conn, run_id, held_out("far", "9+9"))
        assert heldout.read_heldout(conn, run_id, "test") == {0: "2+2\ufffd", 1: "3+3", 2: "4+4"}
        assert heldout.heldout_splits(conn, run_id) == ["far", "test"]
        questions = [(text, ()) for text in ("2+2\ufffd", "3+3", "4+4", "9+9")]
        assert sorted(heldout.read_all_heldout(conn, run_id)) == questions
        for _ in range(2):
            heldout.copy_heldout_responses(conn, run_id, 0, "test", "sampled", [good, bad, unknown])
        heldout.copy_heldout_responses(conn, run_id, 1, "test", "greedy", [good])
        assert heldout.heldout_missing(conn, run_id, 0, "test", "sampled", 2) == {1: 0, 2: 1}
        assert heldout.heldout_missing(conn, run_id, 0, "test", "sampled", 1) == {1: 0}
        assert heldout.heldout_missing(conn, run_id, 0, "test", "greedy", 1) == {0: 0, 1: 0, 2: 0}
        kept = heldout.read_heldout_responses(conn, run_id, 0, "test", "sampled")
        assert report.heldout_scores(conn, run_id, 1.0) == [
            report.HeldoutScore(0, "test", "sampled", 3, 2, 1, 0.5, True, 2, math.sqrt(0.125), 1, None),
            report.HeldoutScore(1, "test", "greedy", 1, 1, 1, 1.0, True, 1, None, 1, None),
        ]
        assert report.heldout_scores(conn, run_id, 0.0, checkpoint=0)[0].correct == 2
    assert [row.text for row in kept] == ["4", "5\ufffd", ""]
    assert kept[2].reward is None and kept[2].reason == "the reward is nan"


def test_a_statistic_is_replaced_by_a_newer_one(store: Store, run_id: int) -> None:
    with store.transaction() as conn:
        statistics.put_statistic(conn, run_id, 0, "pool", {"mean": 1.0})
        statistics.put_statistic(conn, run_id, 0, "pool", {"mean": math.nan, "bins": [1, 2]})
        statistics.put_statistic(conn, run_id, 2, "pool", 5)
        assert statistics.get_statistics(conn, run_id, "pool") == {0: {"mean": None, "bins": [1, 2]}, 2: 5}


def test_a_reward_without_its_response_is_refused(store: Store, run_id: int) -> None:
    lonely = text("INSERT INTO rewards VALUES (:run_id, 0, 0, 0, 'rm', 1.0, NULL)")
    with pytest.raises(IntegrityError), store.transaction() as conn:
        conn.execute(lonely, {"run_id": run_id})
