"""Which operator a parent gets: the probability of each, from what its children were worth in earlier iterations.

A new rule is a function (OperatorRecord -> probabilities, shape (K,)) and a line in CHOICES. Your own needs no line:
the config names it as `module:function`.

What an attempt is worth is the info of the child that it made, 0 if the child was refused. Operators are drawn for
parents at random, so their children can be compared as they are, unlike children with parents (`gain`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from eva.creator.operators import FAMILIES
from eva.runtime.user_functions import call_function, invalid_result, load_function
from eva.seeds import uniforms
from eva.types import Floats

DRAWS = 2_000
"""How many times the bandit draws every operator's worth from what is known of it."""
FLOOR = 0.05
_STANDARD = NormalDist()


@dataclass(frozen=True, slots=True)
class OperatorEvidence:
    """What one iteration showed of one operator: its attempts, and the info of its children that were measured.

    `worth` is the mean worth of an attempt, None if no child was measured; `error` its standard error, None where it is
    not known.
    """

    operator: str
    iteration: int
    asked: int
    accepted: int
    worth: float | None
    error: float | None


@dataclass(frozen=True, slots=True)
class OperatorRecord:
    """The operators that may be drawn, and the evidence of earlier iterations. `seed` derives the bandit's draws."""

    operators: tuple[str, ...]
    evidence: tuple[OperatorEvidence, ...]
    iteration: int
    seed: int


@dataclass(frozen=True, slots=True)
class OperatorBelief:
    """What the bandit believes of an operator: the mean worth of an attempt with its standard error, and why.

    `attempts` were made in the iterations that it knows of; without any, it believes what holds for the others.
    """

    operator: str
    worth: float | None
    error: float | None
    attempts: int
    probability: float


Choice = Callable[[OperatorRecord], Floats]

SIGNATURE = "a function (record) -> probabilities, one per name in record.operators, none negative"


def uniform(record: OperatorRecord) -> Floats:
    """Every operator alike."""
    return np.full(len(record.operators), 1 / len(record.operators))


def bandit(record: OperatorRecord) -> Floats:
    """Thompson sampling: how often each operator is the best one in draws from what is known of all of them.

    Older iterations count less, because the policy changes: their variance is multiplied by their age. An operator
    without evidence is believed to be like the others, as uncertain as these differ; without any evidence, all are
    alike.
    """
    known = {name: pooled for name in record.operators if (pooled := _pooled(name, record)) is not None}
    if not known:
        return uniform(record)
    means = np.array([mean for mean, _ in known.values()])
    errors = np.array([error for _, error in known.values()])
    other = float(means.mean()), math.sqrt(float(means.var() + np.square(errors).mean()))
    drawn_K_D = np.array([_drawn(name, *known.get(name, other), record) for name in record.operators])
    return np.bincount(drawn_K_D.argmax(axis=0), minlength=len(record.operators)) / DRAWS


CHOICES: dict[str, Choice] = {"uniform": uniform, "bandit": bandit}


def choice_named(name: str) -> Choice:
    """Returns the rule of this name, or the user's `module:function` with checked results. Raises ConfigError."""
    if name in CHOICES:
        return CHOICES[name]
    wording: dict[str, str] = {"what": "choice of operators", "expected": SIGNATURE}
    function = load_function(name, arguments=["record"], **wording)

    def checked(record: OperatorRecord) -> Floats:
        return _checked(name, call_function(name, function, record, **wording), len(record.operators), wording)

    return checked


def operator_probabilities(
    choice: str, record: OperatorRecord, floor: float, breadth: float = 0.0
) -> list[OperatorBelief]:
    """Returns each operator's probability, at least `floor` (or 1 / K if that is less), and what is believed of it.

    The operators in breadth get at least `breadth` together, in proportion to each other; so do the others in what is
    left. Raises ConfigError, and InputError if the user's rule returns no probabilities.
    """
    raw_K = choice_named(choice)(record)
    least = min(floor, 1 / len(record.operators)) if choice != "uniform" else 0.0
    probabilities_K = least + (1 - len(record.operators) * least) * raw_K / raw_K.sum()
    probabilities_K = _with_breadth(probabilities_K, record.operators, breadth)
    attempts = {name: sum(row.asked for row in record.evidence if row.operator == name) for name in record.operators}
    beliefs = {name: _pooled(name, record) or (None, None) for name in record.operators}
    return [
        OperatorBelief(name, *beliefs[name], attempts[name], probability)
        for name, probability in zip(record.operators, probabilities_K.tolist(), strict=True)
    ]


def is_broad(operator: str) -> bool:
    """Whether the operator's children ask about something else than their parents."""
    return FAMILIES.get(operator) == "in_breadth"


def _with_breadth(probabilities_K: Floats, operators: Sequence[str], breadth: float) -> Floats:
    broad_K = np.array([is_broad(name) for name in operators])
    share = float(probabilities_K[broad_K].sum())
    if share >= breadth or not broad_K.any():
        return probabilities_K
    # a rule of the user's may give all of them 0
    inner_K = probabilities_K[broad_K] / share if share else np.full(int(broad_K.sum()), 1 / broad_K.sum())
    raised_K = probabilities_K * (1 - breadth) / (1 - share)
    raised_K[broad_K] = breadth * inner_K
    return raised_K


def evidence_of(
    iteration: int, attempts: Mapping[str, Mapping[str, Any]], payoff: Sequence[Mapping[str, Any]], admitted: float
) -> list[OperatorEvidence]:
    """Returns what an iteration showed, from the counts of its evolve stage and from its payoff, both by operator.

    `admitted` is the share of the accepted children that a gate let through; 1 without a gate.
    """
    infos = {row["operator"]: row for row in payoff}
    return [
        _evidence(name, iteration, counts["asked"], counts["accepted"], infos.get(name, {}), admitted)
        for name, counts in sorted(attempts.items())
    ]


def _evidence(
    name: str, iteration: int, asked: int, accepted: int, payoff: Mapping[str, Any], admitted: float
) -> OperatorEvidence:
    info, info_error = payoff.get("info"), payoff.get("info_error")
    share = admitted * accepted / asked if asked else 0.0
    if asked and not accepted:
        return OperatorEvidence(name, iteration, asked, 0, 0.0, None)
    if info is None or not asked:
        return OperatorEvidence(name, iteration, asked, accepted, None, None)
    if info_error is None:
        return OperatorEvidence(name, iteration, asked, accepted, share * info, None)
    error = math.hypot(share * info_error, info * math.sqrt(share * (1 - share) / asked))
    return OperatorEvidence(name, iteration, asked, accepted, share * info, error)


def _pooled(name: str, record: OperatorRecord) -> tuple[float, float] | None:
    """The mean worth of an operator's attempts over iterations, with its standard error; None without evidence."""
    rows = [row for row in record.evidence if row.operator == name and row.worth is not None]
    # where an error is not known (a single family), the worth itself is the measure of doubt
    doubts = [row.error or max((abs(other.worth or 0.0) for other in record.evidence), default=0.0) for row in rows]
    weights = [
        1 / (doubt**2 * (record.iteration - row.iteration)) for row, doubt in zip(rows, doubts, strict=True) if doubt
    ]
    if len(weights) < len(rows) or not rows:
        return None
    mean = sum(weight * (row.worth or 0.0) for weight, row in zip(weights, rows, strict=True)) / sum(weights)
    return mean, math.sqrt(1 / sum(weights))


def _drawn(name: str, mean: float, error: float, record: OperatorRecord) -> list[float]:
    draws = uniforms(record.seed, record.iteration, "operator_choice", name, numbers=np.arange(DRAWS, dtype=np.int64))
    return [mean + error * _STANDARD.inv_cdf(draw) for draw in draws.tolist()]


def _checked(name: str, given: Any, count: int, told: Mapping[str, str]) -> Floats:
    try:
        values_K = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise invalid_result(name, f"a {type(given).__name__} that is no array of numbers", **told) from None
    if values_K.shape != (count,):
        raise invalid_result(name, f"an array of shape {values_K.shape} for {count} operators", **told)
    if not np.isfinite(values_K).all() or (values_K < 0).any() or not values_K.any():
        raise invalid_result(name, f"{values_K.tolist()}", **told)
    return values_K
