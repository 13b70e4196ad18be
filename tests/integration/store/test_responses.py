"""Prompts, responses, rewards: what is copied in comes out, once, and what is missing is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from eva.creator.novelty import text_key
from eva.seeds import text_hash
from eva.types import PairChoice, PreferencePair, Prompt, PromptResponses, Response, Reward, RewardedResponses
from store.game import pairs, prompts, responses
from store.rows import ResponseCoverage
from store.runs import runs
from store.schema.tables import metadata
from store.session import Store

HOSTILE = "tab\t back\\slash \\N \\. new\nline \r 'single' \"double\" 😀 שלום \u202e {} %s , ;"
FAMILY = [
    Prompt(0, "seed", root=0, topic="sums"),
    Prompt(1, "other", root=1),
    Prompt(2, "child", 0, 0, "deepening", 1, 1),
    Prompt(3, "grandchild", 2, 0, "breadth", 2, 2),
    Prompt(4, "second child", 0, 0, "concretising", 1, 1),
]


@pytest.fixture
def run_id(store: Store) -> int:
    with store.transaction() as conn:
        run = runs.create_run(conn, stem="demo", config={}, config_hash="h", seed=7)
        prompts.insert_prompts(conn, run.id, FAMILY)
        return run.id


def _answered(number: int, n: int = 3, first: int = 0, checkpoint: int = 0) -> PromptResponses:
    made = tuple(
        Response(sample, f"{number}.{sample}@{checkpoint}", "length" if sample == 1 else "stop", 5 + sample, 2**62)
        for sample in range(first, first + n)
    )
    return PromptResponses(number, FAMILY[number].text, made)


def _rewarded(answered: PromptResponses) -> RewardedResponses:
    return RewardedResponses(
        answered, tuple(Reward(answered.number + response.sample / 10) for response in answered.responses)
    )


def _fill(store: Store, run_id: int, numbers: list[int], checkpoint: int = 0, rewarder: str = "rm") -> None:
    answered = [_answered(number, checkpoint=checkpoint) for number in numbers]
    with store.transaction() as conn:
        responses.copy_responses(conn, run_id, checkpoint, answered)
        responses.copy_rewards(conn, run_id, checkpoint, rewarder, [_rewarded(one) for one in answered])


def _count(store: Store, table: str) -> int:
    with store.transaction() as conn:
        return int(conn.execute(select(func.count()).select_from(metadata.tables[table])).scalar_one())


def test_prompts_come_back_as_they_were_given(store: Store, run_id: int) -> None:
    with store.transaction() as conn:
        assert prompts.read_prompts(conn, run_id) == FAMILY
        assert prompts.read_prompts(conn, run_id, [4, 0, 99]) == [FAMILY[0], FAMILY[4]]
        assert prompts.iter_prompts(conn, run_id, after=1, limit=2) == FAMILY[2:4]
        assert prompts.read_numbers_born(conn, run_id, 1, 2) == [2, 3, 4]
        assert prompts.read_text_keys(conn, run_id) == {text_key(prompt.text) for prompt in FAMILY}
        assert runs.get_run(conn, run_id).prompt_count == 5


@pytest.mark.parametrize("numbers", [[4], [6], [5, 7], [6, 5]])
def test_prompt_numbers_must_continue_densely(store: Store, run_id: int, numbers: list[int]) -> None:
    with pytest.raises(ValueError, match="expected"), store.transaction() as conn:
        prompts.insert_prompts(conn, run_id, [Prompt(number, "x") for number in numbers])
    assert _count(store, "prompts") == 5


def test_lineage_is_read_in_both_directions(store: Store, run_id: int) -> None:
    with store.transaction() as conn:
        assert prompts.ancestors(conn, run_id, 3) == [FAMILY[0], FAMILY[2], FAMILY[3]]
        assert prompts.ancestors(conn, run_id, 99) == []
        assert prompts.children(conn, run_id, 0) == [FAMILY[2], FAMILY[4]]
        below = prompts.descendants(conn, run_id, 0)
        assert [(row.number, row.parent, row.distance) for row in below] == [(2, 0, 1), (4, 0, 1), (3, 2, 2)]
        assert [row.number for row in prompts.descendants(conn, run_id, 0, max_depth=1, limit=1)] == [2]


@pytest.mark.usefixtures("run_id")
def test_an_ancestor_cannot_be_deleted(store: Store) -> None:
    with pytest.raises(IntegrityError), store.transaction() as conn:
        conn.execute(text("DELETE FROM prompts WHERE number = 2"))


def test_hostile_text_is_stored_as_it_is(store: Store, run_id: int) -> None:
    answered = PromptResponses(
        0, "seed", (Response(0, HOSTILE, "stop", 1, 0), Response(1, "a\x00b\ud800c", "stop", 1, 0))
    )
    with store.transaction() as conn:
        prompts.insert_prompts(conn, run_id, [Prompt(5, HOSTILE + "\x00", root=5, topic=HOSTILE)])
        responses.copy_responses(conn, run_id, 0, [answered])
        (kept,) = responses.read_responses(conn, run_id, 0, [0])
        (prompt,) = prompts.read_prompts(conn, run_id, [5])
        found = responses.read_reward_table(conn, run_id, 0, "rm", [0], 2)
    assert [response.text for response in kept.responses] == [HOSTILE, "a\ufffdb\ufffdc"]
    assert (prompt.text, prompt.topic) == (HOSTILE + "\ufffd", HOSTILE)
    assert found.text_hashes_P_N.tolist() == [[text_hash(HOSTILE), text_hash("a\ufffdb\ufffdc")]]


def test_a_batch_that_is_repeated_neither_fails_nor_doubles(store: Store, run_id: int) -> None:
    failed = PromptResponses(3, "grandchild", (), "too long")
    for _ in range(2):
        with store.transaction() as conn:
            responses.copy_responses(conn, run_id, 0, [_answered(0), failed])
            responses.copy_rewards(conn, run_id, 0, "rm", [_rewarded(_answered(0))])
    assert [_count(store, name) for name in ("responses", "rewards", "quarantines")] == [3, 3, 1]


def test_a_batch_of_which_a_part_is_there_adds_the_rest_and_changes_nothing(store: Store, run_id: int) -> None:
    other = PromptResponses(0, "seed", (Response(0, "another answer", "stop", 1, 1), Response(3, "new", "stop", 1, 1)))
    with store.transaction() as conn:
        responses.copy_responses(conn, run_id, 0, [_answered(0)])
        responses.copy_responses(conn, run_id, 0, [other, _answered(1)])
        kept = responses.read_responses(conn, run_id, 0, [0, 1])
    assert [response.text for response in kept[0].responses] == ["0.0@0", "0.1@0", "0.2@0", "new"]
    assert kept[1] == _answered(1)


def test_coverage_names_what_is_missing_and_leaves_quarantined_prompts_out(store: Store, run_id: int) -> None:
    with store.transaction() as conn:
        answered = [_answered(0), _answered(1), _answered(2, n=2), PromptResponses(3, "grandchild", (), "too long")]
        responses.copy_responses(conn, run_id, 0, answered)
        responses.copy_rewards(conn, run_id, 0, "rm", [_rewarded(_answered(0)), _rewarded(_answered(1, n=2))])
        everything = [4, 3, 2, 1, 0]
        assert responses.coverage(conn, run_id, 0, "rm", everything, 3) == ResponseCoverage({4: 0, 2: 2}, [1])
        assert responses.coverage(conn, run_id, 0, "other", everything, 3) == ResponseCoverage({4: 0, 2: 2}, [1, 0])
        assert responses.coverage(conn, run_id, 0, "rm", everything, 2) == ResponseCoverage({4: 0}, [2])
        assert responses.coverage(conn, run_id, 1, "rm", [0, 3], 3) == ResponseCoverage({0: 0, 3: 0}, [])
        assert responses.coverage(conn, run_id, 0, "rm", [], 3) == ResponseCoverage({}, [])


def test_a_reward_table_has_the_order_that_was_asked_for(store: Store, run_id: int) -> None:
    with store.transaction() as conn:
        responses.copy_responses(
            conn, run_id, 0, [_answered(4), _answered(0), PromptResponses(1, "other", (), "too long")]
        )
        refused = RewardedResponses(_answered(4), (Reward(1.5), Reward(None, "no verdict"), Reward(math.inf)))
        responses.copy_rewards(conn, run_id, 0, "rm", [refused, _rewarded(_answered(0))])
        found = responses.read_reward_table(conn, run_id, 0, "rm", [4, 2, 0, 1], 3)
    nan = math.nan
    expected = [[1.5, nan, nan], [nan] * 3, [0.0, 0.1, 0.2], [nan] * 3]
    np.testing.assert_array_equal(found.rewards_P_N, expected)
    assert found.numbers_P.tolist() == [4, 2, 0, 1]
    assert found.cut_P_N.tolist() == [[False, True, False], [False] * 3, [False, True, False], [False] * 3]
    assert found.text_hashes_P_N[0].tolist() == [text_hash(f"4.{sample}@0") for sample in range(3)]
    assert found.text_hashes_P_N[1].tolist() == [0, 0, 0]
    assert found.failures == {1: "too long"}


def test_rewards_of_different_rewarders_and_policies_are_never_mixed(store: Store, run_id: int) -> None:
    _fill(store, run_id, [0], checkpoint=0, rewarder="rm")
    _fill(store, run_id, [0], checkpoint=1, rewarder="other")
    with store.transaction() as conn:
        assert np.isnan(responses.read_reward_table(conn, run_id, 1, "rm", [0], 3).rewards_P_N).all()
        assert np.isfinite(responses.read_reward_table(conn, run_id, 1, "other", [0], 3).rewards_P_N).all()


def test_no_prompts_give_empty_arrays(store: Store, run_id: int) -> None:
    with store.transaction() as conn:
        assert responses.read_reward_table(conn, run_id, 0, "rm", [], 3).rewards_P_N.shape == (0, 3)
        assert responses.newest_checkpoints(conn, run_id, "rm", [], 3) == {}
        assert responses.read_responses(conn, run_id, 0, []) == []


def test_what_cannot_be_rewarded_keeps_its_reason(store: Store, run_id: int) -> None:
    with store.transaction() as conn:
        responses.copy_responses(conn, run_id, 0, [_answered(0)])
        given = (Reward(math.nan), Reward(None, "no verdict\x00"), Reward(None))
        responses.copy_rewards(conn, run_id, 0, "rm", [RewardedResponses(_answered(0), given)])
        reasons = list(conn.execute(text("SELECT reason FROM rewards ORDER BY sample")).scalars())
    assert reasons == ["the reward is nan", "no verdict\ufffd", "no reason was given"]


def test_the_newest_policy_with_a_full_set_is_found(store: Store, run_id: int) -> None:
    _fill(store, run_id, [0, 1], checkpoint=0)
    _fill(store, run_id, [1], checkpoint=2)
    with store.transaction() as conn:
        responses.copy_responses(conn, run_id, 3, [_answered(1, n=2, checkpoint=3)])
        responses.copy_rewards(conn, run_id, 3, "rm", [_rewarded(_answered(1, n=2, checkpoint=3))])
        assert responses.newest_checkpoints(conn, run_id, "rm", [0, 1, 2], 3) == {0: 0, 1: 2}
        assert responses.newest_checkpoints(conn, run_id, "rm", [0, 1, 2], 2) == {0: 0, 1: 3}


def test_the_cost_counts_this_policys_responses_to_these_prompts(store: Store, run_id: int) -> None:
    _fill(store, run_id, [0, 1], checkpoint=0)
    _fill(store, run_id, [1], checkpoint=1)
    with store.transaction() as conn:
        assert responses.sampling_cost(conn, run_id, 0, [1, 2]) == {"responses": 3, "tokens": 18}


def test_an_iterations_pairs_come_with_their_texts_by_prompt(store: Store, run_id: int) -> None:
    _fill(store, run_id, [0, 1], checkpoint=0)
    _fill(store, run_id, [0], checkpoint=1)
    with store.transaction() as conn:
        pairs.copy_pairs(conn, run_id, 1, 1, [PairChoice(0, 2, 0, 0.2, 0.0)])
        pairs.copy_pairs(conn, run_id, 0, 0, [PairChoice(1, 1, 0, 1.1, 1.0), PairChoice(0, 2, 1, 0.2, 0.1)])
        first = list(pairs.iter_pairs_with_texts(conn, run_id, 0))
        second = list(pairs.iter_pairs_with_texts(conn, run_id, 1))
        assert pairs.read_pairs(conn, run_id, 0)[0] == PairChoice(0, 2, 1, 0.2, 0.1)
    assert first == [
        PreferencePair(0, "seed", "0.2@0", "0.1@0", 0.2, 0.1, rejected_cut=True),
        PreferencePair(1, "other", "1.1@0", "1.0@0", 1.1, 1.0, chosen_cut=True),
    ]
    assert second == [PreferencePair(0, "seed", "0.2@1", "0.0@1", 0.2, 0.0)]
