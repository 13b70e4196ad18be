"""Operators whose children are worth more are drawn more often, none is forgotten, and equal records choose alike."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eva.config.files import load_config
from eva.creator.operators.choice import (
    CHOICES,
    OperatorEvidence,
    OperatorRecord,
    evidence_of,
    operator_probabilities,
)
from eva.errors import ConfigError, InputError
from eva.types import Floats

NAMES = ("breadth", "constraints", "deepening")


def seen(operator: str, worth: float, error: float | None = 0.05, iteration: int = 1) -> OperatorEvidence:
    return OperatorEvidence(operator, iteration, 40, 40, worth, error)


def chances(*evidence: OperatorEvidence, iteration: int = 2, floor: float = 0.05, seed: int = 7) -> dict[str, float]:
    record = OperatorRecord(NAMES, evidence, iteration, seed)
    return {belief.operator: belief.probability for belief in operator_probabilities("bandit", record, floor)}


def test_without_evidence_all_operators_are_alike() -> None:
    assert chances() == pytest.approx(dict.fromkeys(NAMES, 1 / 3))


def test_a_clearly_better_operator_gets_all_but_the_floors_of_the_others() -> None:
    found = chances(seen("breadth", 0.1), seen("constraints", 0.9), seen("deepening", 0.1))
    assert found == pytest.approx({"breadth": 0.05, "constraints": 0.9, "deepening": 0.05})


def test_the_chance_is_that_of_being_the_best_given_what_is_known() -> None:
    """Two equal ones share, a worse one is best with the probability that its draw exceeds both."""
    found = chances(seen("breadth", 0.5), seen("constraints", 0.5), seen("deepening", 0.4), floor=0.0)
    draws = np.random.default_rng(0).normal([[0.5], [0.5], [0.4]], 0.05, size=(3, 200_000))
    exact = np.bincount(draws.argmax(axis=0)) / draws.shape[1]
    assert [found[name] for name in NAMES] == pytest.approx(exact, abs=0.035)


def test_an_operator_that_was_never_tried_is_tried() -> None:
    found = chances(seen("breadth", 0.4), seen("constraints", 0.6))
    assert 0.05 < found["deepening"] < 1
    assert found["constraints"] > found["breadth"]


def test_old_evidence_counts_less_than_new() -> None:
    old, new = seen("breadth", 0.9, iteration=1), seen("breadth", 0.1, iteration=9)
    rest = seen("constraints", 0.5, 0.01, 9), seen("deepening", 0.2, 0.01, 9)
    assert chances(old, new, *rest, iteration=10)["breadth"] < 0.1
    assert chances(seen("breadth", 0.9, iteration=9), *rest, iteration=10)["breadth"] > 0.85


def test_the_floor_is_a_least_chance_and_cannot_exceed_an_equal_share() -> None:
    evidence = seen("breadth", 0.1), seen("constraints", 0.9), seen("deepening", 0.1)
    assert min(chances(*evidence, floor=0.2).values()) == pytest.approx(0.2)
    assert chances(*evidence, floor=1.0) == pytest.approx(dict.fromkeys(NAMES, 1 / 3))
    assert min(chances(*evidence, floor=0.0).values()) == 0


def test_the_same_record_gives_the_same_chances_and_another_seed_nearly_the_same() -> None:
    evidence = seen("breadth", 0.5), seen("constraints", 0.55), seen("deepening", 0.45)
    assert chances(*evidence) == chances(*evidence)
    assert chances(*evidence) != chances(*evidence, seed=8)
    assert [*chances(*evidence).values()] == pytest.approx([*chances(*evidence, seed=8).values()], abs=0.05)


def test_a_refused_attempt_is_worth_nothing() -> None:
    attempts = {"breadth": {"asked": 40, "accepted": 10}, "deepening": {"asked": 30, "accepted": 0}}
    payoff: list[dict[str, Any]] = [{"operator": "breadth", "info": 0.8, "info_error": 0.1}]
    breadth, deepening = evidence_of(3, attempts, payoff, 0.5)
    assert breadth.worth == pytest.approx(0.8 * 0.25 * 0.5)
    assert deepening.worth == 0
    assert breadth.error == pytest.approx(np.hypot(0.125 * 0.1, 0.8 * np.sqrt(0.125 * 0.875 / 40)))


def test_an_iteration_whose_children_were_not_measured_says_nothing() -> None:
    (row,) = evidence_of(1, {"breadth": {"asked": 4, "accepted": 4}}, [], 1.0)
    assert row.worth is None
    assert chances(row) == pytest.approx(dict.fromkeys(NAMES, 1 / 3))


def test_the_bandit_finds_the_better_operator_of_a_world_whose_truth_is_known() -> None:
    """Over 30 games of 8 iterations, the best operator gets more than twice the draws that chance would give it."""
    truth = {"breadth": 0.30, "constraints": 0.45, "deepening": 0.25}
    shares: list[float] = []
    for game in range(30):
        random = np.random.default_rng(game)
        evidence, found = list[OperatorEvidence](), dict[str, float]()
        for iteration in range(1, 9):
            found = chances(*evidence, iteration=iteration, seed=game)
            counts = random.multinomial(60, [found[name] for name in NAMES])
            for name, count in zip(NAMES, counts.tolist(), strict=True):
                infos = random.normal(truth[name], 0.25, size=count)
                error = float(infos.std(ddof=1) / np.sqrt(count)) if count > 1 else None
                worth = float(infos.mean()) if count else None
                evidence.append(OperatorEvidence(name, iteration, count, count, worth, error))
        shares.append(found["constraints"])
    assert float(np.mean(shares)) > 2 / 3


def by_record(record: OperatorRecord) -> list[float]:
    return [float(len(record.evidence)), 1.0, 1.0]


@pytest.mark.parametrize(
    "wrong", [lambda _: [1.0], lambda _: [1.0, -1.0, 1.0], lambda _: [0.0] * 3, lambda _: "x", lambda _: 1 / 0]
)
def test_a_rule_of_the_users_own_is_used_and_checked(
    wrong: Callable[[OperatorRecord], Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{__name__}:by_record"
    record = OperatorRecord(NAMES, (seen("breadth", 0.1),) * 2, 2, 7)
    beliefs = operator_probabilities(name, record, 0.0)
    assert [belief.probability for belief in beliefs] == pytest.approx([0.5, 0.25, 0.25])
    monkeypatch.setitem(globals(), "by_record", wrong)
    with pytest.raises(InputError, match="choice of operators"):
        operator_probabilities(name, record, 0.0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["evolving.choice=bandid"], "bandid.*known: uniform, bandit"),
        (["evolving.floor=0.1"], "floor is 0.1, but choice uniform draws all operators alike"),
    ],
)
def test_an_impossible_choice_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("playground", overrides)


PAGE = (Path(__file__).resolve().parents[5] / "docs/reference/operators.md").read_text(encoding="utf-8")


def test_every_choice_has_a_row_in_the_page_on_operators() -> None:
    assert all(f"| `{name}`" in PAGE for name in CHOICES)


def test_the_pages_example_of_a_rule_prefers_what_was_asked_least() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - the example is ours
    record = OperatorRecord(NAMES, (seen("breadth", 0.1), seen("deepening", 0.1)), 2, 7)
    assert names["least_asked"](record) == [1 / 41, 1.0, 1 / 41]
