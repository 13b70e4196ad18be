"""The report of a study, from the records of its runs. docs/studies.md explains every figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from eva.config.changes import flatten
from eva.seeds import derive
from eva.studies.comparison import ROUNDS, Outcomes, SignFlips, Spread, holm, paired, sign_flips, spread
from eva.studies.power import coverage, detectable
from eva.studies.records import PolicyRecord, RunRecord, Spent, StudyRecords, heldout_overlap
from eva.studies.schema import (
    ArmPoint,
    ArmUse,
    ExploratoryDifference,
    Inequality,
    MatchProof,
    ModelDifference,
    PairedRuns,
    RepeatCheck,
    StudyArm,
    StudyComparison,
    StudyCosts,
    StudyInterval,
    StudyOutcome,
    StudyReport,
    StudyRun,
    Verdict,
)
from eva.studies.study import Match, Outcome, StudyConfig
from eva.types import Floats

FEWER_ROUNDS = 2_000
"""Bootstrap rounds of intervals that are drawn or exploratory."""
UNEQUAL = 0.01
"""Costs that differ by a larger share than this are reported."""
COSTS = tuple(field.name for field in fields(Spent))

Key = tuple[int, str]
"""A seed and a given model."""


class _Arm:
    """The finished runs of an arm, and the policy of each that counts."""

    def __init__(self, name: str, runs: Iterable[RunRecord], figure: str, match: Match | None) -> None:
        self.name = name
        self.chosen: dict[Key, tuple[RunRecord, PolicyRecord]] = {}
        for run in runs:
            policy = counting_policy(run, figure, match)
            if policy is not None:
                self.chosen[run.seed, run.model] = run, policy

    def outcomes(self, figure: str) -> Outcomes | None:
        """The figure of every run's policy that counts."""
        return _outcomes({key: policy.values.get(figure) for key, (_, policy) in self.chosen.items()})

    def costs(self, keys: Iterable[Key] | None = None) -> StudyCosts | None:
        """Mean costs of the runs with these seeds and given models, or of all."""
        spent = [self.chosen[key][1].spent for key in (self.chosen if keys is None else keys)]
        return StudyCosts(**{name: _mean(getattr(each, name) for each in spent) for name in COSTS}) if spent else None

    def curve(self, figure: str, seed: int) -> list[ArmPoint]:
        """The figure after each iteration, over the runs that evaluated the policy."""
        by_checkpoint: dict[int, dict[Key, Floats | None]] = {}
        for key, (run, last) in self.chosen.items():
            for policy in run.policies:
                if policy.checkpoint <= last.checkpoint:
                    by_checkpoint.setdefault(policy.checkpoint, {})[key] = policy.values.get(figure)
        points: list[ArmPoint] = []
        for checkpoint, values in sorted(by_checkpoint.items()):
            found = _spread(_outcomes(values), derive(seed, self.name, checkpoint), FEWER_ROUNDS)
            if found is not None:
                points.append(ArmPoint(iteration=checkpoint, outcome=_interval(found)))
        return points


def study_report(records: StudyRecords) -> StudyReport:
    """Returns the report of what a study's runs have shown so far."""
    config, figure = records.config, records.config.outcome.figure
    seed = derive(0, "study report", config.name)
    arms = {
        name: _Arm(name, (run for run in records.runs if run.arm == name), figure, config.match) for name in config.arms
    }
    figures = sorted({name for run in records.runs for policy in run.policies for name in policy.values} - {figure})
    comparisons = _comparisons(config, arms, seed)
    exploratory = [
        found
        for other in figures
        for one, two in config.comparisons
        if (found := _exploratory(other, arms[one], arms[two], derive(seed, other, one, two))) is not None
    ]
    planned = len(config.arms) * len(config.seed_list) * len(records.models)
    counts = Counter(run.status for run in records.runs)
    return StudyReport(
        name=config.name,
        question=config.question,
        outcome=StudyOutcome.model_validate(config.outcome, from_attributes=True),
        seeds=[*config.seed_list],
        models=[*records.models],
        planned=planned,
        counts={**counts, **({"not_begun": left} if (left := planned - len(records.runs)) > 0 else {})},
        arms=[_arm(arm, config, figure, seed) for arm in arms.values()],
        comparisons=comparisons,
        match=None if config.match is None else _match_proof(config.match, arms.values()),
        repeats=_repeats(config, comparisons, exploratory),
        contamination=records.contamination and heldout_overlap(records.contamination),
        exploratory=[each for each in exploratory if not config.repeats(each.first, each.second)],
        runs=[_run(run, arms[run.arm], figure) for run in records.runs if run.arm in arms],
    )


def counting_policy(run: RunRecord, figure: str, match: Match | None) -> PolicyRecord | None:
    """Returns the policy of a finished run that counts: the last one, or the last within a limit that is held equal."""
    if run.status != "finished":
        return None
    evaluated = [policy for policy in run.policies if figure in policy.values]
    if match is not None and match.quantity != "steps":
        evaluated = [policy for policy in evaluated if getattr(policy.spent, match.quantity) <= match.limit]
    return evaluated[-1] if evaluated else None


def _comparisons(config: StudyConfig, arms: Mapping[str, _Arm], seed: int) -> list[StudyComparison]:
    comparisons = [
        found
        for one, two in config.comparisons
        if (found := _comparison(config, arms[one], arms[two], derive(seed, one, two))) is not None
    ]
    claims = [number for number, each in enumerate(comparisons) if not each.repeats]
    for number, p in zip(claims, holm([comparisons[number].p for number in claims]), strict=True):
        comparisons[number] = comparisons[number].model_copy(update={"p_adjusted": p})
    return comparisons


def _comparison(config: StudyConfig, first: _Arm, second: _Arm, seed: int) -> StudyComparison | None:
    figure, models = config.outcome.figure, dict.fromkeys(model for _, model in first.chosen)
    differences, found, flips = _difference(figure, first, second, seed, ROUNDS)
    if differences is None or found is None or flips is None:
        return None
    keys = [key for key in first.chosen if key in second.chosen]
    by_model = [
        ModelDifference(model=model, difference=_interval(of_model))
        for model in models
        if (of_model := _spread(_of_model(differences, model), derive(seed, model), FEWER_ROUNDS)) is not None
    ]
    return StudyComparison(
        first=first.name,
        second=second.name,
        difference=_interval(found),
        p=flips.p,
        p_is_exact=flips.exact,
        p_adjusted=None,
        repeats=config.repeats(first.name, second.name),
        verdict=_verdict(found, config.outcome),
        detectable=detectable(found),
        pairs=_paired_runs(figure, first, second, keys),
        models=by_model if len(by_model) > 1 else [],
        unequal=_unequal(first.costs(keys), second.costs(keys)),
    )


def _exploratory(figure: str, first: _Arm, second: _Arm, seed: int) -> ExploratoryDifference | None:
    _, found, flips = _difference(figure, first, second, seed, FEWER_ROUNDS)
    if found is None or flips is None:
        return None
    return ExploratoryDifference(
        figure=figure,
        first=first.name,
        second=second.name,
        difference=_interval(found),
        p=flips.p,
        p_is_exact=flips.exact,
    )


def _difference(
    figure: str, first: _Arm, second: _Arm, seed: int, rounds: int
) -> tuple[Outcomes | None, Spread | None, SignFlips | None]:
    one, other = first.outcomes(figure), second.outcomes(figure)
    if one is None or other is None:
        return None, None, None
    differences = paired(one, other)
    return differences, spread(differences, seed=seed, rounds=rounds), sign_flips(differences, seed=seed)


def _arm(arm: _Arm, config: StudyConfig, figure: str, seed: int) -> StudyArm:
    found = _spread(arm.outcomes(figure), derive(seed, arm.name), ROUNDS)
    return StudyArm(
        name=arm.name,
        changes=flatten(config.arms[arm.name]),
        outcome=found and _interval(found),
        costs=arm.costs(),
        curve=arm.curve(figure, seed),
    )


def _run(run: RunRecord, arm: _Arm, figure: str) -> StudyRun:
    _, policy = arm.chosen.get((run.seed, run.model), (None, None))
    return StudyRun(
        name=run.name,
        arm=run.arm,
        seed=run.seed,
        model=run.model,
        status=run.status,
        error=run.error,
        checkpoint=policy and policy.checkpoint,
        value=policy and policy.mean(figure),
        costs=policy and StudyCosts(**asdict(policy.spent)),
    )


def _paired_runs(figure: str, first: _Arm, second: _Arm, keys: Sequence[Key]) -> list[PairedRuns]:
    pairs: list[PairedRuns] = []
    for seed, model in sorted(keys, key=lambda key: (key[1], key[0])):
        (one, policy), (other, other_policy) = first.chosen[seed, model], second.chosen[seed, model]
        with np.errstate(invalid="ignore"):
            gain_P = policy.values[figure] - other_policy.values[figure]
        if np.isfinite(gain_P).any():
            pairs.append(
                PairedRuns(
                    seed=seed,
                    model=model,
                    first=one.name,
                    second=other.name,
                    difference=float(gain_P[np.isfinite(gain_P)].mean()),
                )
            )
    return pairs


def _verdict(found: Spread, outcome: Outcome) -> Verdict | None:
    if found.low is None or found.high is None:
        return None
    margin = outcome.equivalent_within
    if margin is not None and -margin < found.low and found.high < margin:
        return "equivalent"
    if found.low <= 0 <= found.high:
        return "unresolved"
    return "better" if (found.value > 0) == (outcome.better == "higher") else "worse"


def _unequal(first: StudyCosts | None, second: StudyCosts | None) -> list[Inequality]:
    if first is None or second is None:
        return []
    both = [(name, getattr(first, name), getattr(second, name)) for name in COSTS]
    return [
        Inequality(quantity=name, first=one, second=other)
        for name, one, other in both
        if abs(one - other) > UNEQUAL * max(one, other)
    ]


def _match_proof(match: Match, arms: Iterable[_Arm]) -> MatchProof:
    used: list[ArmUse] = []
    for arm in arms:
        if match.quantity == "steps":
            amounts = [steps for _, policy in arm.chosen.values() for steps in policy.steps_by_iteration]
        else:
            amounts = [getattr(policy.spent, match.quantity) for _, policy in arm.chosen.values()]
        if amounts:
            used.append(ArmUse(arm=arm.name, least=min(amounts), most=max(amounts)))
    least, most = min((use.least for use in used), default=0), max((use.most for use in used), default=0)
    held = bool(used) and most <= match.limit and most - least <= UNEQUAL * most
    return MatchProof(quantity=match.quantity, limit=match.limit, held=held, used=used)


def _repeats(
    config: StudyConfig, comparisons: Sequence[StudyComparison], exploratory: Sequence[ExploratoryDifference]
) -> RepeatCheck:
    named = [each.difference for each in comparisons if each.repeats]
    others = [each.difference for each in exploratory if config.repeats(each.first, each.second)]
    of_outcome, of_all = (coverage(_ends(intervals)) for intervals in (named, [*named, *others]))
    return RepeatCheck(
        covered=of_all.covered,
        total=of_all.total,
        outcome_covered=of_outcome.covered == of_outcome.total if of_outcome.total else None,
    )


def _ends(intervals: Iterable[StudyInterval]) -> list[tuple[float, float]]:
    return [(each.low, each.high) for each in intervals if each.low is not None and each.high is not None]


def _outcomes(values: Mapping[Key, Floats | None]) -> Outcomes | None:
    """The values of the runs that have this figure. Runs with other numbers of prompts cannot be put side by side."""
    known = {key: values_P for key, values_P in values.items() if values_P is not None}
    if not known or len({len(values_P) for values_P in known.values()}) > 1:
        return None
    return Outcomes(
        np.array([seed for seed, _ in known], dtype=np.int64),
        tuple(model for _, model in known),
        np.stack([*known.values()]),
    )


def _of_model(outcomes: Outcomes, model: str) -> Outcomes:
    rows = [row for row, name in enumerate(outcomes.models_R) if name == model]
    return Outcomes(outcomes.seeds_R[rows], (model,) * len(rows), outcomes.values_R_P[rows])


def _spread(outcomes: Outcomes | None, seed: int, rounds: int) -> Spread | None:
    return None if outcomes is None else spread(outcomes, seed=seed, rounds=rounds)


def _interval(found: Spread) -> StudyInterval:
    values: dict[str, Any] = asdict(found)
    return StudyInterval(**{name: values[name] for name in StudyInterval.model_fields})


def _mean(values: Iterable[float]) -> float:
    return float(np.mean([*values]))
