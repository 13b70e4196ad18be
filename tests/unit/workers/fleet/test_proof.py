"""Which weights an engine serves: what an opened engine and one that reloaded in place have to show."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from workers.fleet.proof import Rows, differences, mean_difference, nearness, refuse_opened, refuse_reloaded
from workers.training.canary import Canary, CanarySequence

ROWS, LENGTH = 8, 64


def canary_of(value_of: Callable[[int, int], float], *, tolerance: float = 2e-3, first: int = 5) -> Canary:
    """A canary whose token `column` of sequence `row` has this log-probability."""
    tokens = tuple(range(first, first + LENGTH))
    rows = (tuple(value_of(row, column) for column in range(LENGTH - 1)) for row in range(ROWS))
    return Canary("float32", tolerance, tuple(CanarySequence(tokens, row) for row in rows))


def moved(canary: Canary, size: float, seed: int) -> Canary:
    """The canary after training that moved each log-probability by about `size` nats."""
    rng = random.Random(seed)
    rows = (tuple(value + rng.gauss(0, size) for value in row) for row in canary.values)
    sequences = (CanarySequence(tokens, row) for tokens, row in zip(canary.tokens, rows, strict=True))
    return Canary(canary.dtype, canary.tolerance, tuple(sequences))


def engine(canary: Canary, noise: float, seed: int = 0) -> Rows:
    """What an engine with these weights and this rounding measures; a token now and then is far off."""
    rng = random.Random(seed)
    return [
        [value + rng.gauss(0, noise) * (10 if rng.random() < 0.01 else 1) for value in row] for row in canary.values
    ]


def mixture(old: Canary, new: Canary, share: float) -> Canary:
    """An engine that stayed `share` of the way behind, such as one with a stale head."""
    rows = (
        tuple(share * one + (1 - share) * other for one, other in zip(before, after, strict=True))
        for before, after in zip(old.values, new.values, strict=True)
    )
    sequences = (CanarySequence(tokens, row) for tokens, row in zip(new.tokens, rows, strict=True))
    return Canary(new.dtype, new.tolerance, tuple(sequences))


RANDOM = random.Random(1)
OLD = canary_of(lambda row, column: -RANDOM.expovariate(0.4))
# Nats per token: what float32 engines on a CPU show (5e-7), and what half-precision engines show on ordinary text.
FLOAT, HALF = 5e-7, 0.02


@pytest.mark.parametrize("move", [1e-5, 6.9e-4, 1.2e-3, 0.1])
@pytest.mark.parametrize("stale", [1.0, 0.5, 0.1])
def test_a_stale_reload_is_refused_however_little_the_training_moved(move: float, stale: float) -> None:
    """6.9e-4 and 1.2e-3 nats are what Gemma 3 and GPT-2 were off at ordinary learning rates, below the tolerance."""
    new = moved(OLD, move, seed=2)
    noise = mean_difference(OLD.values, engine(OLD, FLOAT))
    if move / 10 > 8 * noise:
        assert refuse_reloaded(new, OLD, engine(new, FLOAT, seed=3), noise=noise) is None
    assert refuse_reloaded(new, OLD, engine(mixture(OLD, new, stale), FLOAT, seed=3), noise=noise)


def test_a_reload_that_is_lost_in_the_noise_is_refused_with_the_reason() -> None:
    new = moved(OLD, 0.001, seed=2)
    noise = mean_difference(OLD.values, engine(OLD, HALF))
    refusal = refuse_reloaded(new, OLD, engine(new, HALF, seed=3), noise=noise)
    assert refusal is not None and "too little against the engine's" in refusal
    far = moved(OLD, 2.0, seed=2)
    assert refuse_reloaded(far, OLD, engine(far, HALF, seed=3), noise=noise) is None


def test_a_reload_of_equal_weights_is_accepted() -> None:
    assert refuse_reloaded(OLD, OLD, engine(OLD, FLOAT, seed=3), noise=FLOAT) is None
    assert refuse_reloaded(OLD, OLD, engine(moved(OLD, 1e-3, seed=2), FLOAT), noise=FLOAT)


def test_a_reload_after_a_checkpoint_with_other_tokens_proves_nothing() -> None:
    """As after an upgrade of eva that changed the canary's text."""
    earlier = canary_of(lambda row, column: -1.0, first=9)
    assert "other tokens" in (refuse_reloaded(OLD, earlier, engine(OLD, FLOAT), noise=FLOAT) or "")
    assert "other tokens" in (refuse_reloaded(OLD, None, engine(OLD, FLOAT), noise=FLOAT) or "")
    assert refuse_opened(OLD, earlier, engine(OLD, FLOAT), half=False) is None


@pytest.mark.parametrize("move", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("seed", range(20))
def test_half_precision_is_no_reason_to_refuse_right_weights(move: float, seed: int) -> None:
    new = moved(Canary(OLD.dtype, 0.1, OLD.sequences), move, seed)
    measured = engine(new, HALF, seed)
    assert max(differences(new.values, measured)) > 0.1, "the largest difference alone would refuse it"
    assert refuse_opened(new, OLD, measured, half=True) is None


@pytest.mark.parametrize("half", [False, True])
def test_an_opened_engine_that_is_nearer_to_the_previous_checkpoint_is_refused_where_the_noise_lets_it_show(
    half: bool,
) -> None:
    """As from a folder of an earlier checkpoint that another machine still has: within the tolerance, but wrong."""
    noise, move = (HALF, 0.03) if half else (FLOAT, 1e-4)
    new = moved(Canary(OLD.dtype, 0.1 if half else 2e-3, OLD.sequences), move, seed=2)
    refusal = refuse_opened(new, OLD, engine(OLD, noise), half=half)
    assert refusal is not None and "nearer to the previous checkpoint" in refusal
    assert refuse_opened(new, None, engine(OLD, noise), half=half) is None


def test_other_weights_are_refused_whatever_the_precision() -> None:
    other = canary_of(lambda row, column: -RANDOM.expovariate(0.4))
    for half, allowed in ((False, 2e-3), (True, 0.1)):
        refusal = refuse_opened(Canary("float32", allowed, OLD.sequences), None, other.values, half=half)
        assert refusal is not None and f"{allowed:.3g} are allowed" in refusal


def test_one_token_that_is_off_is_enough_in_float32() -> None:
    measured = [list(row) for row in OLD.values]
    measured[3][7] += 0.01
    assert refuse_opened(OLD, None, measured, half=False) is not None


@pytest.mark.parametrize(
    "damage", [lambda rows: rows[0].__setitem__(0, math.nan), lambda rows: rows[0].pop(), lambda rows: rows.pop()]
)
def test_missing_and_non_finite_values_count_as_an_infinite_difference(
    damage: Callable[[list[list[float]]], object],
) -> None:
    measured = [list(row) for row in OLD.values]
    damage(measured)
    assert mean_difference(OLD.values, measured) == math.inf
    assert refuse_opened(OLD, None, measured, half=True) and refuse_reloaded(OLD, OLD, measured, noise=1.0)


def test_nearness_says_where_an_engine_stands_between_two_checkpoints() -> None:
    new = moved(OLD, 0.01, seed=2)
    for share in (0.0, 0.25, 1.0):
        place = nearness(new, OLD, engine(mixture(OLD, new, share), 1e-5))
        assert place is not None and place[0] == pytest.approx(1 - share, abs=0.01) and 0 < place[1] < 0.001
    assert nearness(OLD, OLD, OLD.values) is None
