"""sample: draws the prompts of the pool that are evolved. Weightings are in `weights`, samplers in `samplers`."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from eva import elementary
from eva.creator.metrics import is_constant
from eva.creator.samplers import Candidates, sampler_named
from eva.creator.weights import EPSILON, weighting_named
from eva.seeds import uniforms
from eva.types import Bools, Estimate, Floats, Ints

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SamplingRule:
    """Everything that decides a draw besides the seed. Names are those of WEIGHTS and SAMPLERS, or `module:function`.

    `staleness` is rho of prioritised level replay: the share of the weight that depends on how many iterations ago a
    prompt last got responses. `topic_share` is the share that `topic_balanced` distributes by topic. `pull` is how much
    of its weight a prompt loses that repeats others. `flatten` divides the logs of the weights: above 1 they are more
    alike.
    """

    weights: str = "minmax"
    sampler: str = "weighted"
    temperature: float = 1.0
    staleness: float = 0.0
    topic_share: float = 0.5
    pull: float = 0.0
    flatten: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class PromptTraits:
    """Facts about the pool's prompts besides their rewards; rows as in the estimate.

    `ages_P` counts the iterations since a prompt last got responses; `topics_P` is its topic's number, -1 for none.
    `likeness_P` is how much it repeats other prompts, `guide_P` the guide's score, both 0 to 1 and NaN where they were
    not measured; None where no prompt has them.
    """

    ages_P: Ints
    topics_P: Ints
    likeness_P: Floats | None = None
    guide_P: Floats | None = None

    def factors(self, pull: float) -> Floats:
        """Returns what weights are multiplied by: (1 - pull * likeness) * guide score, at least EPSILON, (P,)."""
        factors_P = np.ones(len(self.ages_P))
        if self.likeness_P is not None and pull:
            factors_P *= 1 - pull * np.nan_to_num(self.likeness_P, nan=0.0)
        if self.guide_P is not None:
            factors_P *= np.nan_to_num(self.guide_P, nan=1.0)
        return np.maximum(factors_P, EPSILON)


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """A sample of the pool; rows as in the estimate. Weight and key are NaN where info is NULL, the key also where the
    weight is 0."""

    numbers_P: Ints
    weights_P: Floats
    keys_P: Floats
    sampled_P: Bools
    uniform: bool
    """The pool's info was constant, so every prompt had the same chance."""

    @property
    def subset(self) -> list[int]:
        """Numbers of the sampled prompts, ascending."""
        return sorted(self.numbers_P[self.sampled_P].tolist())


def sample(
    estimate: Estimate,
    count: int,
    rule: SamplingRule | None = None,
    *,
    seed: int,
    iteration: int,
    traits: PromptTraits | None = None,
) -> Draw:
    """Draws `count` prompts without replacement, or fewer if fewer have an info and a weight.

    Each prompt's noise comes from a seed of its own, so the draw does not depend on the pool's order or on how it is
    split.
    """
    rule = rule or SamplingRule()
    traits = traits or PromptTraits(np.zeros(len(estimate.info_P), np.int64), np.full(len(estimate.info_P), -1))
    eligible = np.flatnonzero(np.isfinite(estimate.info_P))
    info_E, numbers_E = estimate.info_P[eligible], estimate.numbers_P[eligible]
    constant = bool(len(info_E)) and is_constant(info_E)
    if constant:
        info_E = np.full_like(info_E, info_E[0])
        if estimate.metric != "uniform":
            log.warning("all prompts of the pool have the same informativeness (%g): sampling uniformly", info_E[0])
    factors_E = traits.factors(rule.pull)[eligible]
    log_weights_E = _log_weights(info_E, traits.ages_P[eligible], factors_E, rule, constant)
    gumbel_E = -elementary.log(-elementary.log(uniforms(seed, iteration, "sample", numbers=numbers_E)))
    keys_E = sampler_named(rule.sampler)(
        Candidates(info_E, log_weights_E, gumbel_E, traits.topics_P[eligible], rule.topic_share)
    )
    drawn_E = largest(keys_E, gumbel_E, numbers_E, count)
    if len(drawn_E) < min(count, len(eligible)):
        log.warning("only %d of %d prompts could be drawn: the others have weight 0", len(drawn_E), count)
    weights_P, keys_P = np.full((2, len(estimate.info_P)), np.nan)
    weights_P[eligible], keys_P[eligible] = elementary.exp(log_weights_E), np.where(np.isfinite(keys_E), keys_E, np.nan)
    sampled_P = np.zeros(len(weights_P), dtype=bool)
    sampled_P[eligible[drawn_E]] = True
    return Draw(estimate.numbers_P, weights_P, keys_P, sampled_P, constant)


def _log_weights(info_E: Floats, ages_E: Ints, factors_E: Floats, rule: SamplingRule, constant: bool) -> Floats:
    """Returns the logs of weights that sum to 1: (1 - rho) * info part * factor + rho * staleness part."""
    if not len(info_E):
        return info_E
    log_weights_E = np.zeros(len(info_E)) if constant else weighting_named(rule.weights)(info_E, rule.temperature)
    if rule.flatten != 1:
        log_weights_E = log_weights_E / rule.flatten
    if (factors_E != 1).any():
        log_weights_E = log_weights_E + elementary.log(factors_E)
    peak = log_weights_E.max()
    log_weights_E = log_weights_E - (peak + elementary.log(elementary.exp(log_weights_E - peak).sum()))
    if not rule.staleness:
        return log_weights_E
    # prompts that all have new responses are equally stale
    stale_E = ages_E / ages_E.sum() if ages_E.any() else np.full(len(info_E), 1 / len(info_E))
    return elementary.log((1 - rule.staleness) * elementary.exp(log_weights_E) + rule.staleness * stale_E)


def largest(keys_E: Floats, gumbel_E: Floats, numbers_E: Ints, count: int) -> Ints:
    """Returns the rows of the `count` largest keys; ties go to the larger noise, then to the lower prompt number."""
    possible = np.flatnonzero(np.isfinite(keys_E))
    count = min(count, len(possible))
    if count == 0:
        return np.empty(0, dtype=np.int64)
    keys = keys_E[possible]
    threshold = np.partition(keys, len(keys) - count)[len(keys) - count]
    above, ties = possible[keys > threshold], possible[keys == threshold]
    ties = ties[np.lexsort((numbers_E[ties], -gumbel_E[ties]))][: count - len(above)]
    return np.concatenate([above, ties])
