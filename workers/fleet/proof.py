"""Proof of which weights an engine serves: its log-probabilities against the canaries of this checkpoint and the last.

An engine that was opened anew has nothing but the folder's weights, so a wide bound suffices, and it must not be nearer
to the previous checkpoint. After a reload in place parts of the old weights may have stayed, so the engine must be
within the noise of its own arithmetic, and that noise must be small against the distance of the two checkpoints.
Where this cannot be shown, the engine is opened anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

from workers.training.canary import Canary

Rows = Sequence[Sequence[float]]

# A reload may leave this many times the difference that the engine had when it was opened.
NOISE_MARGIN = 8
# It must leave less than this share of the distance between the checkpoints.
MOVE_SHARE = 0.1
# Below this, nats per token, float32 does not resolve log-probabilities.
RESOLUTION = 1e-6
# Standard error of `nearness` below which it decides: 1/2 is then four standard errors away from the right weights.
DECISIVE_ERROR = 1 / 8


def differences(recorded: Rows, measured: Rows) -> list[float]:
    """Returns the absolute differences, nats per token; infinite ones where a value is missing or not a number."""
    if [len(row) for row in recorded] != [len(row) for row in measured]:
        return [math.inf]
    pairs = zip(chain.from_iterable(recorded), chain.from_iterable(measured), strict=True)
    gaps = [abs(one - other) for one, other in pairs]
    return [gap if math.isfinite(gap) else math.inf for gap in gaps]


def mean_difference(recorded: Rows, measured: Rows) -> float:
    """Returns the mean of `differences`."""
    gaps = differences(recorded, measured)
    return math.fsum(gaps) / len(gaps)


def nearness(canary: Canary, previous: Canary, measured: Rows) -> tuple[float, float] | None:
    """Returns where the engine stands between the checkpoints, 1 at this one and 0 at the previous, and its error.

    It is the least-squares position on the line between the recordings; the standard error comes from what that line
    does not explain. None where the checkpoints have other tokens or equal recordings.
    """
    if canary.tokens != previous.tokens:
        return None
    here = list(chain.from_iterable(canary.values))
    move = [one - other for one, other in zip(here, chain.from_iterable(previous.values), strict=True)]
    squared = math.fsum(step * step for step in move)
    if squared == 0:
        return None
    off = [got - recorded for got, recorded in zip(chain.from_iterable(measured), here, strict=True)]
    along = math.fsum(gap * step for gap, step in zip(off, move, strict=True)) / squared
    rest = math.fsum((gap - along * step) ** 2 for gap, step in zip(off, move, strict=True))
    return 1 + along, math.sqrt(rest / len(off) / squared)


def refuse_opened(canary: Canary, previous: Canary | None, measured: Rows, *, half: bool) -> str | None:
    """Returns why an engine that was opened anew does not serve this checkpoint, or None if it does.

    Args:
        previous: the canary of the checkpoint before, where there is one.
        half: whether the engine computes in half precision. Its mean difference counts then: rounding moves single
            tokens by tenths of a nat.
    """
    gaps = differences(canary.values, measured)
    off, statistic = (math.fsum(gaps) / len(gaps), "on average") if half else (max(gaps), "at most")
    if off > canary.tolerance:
        return f"its canary is off by {off:.3g} nats {statistic}, {canary.tolerance:.3g} are allowed"
    place = None if previous is None else nearness(canary, previous, measured)
    if place is not None and place[1] < DECISIVE_ERROR and place[0] < 0.5:
        return f"its canary is nearer to the previous checkpoint (at {place[0]:.2f} of the way to this one)"
    return None


def refuse_reloaded(canary: Canary, served: Canary | None, measured: Rows, *, noise: float) -> str | None:
    """Returns why a reload in place is not proven to serve this checkpoint, or None if it is.

    Args:
        served: the canary of the checkpoint that the engine served before.
        noise: the engine's mean difference, nats per token, when it was last opened anew.
    """
    if served is None or served.tokens != canary.tokens:
        return "the checkpoint before has a canary of other tokens"
    off, allowed = mean_difference(canary.values, measured), max(NOISE_MARGIN * noise, RESOLUTION)
    if off > allowed:
        return f"its canary is off by {off:.3g} nats on average, {noise:.3g} were seen when the engine was opened"
    move = mean_difference(canary.values, served.values)
    if move > 0 and off > MOVE_SHARE * move:
        return f"the checkpoints differ by {move:.3g} nats on average, too little against the engine's {off:.3g}"
    return None
