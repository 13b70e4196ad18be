"""The report of a study: what it compares, what it says of it, and what it does not hide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eva.studies.contamination import contamination
from eva.studies.records import PolicyRecord, RunRecord, Spent, StudyRecords
from eva.studies.report import study_report
from eva.studies.schema import StudyReport
from eva.studies.study import StudyConfig

SAMPLED, GREEDY = "heldout.hard.sampled.accuracy", "heldout.hard.greedy.accuracy"
PROMPTS = 40


def _config(**keys: Any) -> StudyConfig:
    values: dict[str, Any] = {
        "name": "metrics",
        "base": "playground",
        "arms": {"uniform": {"sampling.sampler": "uniform"}, "regret": {}, "again": {"generation.stream": 1}},
        "seeds": 6,
        "models": ("a", "b"),
        "outcome": {"figure": SAMPLED, "equivalent_within": 0.01},
        "compare": (("regret", "uniform"), ("again", "regret")),
    }
    return StudyConfig.model_validate(values | keys)


def _run(arm: str, seed: int, model: str, rate: float, spent: Spent, draw: np.random.Generator) -> RunRecord:
    """A run of two iterations whose last policy responds right at this rate."""
    policies = [
        PolicyRecord(
            checkpoint,
            Spent(*(checkpoint * amount // 2 for amount in (spent.responses, spent.tokens, spent.pairs, spent.steps))),
            (spent.steps // 2,) * checkpoint,
            {
                SAMPLED: draw.binomial(4, checkpoint * rate / 2, PROMPTS) / 4,
                GREEDY: draw.binomial(1, rate, PROMPTS).astype(float),
            },
        )
        for checkpoint in range(3)
    ]
    return RunRecord(f"{arm}-{seed}-{model}", arm, seed, model, "finished", None, tuple(policies))


def _records(config: StudyConfig | None = None, rates: Mapping[str, float] | None = None) -> StudyRecords:
    config = config or _config()
    draw = np.random.default_rng(4)
    spent = {"uniform": Spent(800, 8_000, 40, 32), "regret": Spent(1_600, 16_000, 60, 32)}
    runs = tuple(
        _run(
            arm,
            seed,
            model,
            (rates or {"uniform": 0.3, "regret": 0.5, "again": 0.5})[arm],
            spent.get(arm, spent["regret"]),
            draw,
        )
        for seed in config.seed_list
        for model in config.models
        for arm in config.arms
    )
    return StudyRecords(config, config.models, runs)


@pytest.fixture(scope="module")
def report() -> StudyReport:
    return study_report(_records())


def test_an_arm_that_is_better_is_called_better_with_its_interval_and_p(report: StudyReport) -> None:
    found = report.comparisons[0]
    assert (found.first, found.second, found.verdict, found.repeats) == ("regret", "uniform", "better", False)
    assert found.difference.low is not None and found.difference.high is not None
    assert 0 < found.difference.low < 0.2 < found.difference.high < 0.4
    # six seeds, all of the same sign: two of the 64 flips are as extreme
    assert (found.p, found.p_is_exact, found.p_adjusted) == (2 / 64, True, 2 / 64)
    assert found.detectable is not None and 0 < found.detectable < 0.2
    assert [each.model for each in found.models] == ["a", "b"] and len(found.pairs) == 12
    assert {pair.first for pair in found.pairs} == {f"regret-{seed}-{model}" for seed in range(6) for model in "ab"}


def test_an_arm_that_is_repeated_is_unresolved_and_its_interval_covers_zero(report: StudyReport) -> None:
    found = report.comparisons[1]
    assert (found.repeats, found.verdict, found.p_adjusted) == (True, "unresolved", None)
    assert report.repeats.outcome_covered is True and report.repeats.total == 2


def test_figures_that_were_not_named_are_exploratory(report: StudyReport) -> None:
    assert [(each.figure, each.first) for each in report.exploratory] == [(GREEDY, "regret")]


def test_arms_have_costs_and_curves_and_unequal_costs_are_named(report: StudyReport) -> None:
    uniform, regret = report.arms[0], report.arms[1]
    assert uniform.costs is not None and regret.costs is not None
    assert (uniform.costs.responses, regret.costs.responses, regret.costs.steps) == (800, 1600, 32)
    assert [point.iteration for point in regret.curve] == [0, 1, 2]
    assert regret.outcome is not None and regret.curve[2].outcome.value == pytest.approx(regret.outcome.value)
    assert {each.quantity for each in report.comparisons[0].unequal} == {"responses", "tokens", "pairs"}
    assert uniform.changes == {"sampling.sampler": "uniform"}


def test_a_smaller_difference_than_matters_is_equivalent() -> None:
    report = study_report(_records(_config(outcome={"figure": SAMPLED, "equivalent_within": 0.3})))
    assert report.comparisons[0].verdict == "equivalent"


def test_lower_can_be_better() -> None:
    report = study_report(_records(_config(outcome={"figure": SAMPLED, "better": "lower"})))
    assert report.comparisons[0].verdict == "worse"


def test_failed_runs_are_listed_and_their_pairs_left_out() -> None:
    records = _records()
    failed = replace(records.runs[0], status="failed", error="out of memory")
    report = study_report(replace(records, runs=(failed, *records.runs[1:-1])))
    assert report.counts == {"failed": 1, "finished": 34, "not_begun": 1} and report.planned == 36
    assert (report.runs[0].status, report.runs[0].error, report.runs[0].value) == ("failed", "out of memory", None)
    assert report.comparisons[0].difference.runs == 11 and report.comparisons[0].difference.seeds == 6


def test_a_study_without_finished_runs_has_no_claims() -> None:
    config = _config()
    report = study_report(StudyRecords(config, config.models, ()))
    assert report.comparisons == [] and report.counts == {"not_begun": 36} and report.arms[0].outcome is None


def test_equal_steps_are_proven_and_an_arm_with_fewer_is_shown() -> None:
    config = _config(match={"steps": 16})
    records = _records(config)
    equal = study_report(records).match
    assert equal is not None and equal.held and {(use.least, use.most) for use in equal.used} == {(16, 16)}
    short = replace(
        records.runs[0],
        policies=tuple(
            replace(policy, steps_by_iteration=(16, 9)[: policy.checkpoint]) for policy in records.runs[0].policies
        ),
    )
    unequal = study_report(replace(records, runs=(short, *records.runs[1:]))).match
    assert unequal is not None and not unequal.held and unequal.used[0].least == 9


def test_an_arm_is_cut_to_the_matched_responses() -> None:
    report = study_report(_records(_config(match={"responses": 800})))
    assert {(run.arm, run.checkpoint) for run in report.runs} == {("uniform", 2), ("regret", 1), ("again", 1)}
    assert report.match is not None and report.match.held
    assert report.arms[1].costs is not None and report.arms[1].costs.responses == 800


def test_the_report_survives_json(report: StudyReport) -> None:
    assert StudyReport.model_validate_json(report.model_dump_json()) == report


def test_heldout_prompts_that_were_trained_on_are_found() -> None:
    long = "Take i j j e d: unique, then sort, then shift, then replace e p, then rotate, then chop, then reverse."
    trained_on = [("Write a poem about the sea", ()), ("take k D b w: reverse", ()), (f"{long} Now.", ())]
    found = contamination([("Take k d b w: reverse", ()), (long, ()), ("Take a b: sort", ())], trained_on)
    assert (found.heldout, found.trained_on, found.equal, found.near) == (3, 3, 1, 1)
    assert found.examples[1].trained_on == f"{long} Now." and found.examples[1].heldout == long
