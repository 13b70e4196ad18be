"""The weightings, which turn info into sampling weights: one function per weighting.

A new weighting is a function (info_E without NaN, temperature -> log weights, not normalised) and a line in WEIGHTS.
Your own needs no line: the config names it as `module:function`. Weights are logarithms so that small ones do not
underflow; -inf is a weight of 0, and such a prompt is never drawn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from eva import elementary
from eva.runtime.user_functions import call_function, invalid_result, load_function, number_per_prompt
from eva.types import Floats

log = logging.getLogger(__name__)

EPSILON = 1e-3
"""Keeps a small chance for the least informative prompt of the pool."""

Weighting = Callable[[Floats, float], Floats]

SIGNATURE = (
    "a function (info_E, temperature) -> log weights, one per prompt: finite, or -inf for a prompt that is never drawn"
)


def minmax(info_E: Floats, temperature: float = 1.0) -> Floats:
    """info rescaled to [0, 1] over the pool, plus a small epsilon (eva's weights)."""
    del temperature
    low, high = info_E.min(), info_E.max()
    return elementary.log((info_E - low) / (high - low) + EPSILON)


def proportional(info_E: Floats, temperature: float = 1.0) -> Floats:
    """info itself, or its distance from the pool's minimum if that is negative. A prompt of weight 0 is never drawn."""
    del temperature
    low = info_E.min()
    if low < 0:
        log.warning("informativeness is as low as %g: proportional weights are measured from there", low)
        info_E = info_E - low
    return elementary.log(info_E)


def rank(info_E: Floats, temperature: float = 1.0) -> Floats:
    """(1 / rank) ** (1 / temperature), the highest info ranking 1 (prioritised level replay, equation 2).

    Equal infos share the mean of their ranks.
    """
    order = np.argsort(-info_E)
    descending_E = info_E[order]
    starts = np.flatnonzero(np.concatenate([[True], descending_E[1:] != descending_E[:-1]]))
    counts = np.diff(np.concatenate([starts, [len(info_E)]]))
    ranks_E = np.empty(len(info_E))
    ranks_E[order] = np.repeat(starts + (counts + 1) / 2, counts)
    return -elementary.log(ranks_E) / temperature


def softmax(info_E: Floats, temperature: float = 1.0) -> Floats:
    """exp(info / temperature)."""
    return (info_E - info_E.max()) / temperature


WEIGHTS: dict[str, Weighting] = {
    "minmax": minmax,
    "proportional": proportional,
    "rank": rank,
    "softmax": softmax,
}
WITH_TEMPERATURE = frozenset({"rank", "softmax"})
"""The weightings that use the temperature."""


def weighting_named(name: str) -> Weighting:
    """Returns the weighting of this name, or the user's `module:function` with checked results. Raises ConfigError."""
    if name in WEIGHTS:
        return WEIGHTS[name]
    wording: dict[str, str] = {"what": "weighting", "expected": SIGNATURE}
    function = load_function(name, arguments=["info_E", "temperature"], **wording)

    def checked(info_E: Floats, temperature: float) -> Floats:
        weights = call_function(name, function, info_E.copy(), temperature, **wording)
        log_weights_E = number_per_prompt(name, weights, len(info_E), **wording)
        if len(info_E) and not np.isfinite(log_weights_E).any():
            raise invalid_result(name, "-inf for every prompt", **wording)
        return log_weights_E

    return checked
