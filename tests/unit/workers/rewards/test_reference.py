"""The page about rewards names every choice of the code, and no other; the example of one's own reward works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from eva.config import Evaluation, PairwiseReward, PointwiseReward, Prompts, VerifierReward
from eva.evaluation.answers import NORMALISERS
from eva.measures.bradley_terry import AGGREGATIONS
from orchestrator.launch.material import read_seeds
from workers.rewards import REWARDERS
from workers.rewards.model import RewardRequest
from workers.rewards.verifier import VerifierModel

DOCS = Path(__file__).parents[4] / "docs"
PAGE = (DOCS / "reference/rewards.md").read_text("utf-8")


def rows(header: str) -> list[set[str]]:
    """The first cells of each table whose first column has this header."""
    return [
        set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
        for table in re.findall(rf"^\| `{header}` \|.*\n(?:\|.*\n)+", PAGE, re.MULTILINE)
        for table in [table.split("\n", 2)[2]]
    ]


def choices(section: type[PointwiseReward | PairwiseReward], field: str) -> set[str]:
    return set(get_args(section.model_fields[field].annotation))


def test_every_kind_has_a_row() -> None:
    assert rows("kind") == [set(REWARDERS)]


def test_every_choice_of_the_networks_has_a_row() -> None:
    assert rows("architecture") == [choices(PointwiseReward, "architecture"), choices(PairwiseReward, "architecture")]
    assert rows("backend") == [choices(PointwiseReward, "backend")]
    assert rows("template") == [choices(PointwiseReward, "template")]


def test_every_normaliser_has_a_row() -> None:
    assert rows("normaliser") == [set(NORMALISERS)]


def test_every_aggregation_has_a_row_and_a_function() -> None:
    assert rows("aggregation") == [choices(PairwiseReward, "aggregation")] == [set(AGGREGATIONS)]


def test_the_example_of_reference_answers_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "reference/references.md").read_text("utf-8")
    (code,), (settings,) = (re.findall(rf"```{name}\n(.*?)```", page, re.DOTALL) for name in ("python", "yaml"))
    (tmp_path / "my_checks.py").write_text(code)
    (tmp_path / "sums.jsonl").write_text('{"prompt": "2 + 2?", "answer": 4}\n{"prompt": "And 3?", "answer": null}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    values = yaml.safe_load(settings)
    seeds = read_seeds(Prompts.model_validate(values["prompts"])).prompts
    Evaluation.model_validate(values["evaluation"])
    model = VerifierModel(VerifierReward.model_validate(values["reward"]))
    asked = [RewardRequest(seed.text, ("It is 4.", "5"), (), seed.reference) for seed in seeds]
    rewards = model.reward_many(asked, lambda: None)
    assert [[reward.value for reward in row] for row in rewards] == [[1.0, 0.0], [None, None]]


def test_the_example_of_a_users_reward_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "extending/rewards.md").read_text("utf-8")
    (code,), (settings,) = (re.findall(rf"```{name}\n(.*?)```", page, re.DOTALL) for name in ("python", "yaml"))
    (tmp_path / "my_rewards.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    config = VerifierReward.model_validate(yaml.safe_load(settings)["reward"])
    VerifierModel.check(config)
    asked = [RewardRequest("2 + 2?", ("4", "Let me see. It is 4.", "four"))]
    (rewards,) = VerifierModel(config).reward_many(asked, lambda: None)
    assert [reward.value for reward in rewards] == pytest.approx([1.0, 0.99, 0.0])
