"""pair: chooses the two responses of a prompt that the solver learns from.

A new rule is a function (RatedPrompts -> row, chosen and rejected sample, each of shape (K,)) and a line in CHOICES.
Your own needs no line: the config names it as `module:function`. A rule may return pairs without a gap, which are left
out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eva.creator.informativeness import usable_responses
from eva.errors import InputError
from eva.runtime.user_functions import call_function, invalid_result, load_function
from eva.seeds import uniforms
from eva.types import Bools, Floats, Ints, PairChoice, RewardTable

LENGTH_RATIO = 1.25
_BLOCK = 2**22
"""How many pairs of responses are compared at a time: 32 MB for each array of floats."""


@dataclass(frozen=True, slots=True, eq=False)
class RatedPrompts:
    """The prompts with at least two usable responses: rewards (NaN if unusable), draws in (0, 1) that break ties, and
    the responses' lengths in tokens, if known."""

    rewards_P_N: Floats
    ties_P_N: Floats
    tokens_P_N: Ints | None = None
    length_ratio: float = LENGTH_RATIO


PairIndices = tuple[Ints, Ints, Ints]

SIGNATURE = (
    "a function (rated) -> (rows, chosen, rejected), three arrays of whole numbers of one length: rows of "
    "rated.rewards_P_N, and two of the row's responses that have a reward"
)
Choice = Callable[[RatedPrompts], PairIndices]


def best_vs_worst(rated: RatedPrompts) -> PairIndices:
    """Highest against lowest reward (eva, section B.2); draws break ties at either end."""
    return np.arange(len(rated.rewards_P_N)), _best(rated), _lowest(rated.rewards_P_N, rated.ties_P_N)


def second_worst(rated: RatedPrompts) -> PairIndices:
    """Highest against second lowest reward; against the lowest where the second lowest has no gap to the best."""
    rows, best_P = np.arange(len(rated.rewards_P_N)), _best(rated)
    worst_P = _lowest(rated.rewards_P_N, rated.ties_P_N)
    rest_P_N = rated.rewards_P_N.copy()
    rest_P_N[rows, worst_P] = np.nan
    second_P = _lowest(rest_P_N, rated.ties_P_N)
    gap_P = rated.rewards_P_N[rows, second_P] < rated.rewards_P_N[rows, best_P]
    return rows, best_P, np.where(gap_P, second_P, worst_P)


def random(rated: RatedPrompts) -> PairIndices:
    """One of the prompt's pairs with a gap, all equally likely."""
    rows = np.arange(len(rated.rewards_P_N))
    samples: Ints = np.arange(rated.rewards_P_N.shape[1], dtype=np.int64)
    order_P_N = np.argsort(rated.rewards_P_N, axis=1)
    sorted_P_N = np.take_along_axis(rated.rewards_P_N, order_P_N, axis=1)
    starts_P_N = np.ones(sorted_P_N.shape, dtype=bool)
    starts_P_N[:, 1:] = sorted_P_N[:, 1:] != sorted_P_N[:, :-1]
    # responses below each one: all before the first that equals it
    below_P_N = np.maximum.accumulate(np.where(starts_P_N, samples, 0), axis=1) * np.isfinite(sorted_P_N)
    total_P_N = below_P_N.cumsum(axis=1)
    picked_P = (rated.ties_P_N[:, 0] * total_P_N[:, -1]).astype(np.int64)
    chosen_P = np.minimum((total_P_N <= picked_P[:, None]).sum(axis=1), len(samples) - 1)
    # without any gap, the chosen response is paired with itself: a margin of 0
    chosen_P = np.where(total_P_N[:, -1] > 0, chosen_P, 0)
    rejected_P = (rated.ties_P_N[:, 1] * below_P_N[rows, chosen_P]).astype(np.int64)
    return rows, order_P_N[rows, chosen_P], order_P_N[rows, rejected_P]


def all_vs_best(rated: RatedPrompts) -> PairIndices:
    """The highest reward against every other usable response: several pairs per prompt."""
    best_P = _best(rated)
    others_P_N = np.isfinite(rated.rewards_P_N)
    others_P_N[np.arange(len(best_P)), best_P] = False
    rows, rejected = np.nonzero(others_P_N)
    return rows, best_P[rows], rejected


def length_controlled(rated: RatedPrompts) -> PairIndices:
    """The widest gap among pairs of similar length: the longer response has at most `length_ratio` times the tokens.

    Length then says little about which of the two was chosen. Prompts without such a pair are left out.
    """
    if rated.tokens_P_N is None:
        raise InputError(
            "pairs.choice is length_controlled, but the responses' lengths are unknown",
            expected="the number of tokens of every response",
            next_move="Set pairs.choice to another rule",
        )
    prompts, samples = rated.rewards_P_N.shape
    step = max(1, _BLOCK // samples**2)
    widest = [_widest(rated, slice(first, first + step)) for first in range(0, prompts, step)]
    chosen_P, rejected_P = (np.concatenate([part[end] for part in widest] or [np.empty(0, np.int64)]) for end in (0, 1))
    rows = np.flatnonzero(chosen_P >= 0)
    return rows, chosen_P[rows], rejected_P[rows]


CHOICES: dict[str, Choice] = {
    "best_vs_worst": best_vs_worst,
    "second_worst": second_worst,
    "random": random,
    "all_vs_best": all_vs_best,
    "length_controlled": length_controlled,
}


def choice_named(name: str) -> Choice:
    """Returns the rule of this name, or the user's `module:function` with checked results. Raises ConfigError."""
    if name in CHOICES:
        return CHOICES[name]
    wording = {"what": "choice of pairs", "expected": SIGNATURE}
    function = load_function(name, arguments=["rated"], **wording)

    def checked(rated: RatedPrompts) -> PairIndices:
        own = replace(rated, rewards_P_N=rated.rewards_P_N.copy())
        return _checked(name, call_function(name, function, own, **wording), rated.rewards_P_N, wording)

    return checked


def _checked(name: str, given: Any, rewards_P_N: Floats, told: Mapping[str, str]) -> PairIndices:
    """Checks that rows and samples exist, have a reward, and occur only once. Raises InputError."""
    try:
        arrays = [np.asarray(array) for array in given]
        rows_K, chosen_K, rejected_K = (
            array.astype(np.int64, casting="same_kind") if array.size else array.astype(np.int64) for array in arrays
        )
    except (TypeError, ValueError):
        raise invalid_result(
            name, f"a {type(given).__name__} that is not three arrays of whole numbers", **told
        ) from None
    if rows_K.ndim != 1 or not rows_K.shape == chosen_K.shape == rejected_K.shape:
        raise invalid_result(name, f"arrays of shapes {rows_K.shape}, {chosen_K.shape}, {rejected_K.shape}", **told)
    prompts, samples = rewards_P_N.shape
    for axis, numbers_K, limit in (
        ("row", rows_K, prompts),
        ("chosen sample", chosen_K, samples),
        ("rejected sample", rejected_K, samples),
    ):
        if len(outside := numbers_K[(numbers_K < 0) | (numbers_K >= limit)]):
            raise invalid_result(name, f"{axis} {outside[0]} of {limit}", **told)
    for axis, samples_K in (("chosen", chosen_K), ("rejected", rejected_K)):
        if (unusable := np.isnan(rewards_P_N[rows_K, samples_K])).any():
            raise invalid_result(name, f"{int(unusable.sum())} {axis} responses that are unusable", **told)
    if len(np.unique(np.stack([rows_K, chosen_K, rejected_K]), axis=1).T) < len(rows_K):
        raise invalid_result(name, "a pair twice", **told)
    return rows_K, chosen_K, rejected_K


@dataclass(frozen=True, slots=True)
class Pairing:
    """The pairs of a batch, in its order, and how many prompts gave none, by reason."""

    pairs: tuple[PairChoice, ...]
    skipped: dict[str, int]


def pair(
    judged: RewardTable,
    *,
    seed: int,
    iteration: int,
    choice: str = "best_vs_worst",
    min_margin: float = 0.0,
    length_ratio: float | None = None,
    keep_cut: bool = False,
) -> Pairing:
    """Returns preference pairs of distinct, usable responses, and counts prompts without a pair by reason."""
    usable_P_N = usable_responses(judged, keep_cut=keep_cut)
    enough_P = usable_P_N.sum(axis=1) >= 2
    rewards_P_N = np.where(usable_P_N, judged.rewards_P_N, np.nan)[enough_P]
    numbers_P = judged.numbers_P[enough_P]
    samples = usable_P_N.shape[1]
    keys_PN = (numbers_P[:, None] * samples + np.arange(samples, dtype=np.int64)).reshape(-1)
    ties_P_N = uniforms(seed, iteration, "pair", numbers=keys_PN).reshape(-1, samples)
    tokens_P_N = None if judged.tokens_P_N is None else judged.tokens_P_N[enough_P]
    rows_K, chosen_K, rejected_K = choice_named(choice)(
        RatedPrompts(rewards_P_N, ties_P_N, tokens_P_N, length_ratio or LENGTH_RATIO)
    )
    margins_K = rewards_P_N[rows_K, chosen_K] - rewards_P_N[rows_K, rejected_K]
    kept_K = (margins_K > 0) & (margins_K >= min_margin)
    pairs = tuple(
        PairChoice(
            int(numbers_P[row]),
            int(chosen),
            int(rejected),
            float(rewards_P_N[row, chosen]),
            float(rewards_P_N[row, rejected]),
        )
        for row, chosen, rejected in zip(rows_K[kept_K], chosen_K[kept_K], rejected_K[kept_K], strict=True)
    )
    return Pairing(pairs, _skipped(rewards_P_N, enough_P, rows_K, margins_K, kept_K))


def _skipped(rewards_P_N: Floats, enough_P: Bools, rows_K: Ints, margins_K: Floats, kept_K: Bools) -> dict[str, int]:
    """Counts the prompts without a pair, each under the first reason that applies."""

    def any_of(rows: Ints) -> Bools:
        return np.bincount(rows, minlength=len(rewards_P_N)) > 0

    gap_P = np.fmax.reduce(rewards_P_N, axis=1) > np.fmin.reduce(rewards_P_N, axis=1)
    named_P, wide_P, kept_P = any_of(rows_K), any_of(rows_K[margins_K > 0]), any_of(rows_K[kept_K])
    skipped = {
        "too_few_responses": int((~enough_P).sum()),
        "no_gap": int((~kept_P & ~wide_P & (named_P | ~gap_P)).sum()),
        "lengths_differ": int((~named_P & gap_P).sum()),
        "below_margin": int((~kept_P & wide_P).sum()),
    }
    return {reason: count for reason, count in skipped.items() if count}


def _best(rated: RatedPrompts) -> Ints:
    best_P = np.fmax.reduce(rated.rewards_P_N, axis=1, keepdims=True)
    return np.where(rated.rewards_P_N == best_P, rated.ties_P_N, -1.0).argmax(axis=1)


def _lowest(rewards_P_N: Floats, ties_P_N: Floats) -> Ints:
    lowest_P = np.fmin.reduce(rewards_P_N, axis=1, keepdims=True)
    return np.where(rewards_P_N == lowest_P, ties_P_N, -1.0).argmax(axis=1)


def _widest(rated: RatedPrompts, rows: slice) -> tuple[Ints, Ints]:
    """Returns chosen and rejected sample of the widest gap between responses of similar length; -1 if there is none."""
    assert rated.tokens_P_N is not None
    rewards_B_N, ties_B_N, tokens_B_N = rated.rewards_P_N[rows], rated.ties_P_N[rows], rated.tokens_P_N[rows]
    gaps_B_N_N = rewards_B_N[:, :, None] - rewards_B_N[:, None, :]
    longer_B_N_N = np.maximum(tokens_B_N[:, :, None], tokens_B_N[:, None, :])
    shorter_B_N_N = np.minimum(tokens_B_N[:, :, None], tokens_B_N[:, None, :])
    fits_B_N_N = (gaps_B_N_N > 0) & (longer_B_N_N <= rated.length_ratio * shorter_B_N_N)
    gaps_B_N_N = np.where(fits_B_N_N, gaps_B_N_N, -1.0)
    widest_B = gaps_B_N_N.max(axis=(1, 2))
    equal_B_N_N = gaps_B_N_N == widest_B[:, None, None]
    ties_B_N_N = np.where(equal_B_N_N, ties_B_N[:, :, None] + ties_B_N[:, None, :], -1.0)
    chosen_B, rejected_B = np.divmod(ties_B_N_N.reshape(len(widest_B), -1).argmax(axis=1), rewards_B_N.shape[1])
    return np.where(widest_B > 0, chosen_B, -1), np.where(widest_B > 0, rejected_B, -1)
