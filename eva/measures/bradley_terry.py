"""Rewards from comparisons of the responses to a prompt: mean win rates, and a Bradley-Terry fit.

Letters in array names: N responses; `...` any leading axes (prompts), which do not influence each other.
`beats[..., i, j]` is the probability or share with which response i beats response j, NaN where they were not compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eva import elementary
from eva.types import Bools, Floats, Ints

PRIOR = 0.1
TOLERANCE = 1e-10
MOST_SWEEPS = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class BradleyTerryFit:
    """A fit of P(i beats j) = 1 / (1 + exp(s_j - s_i)).

    `log_strengths`, [..., N], have mean 0 over the responses of one component; NaN where no finite or no unique
    value exists. `components`, [..., N], numbers the sets inside which responses were compared, directly or
    through others: strengths of different components say nothing about each other. `sweeps` is the number of
    iterations; `converged`, [...], is False where `most_sweeps` did not suffice.
    """

    log_strengths: Floats
    components: Ints
    sweeps: int
    converged: Bools


def symmetrise(first: Floats) -> Floats:
    """Returns P(i beats j) from `first[..., i, j]`, the probability that i wins when it is shown before j.

    (p_ij + 1 - p_ji) / 2 if both orders were compared; the only one if one was; NaN if none was; 1/2 against itself.
    """
    both = np.stack([first, 1 - np.swapaxes(first, -1, -2)])
    beats = _mean(both, axis=0)
    count = beats.shape[-1]
    beats[..., np.arange(count), np.arange(count)] = 0.5
    return beats


def mean_win_rates(beats: Floats) -> Floats:
    """Returns the mean of `beats[..., i, :]` over the responses that i was compared with, itself at 1/2: [..., N].

    NaN for a response that was compared with no other, unless it is the only one (1/2). Source: SPPO's win rate, win_i
    = mean over j of P(i beats j).
    """
    count = beats.shape[-1]
    with_self = np.array(beats, dtype=np.float64)
    with_self[..., np.arange(count), np.arange(count)] = 0.5
    alone = np.isfinite(with_self).sum(-1) <= 1
    rates = _mean(with_self, axis=-1)
    return np.where(alone & (count > 1), np.nan, rates)


def fit_bradley_terry(
    wins: Floats, *, prior: float = PRIOR, tolerance: float = TOLERANCE, most_sweeps: int = MOST_SWEEPS
) -> BradleyTerryFit:
    """Fits the log-strengths that make the wins likeliest; `wins[..., i, j]` is the count or share of wins of i over j.

    Iterates pi_i <- (a / (pi_i + 1) + sum_j w_ij pi_j / (pi_i + pi_j)) / (a / (pi_i + 1) + sum_j w_ji / (pi_i + pi_j)),
    one response after the other (Newman 2023, "Efficient computation of rankings from pairwise comparisons"), which
    converges from any start. `prior` is a: this many wins and losses of every response against a player of strength 1.
    It keeps strengths finite where a response won or lost everything. With 0 the fit is the maximum likelihood, which
    exists only if every response of a component beat every other through some chain; elsewhere the strengths are NaN.
    """
    given: Floats = np.nan_to_num(np.asarray(wins, dtype=np.float64), nan=0.0)
    count = given.shape[-1]
    flat_P_N_N: Floats = given.reshape(-1, count, count).copy()
    flat_P_N_N[:, np.arange(count), np.arange(count)] = 0
    compared_P_N_N = (flat_P_N_N + flat_P_N_N.swapaxes(1, 2)) > 0
    components_P_N = _first_reached(_reach(compared_P_N_N))
    exists_P_N = (
        _fit_exists(flat_P_N_N, components_P_N) if prior == 0 else np.asarray(compared_P_N_N.any(-1), dtype=np.bool_)
    )
    # leave out responses without a finite strength: they would never converge
    played_P_N_N = np.where(exists_P_N[:, :, None] & exists_P_N[:, None, :], flat_P_N_N, 0.0)
    strengths_P_N, sweeps, converged_P = _iterate(played_P_N_N, components_P_N, prior, tolerance, most_sweeps)
    logs_P_N = np.where(exists_P_N, _centred(elementary.log(strengths_P_N), components_P_N), np.nan)
    lead = given.shape[:-2]
    return BradleyTerryFit(
        logs_P_N.reshape(*lead, count), components_P_N.reshape(*lead, count), sweeps, converged_P.reshape(lead)
    )


def _iterate(
    wins_P_N_N: Floats, components_P_N: Ints, prior: float, tolerance: float, most_sweeps: int
) -> tuple[Floats, int, Bools]:
    prompts, count, _ = wins_P_N_N.shape
    pi_P_N = np.ones((prompts, count))
    moving_P = np.ones(prompts, dtype=np.bool_)
    sweeps = 0
    while moving_P.any() and sweeps < most_sweeps:
        sweeps += 1
        pi, wins = pi_P_N[moving_P], wins_P_N_N[moving_P]
        before = elementary.log(pi)
        for i in range(count):
            _update(pi, wins, i, prior)
        after = elementary.log(pi)
        if prior == 0:  # only differences are determined: hold each component at mean 0
            after = _centred(after, components_P_N[moving_P])
            pi = elementary.exp(after)
        pi_P_N[moving_P] = pi
        moving_P[moving_P] = np.abs(after - before).max(-1, initial=0) > tolerance
    return pi_P_N, sweeps, ~moving_P


def _update(pi_P_N: Floats, wins_P_N_N: Floats, i: int, prior: float) -> None:
    sums_P_N = pi_P_N[:, i, None] + pi_P_N
    pseudo_P = prior / (pi_P_N[:, i] + 1)
    won_P = pseudo_P + (wins_P_N_N[:, i, :] * pi_P_N / sums_P_N).sum(-1)
    lost_P = pseudo_P + (wins_P_N_N[:, :, i] / sums_P_N).sum(-1)
    played_P = lost_P > 0
    pi_P_N[played_P, i] = won_P[played_P] / lost_P[played_P]


def _reach(edges_P_N_N: Bools) -> Bools:
    """Returns which node reaches which along edges, itself included."""
    count = edges_P_N_N.shape[-1]
    reach = edges_P_N_N | np.eye(count, dtype=np.bool_)
    for middle in range(count):
        reach |= reach[:, :, middle, None] & reach[:, None, middle, :]
    return reach


def _first_reached(reach_P_N_N: Bools) -> Ints:
    """Returns each response's component, numbered by its smallest index."""
    return reach_P_N_N.argmax(-1).astype(np.int64)


def _fit_exists(wins_P_N_N: Floats, components_P_N: Ints) -> Bools:
    """Returns whether all responses of each response's component reach each other by wins; False for a lone one."""
    beaten = _reach(wins_P_N_N > 0)
    same = components_P_N[:, :, None] == components_P_N[:, None, :]
    lacking_P_N = (same & ~(beaten & beaten.swapaxes(1, 2))).any(-1)
    whole_P_N = ~(same & lacking_P_N[:, None, :]).any(-1)
    return whole_P_N & (same.sum(-1) > 1)


def _centred(logs_P_N: Floats, components_P_N: Ints) -> Floats:
    same = components_P_N[:, :, None] == components_P_N[:, None, :]
    return logs_P_N - (same * logs_P_N[:, None, :]).sum(-1) / same.sum(-1)


def _mean(values: Floats, axis: int) -> Floats:
    known = np.isfinite(values)
    counts = known.sum(axis)
    sums = np.where(known, values, 0.0).sum(axis)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def bradley_terry_rewards(beats: Floats) -> Floats:
    """Returns the log-strengths of a fit to win shares, [..., N]; NaN for a response that was never compared."""
    return fit_bradley_terry(beats).log_strengths


AGGREGATIONS: dict[str, Callable[[Floats], Floats]] = {
    "mean_win_rate": mean_win_rates,
    "bradley_terry": bradley_terry_rewards,
}
"""`aggregation` in the config: from P(i beats j), [..., N, N], to a reward per response, [..., N]."""
