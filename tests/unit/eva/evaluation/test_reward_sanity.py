"""Whether a rewarder is told for what it is: by category, and by empty, cut and padded responses."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from eva.errors import PromptFileError
from eva.evaluation.reward_pairs import OWN, RewardPair, read_reward_pairs
from eva.evaluation.reward_sanity import Preference, preferences, questions
from eva.types import Reward, RewardedResponses

Judge = Callable[[str, str], float | None]
PAIRS = [
    RewardPair(
        f"question {number}", f"right answer {number}, with all that there is to say about it. " * 3, "wrong", kind
    )
    for number, kind in enumerate(["facts", "sums"] * 10)
]


def ask(judge: Judge, pairs: Sequence[RewardPair] = PAIRS) -> dict[tuple[str, str | None], Preference]:
    asked = list(questions(pairs))
    rewarded = [
        RewardedResponses(
            question,
            tuple(
                Reward(value, None if value is not None else "no verdict")
                for value in (judge(question.text, response.text) for response in question.responses)
            ),
        )
        for _, _, question in asked
    ]
    return {(found.category, found.probe): found for found in preferences(asked, rewarded)}


def test_a_rewarder_that_knows_is_right_everywhere() -> None:
    whole = {pair.chosen for pair in PAIRS}
    found = ask(lambda _, text: float(text in whole))
    assert [*found] == [("facts", None), ("sums", None), ("", "empty"), ("", "cut"), ("", "padded")]
    assert all(one.share == 1 and one.ties == 0 for one in found.values())
    assert found["facts", None].pairs == 10 and found["", "cut"].pairs == 20
    low, high = found["facts", None].interval
    assert 0.69 < low < 0.75 and high == 1


def test_one_that_counts_letters_is_fooled_by_padding_alone() -> None:
    found = ask(lambda _, text: float(len(text)))
    assert found["facts", None].share == found["", "empty"].share == found["", "cut"].share == 1
    assert found["", "padded"].share == 0


def test_one_that_likes_brevity_is_fooled_by_everything_else() -> None:
    found = ask(lambda _, text: -float(len(text)))
    assert [found[key].share for key in found] == [0, 0, 0, 0, 1]


def test_one_that_knows_half_of_the_categories_is_told_by_category() -> None:
    odd = {pair.chosen for pair in PAIRS if pair.category == "facts"}
    found = ask(lambda _, text: float(text in odd))
    assert found["facts", None].share == 1
    assert (found["sums", None].share, found["sums", None].ties) == (0.5, 10)


def test_a_pair_without_rewards_counts_as_wrong_and_a_probe_without_one_fools_nobody() -> None:
    found = ask(lambda _, text: None if text in ("", "wrong") else 1.0)
    facts = found["facts", None]
    assert (facts.right, facts.unrewarded, facts.reason) == (0, 10, "no verdict")
    assert found["", "empty"].share == 1 and found["", "cut"].ties == 20


def test_short_responses_are_not_cut() -> None:
    assert ("", "cut") not in ask(lambda _, text: 1.0, [RewardPair("2 + 2?", "4", "5")])


def test_our_own_pairs_are_read_and_differ_in_what_they_say() -> None:
    pairs = read_reward_pairs(OWN)
    kinds = {pair.category for pair in pairs}
    assert len(pairs) >= 40 and kinds == {"facts", "sums", "instructions", "code", "helpfulness", "refusals"}
    assert len({pair.prompt for pair in pairs}) == len(pairs)
    longer = sum(len(pair.chosen) > len(pair.rejected) for pair in pairs)
    assert 0.3 < longer / len(pairs) < 0.7, "neither the longer nor the shorter response may be the better one"


TALK = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
        {"chosen": TALK, "rejected": [TALK[0], {"role": "assistant", "content": "5"}]},
        {"prompt": [TALK[0]], "chosen": [*TALK], "rejected": [TALK[0], {"from": "gpt", "value": "5"}]},
        {"prompt": "2 + 2?", "chosen": json.dumps(TALK), "rejected": "5"},
    ],
)
def test_pairs_are_read_from_texts_and_conversations(tmp_path: Path, row: dict[str, Any]) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps(row | {"subset": "sums"}) + "\n")
    assert read_reward_pairs(file) == [RewardPair("2 + 2?", "4", "5", "sums")]


def test_a_response_that_looks_like_json_stays_a_text(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    with file.open("w", newline="") as lines:
        csv.writer(lines).writerows([["prompt", "chosen", "rejected"], ["Sort 2 1.", "[1, 2]", "[2, 1"]])
    (pair,) = read_reward_pairs(file)
    assert (pair.chosen, pair.rejected, pair.category) == ("[1, 2]", "[2, 1", "all pairs")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "p", "chosen": "a"}, "has no rejected"),
        ({"chosen": "a", "rejected": "b"}, "no column `prompt`"),
        ({"prompt": " ", "chosen": "a", "rejected": "b"}, "empty prompt"),
        ({"prompt": "p", "chosen": "a", "rejected": "a "}, "same response twice"),
        ({"chosen": TALK[:1], "rejected": TALK}, "does not end with a response"),
        ({"chosen": TALK, "rejected": [{"role": "user", "content": "3 + 3?"}, TALK[1]]}, "same prompt"),
        ("text", "no columns"),
    ],
)
def test_rows_that_are_no_pairs_are_refused(tmp_path: Path, row: object, told: str) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(PromptFileError) as refused:
        read_reward_pairs(file)
    assert told in refused.value.given and "line 1" in refused.value.given


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n")
    with pytest.raises(PromptFileError, match="no pairs"):
        read_reward_pairs(file)
