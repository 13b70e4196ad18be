"""Computes the figures of a run's checkpoints against one baseline, from preferences prompt by prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eva.evaluation.arena import Battle, arena_scores
from eva.evaluation.length_control import length_controlled, too_few
from eva.evaluation.style import StyledResponses, style_scores
from eva.evaluation.win_rates import difference, win_rate
from eva.types import Floats, Ints

LENGTH_ROUNDS = 200
"""Refits behind the interval of a length-controlled win rate."""
BASELINE = "baseline"


@dataclass(frozen=True, slots=True, eq=False)
class ComparedResponses:
    """One checkpoint's responses and the baseline's to the same prompts, in the same order for all checkpoints.

    `preference_P` is in [0, 1], NaN if missing. `counts_P_F` are counts of eva.evaluation.style.FEATURES (lengths in
    characters), NaN without a response.
    """

    preference_P: Floats
    counts_P_F: Floats
    baseline_counts_P_F: Floats

    def lengths(self) -> tuple[Floats, Floats]:
        """Returns the lengths of the checkpoint's responses and of the baseline's, in characters, [P] each."""
        return self.counts_P_F[:, 0], self.baseline_counts_P_F[:, 0]

    def whole(self) -> Ints:
        """Returns the indexes of the prompts with a preference and both responses."""
        return np.flatnonzero(np.isfinite(sum(self.lengths(), self.preference_P)))


def baseline_figures(compared: Mapping[int, ComparedResponses], checkpoint: int, *, seed: int) -> dict[str, Any]:
    """Returns the stored figures of `checkpoint` and, under `arena`, of all checkpoints so far. Shares are in [0, 1].

    A figure without enough data is None: all of them without any preference, `length_controlled` and
    `style_controlled` with `too_few`, which `control_reason` then says, and `gain` (over checkpoint 0) if checkpoint 0
    is missing or is this one.
    """
    own, given = compared[checkpoint], compared.get(0)
    known_P = np.isfinite(own.preference_P)
    length_P, baseline_length_P = own.lengths()
    won = win_rate(own.preference_P, seed=seed)
    reason = too_few(int((known_P & np.isfinite(length_P) & np.isfinite(baseline_length_P)).sum()))
    gain = difference(own.preference_P, given.preference_P, seed=seed) if given is not None and checkpoint else None
    return {
        "checkpoint": checkpoint,
        "prompts": int(known_P.sum()),
        "missing": int((~known_P).sum()),
        "win_rate": won and asdict(won.rate),
        "error": won and won.error,
        "wins": won and won.wins,
        "losses": won and won.losses,
        "ties": won and won.ties,
        "length_controlled": _length_controlled(own, seed) if reason is None else None,
        "style_controlled": _style_controlled(compared, checkpoint, seed) if reason is None else None,
        "control_reason": reason,
        "length": _mean(length_P),
        "baseline_length": _mean(baseline_length_P),
        "gain": gain and asdict(gain),
        "arena": _arena(compared, seed),
    }


def _length_controlled(own: ComparedResponses, seed: int) -> dict[str, float] | None:
    """Returns the length-controlled win rate, over the prompts with both responses."""
    length_P, baseline_length_P = own.lengths()
    both_P = np.isfinite(length_P) & np.isfinite(baseline_length_P)
    fitted = length_controlled(
        own.preference_P[both_P], baseline_length_P[both_P], length_P[both_P], rounds=LENGTH_ROUNDS, seed=seed
    )
    return fitted.interval and asdict(fitted.interval) | {"coefficient": fitted.coefficients["length"]}


def _style_controlled(compared: Mapping[int, ComparedResponses], checkpoint: int, seed: int) -> dict[str, Any] | None:
    """Returns the checkpoint's win rate at the baseline's style, from a fit to all checkpoints so far."""
    places = {number: one.whole() for number, one in compared.items()}
    styled = StyledResponses(
        [str(number) for number, whole_K in places.items() for _ in whole_K],
        np.concatenate([one.counts_P_F[places[number]] for number, one in compared.items()]),
        np.concatenate([one.baseline_counts_P_F[places[number]] for number, one in compared.items()]),
    )
    verdicts = enumerate(
        np.concatenate([one.preference_P[places[number]] for number, one in compared.items()]).tolist()
    )
    if str(checkpoint) not in styled.models_Q:
        return None
    fit = style_scores(styled, [*verdicts], BASELINE, centred=False, seed=seed)
    own = next(score for score in fit.scores if score.model == str(checkpoint))
    return asdict(own.win_rate) | {"coefficients": fit.coefficients}


def _arena(compared: Mapping[int, ComparedResponses], seed: int) -> list[dict[str, Any]]:
    """Returns every checkpoint's Bradley-Terry score, with one battle per prompt, in the order of the checkpoints."""
    battles = [
        Battle(str(checkpoint), BASELINE, float(preference))
        for checkpoint, one in compared.items()
        for preference in one.preference_P[np.isfinite(one.preference_P)]
    ]
    if not battles:
        return []
    scores = {score.model: score for score in arena_scores(battles, BASELINE, seed=seed)}
    return [
        {
            "checkpoint": checkpoint,
            "battles": score.battles,
            "elo": asdict(score.elo),
            "win_rate": asdict(score.win_rate),
        }
        for checkpoint in sorted(compared)
        if (score := scores.get(str(checkpoint))) is not None
    ]


def _mean(values_P: Floats) -> float | None:
    known = values_P[np.isfinite(values_P)]
    return float(known.mean()) if len(known) else None
