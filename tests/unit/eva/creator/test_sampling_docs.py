"""The reference tables list what the code has, and the examples for users' own functions run."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eva.config.files import load_config
from eva.creator.informativeness import estimate
from eva.creator.metrics import METRICS, VALUES_NO_GAP
from eva.creator.novelty import load_check
from eva.creator.samplers import SAMPLERS
from eva.creator.sampling import SamplingRule, sample
from eva.creator.weights import WEIGHTS
from eva.errors import ConfigError
from eva.solver.pairs import CHOICES, pair
from eva.types import REASONS, RewardTable
from orchestrator.launch.preflight import check_run

DOCS = Path(__file__).parents[4] / "docs"


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """Returns name -> cells of the table whose first column has this heading."""
    table = (DOCS / "reference" / page).read_text().split(f"| {heading} |")[1].split("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]
    return {found[1]: row for row in cells if (found := re.match(r"\s*`([^`]+)`", row[0].strip("| ")))}


@pytest.mark.parametrize(
    ("page", "heading", "names"),
    [
        ("metrics.md", "metric", {**METRICS, "module:function": None}),
        ("metrics.md", "reason", dict.fromkeys(filter(None, REASONS))),
        ("samplers.md", "weights", {**WEIGHTS, "module:function": None}),
        ("samplers.md", "sampler", {**SAMPLERS, "module:function": None}),
        ("pairs.md", "choice", {**CHOICES, "module:function": None}),
        ("pairs.md", "reason", dict.fromkeys(["too_few_responses", "no_gap", "lengths_differ", "below_margin"])),
    ],
)
def test_the_table_lists_what_the_code_has(page: str, heading: str, names: Mapping[str, Any]) -> None:
    assert {*rows(page, heading)} == {*names}


def test_the_table_says_which_metrics_value_a_prompt_without_a_gap() -> None:
    zero = {name for name, cells in rows("metrics.md", "metric").items() if cells[3] == "0"}
    assert zero - {"module:function"} == {*METRICS} - VALUES_NO_GAP


def example(heading: str) -> str:
    """Returns the code under a heading of the page."""
    section = (DOCS / "extending/creator.md").read_text().split(f"## {heading}\n")[1]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]


def pool(rewards: list[list[float]]) -> RewardTable:
    rewards_P_N = np.array(rewards)
    return RewardTable(
        np.arange(len(rewards)),
        rewards_P_N,
        np.arange(rewards_P_N.size).reshape(rewards_P_N.shape) + 1,
        np.zeros(rewards_P_N.shape, dtype=bool),
    )


@pytest.fixture
def users_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Writes the page's examples to importable files with the page's names."""
    for heading, module in (
        ("A metric", "my_metrics"),
        ("A weighting", "my_weights"),
        ("A sampler", "my_samplers"),
        ("A choice of pairs", "my_pairs"),
        ("A novelty check", "my_checks"),
    ):
        (tmp_path / f"{module}.py").write_text(example(heading))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for module in ("my_metrics", "my_weights", "my_samplers", "my_pairs", "my_checks"):
        sys.modules.pop(module, None)


GAPS = (0.1, 0.2, 0.5, 0.8, 0.9)


def test_the_pages_metric_runs_from_a_users_file(users_files: None) -> None:
    found = estimate(pool([[0.0, 1.0, 2.0, 3.0, 4.0], [1.0] * 5]), metric="my_metrics:quartile_gap")
    assert found.info_P.tolist() == [2.0, 0.0]


def test_the_pages_weighting_works(users_files: None) -> None:
    estimated = estimate(pool([[0.0, gap] for gap in GAPS]))
    draw = sample(estimated, 5, SamplingRule(weights="my_weights:above_median"), seed=1, iteration=1)
    assert draw.weights_P.tolist() == pytest.approx([0, 0, 0, 0.3 / 0.7, 0.4 / 0.7])
    assert draw.subset == [3, 4]
    squared = SamplingRule(weights="my_weights:above_median", temperature=0.5)
    assert sample(estimated, 5, squared, seed=1, iteration=1).weights_P[3:].tolist() == pytest.approx([0.36, 0.64])


def test_the_pages_sampler_works(users_files: None) -> None:
    estimated = estimate(pool([[0.0, gap] for gap in GAPS]))
    rule = SamplingRule(sampler="my_samplers:middle")
    assert sample(estimated, 1, rule, seed=1, iteration=1).subset == [2]
    assert sample(estimated, 3, rule, seed=1, iteration=1).subset == [1, 2, 3]


def test_the_pages_choice_of_pairs_works(users_files: None) -> None:
    judged = pool([[0.5, 2.0, 1.0], [3.0, 0.0, np.nan], [1.0, 1.0, 0.0]])
    pairing = pair(judged, seed=1, iteration=1, choice="my_pairs:neighbours")
    assert [(one.number, one.chosen, one.rejected) for one in pairing.pairs] == [(0, 1, 2), (1, 0, 1)]
    assert pairing.skipped == {"no_gap": 1}


def test_the_pages_functions_are_accepted_by_the_config_and_found_before_anything_starts(users_files: None) -> None:
    checked = check_run(
        load_config(
            "playground",
            [
                "informativeness.metric=my_metrics:quartile_gap",
                "sampling.weights=my_weights:above_median",
                "sampling.temperature=0.5",
                "sampling.sampler=my_samplers:middle",
                "pairs.choice=my_pairs:neighbours",
                "novelty.checks=[my_checks:no_links]",
            ],
        )
    )
    assert checked.config.novelty.checks == ["my_checks:no_links"] and checked.checks
    for key in ("informativeness.metric=my_metrics", "pairs.choice=my_pairs", "sampling.sampler=my_samplers"):
        with pytest.raises(ConfigError, match="nothing_of_the_kind"):
            check_run(load_config("playground", [f"{key}:nothing_of_the_kind"]))


def test_the_pages_novelty_check_works(users_files: None) -> None:
    check = load_check("my_checks:no_links")
    assert check.reason("Summarise https://example.org for me") == "link"
    assert check.reason("Summarise www.example.org") == "link"
    assert check.reason("Summarise the news of 1900. www") is None
