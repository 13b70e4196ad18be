"""The samplers, which turn weights into a subset: one function per sampler.

A new sampler is a function (Candidates -> keys_E; the k largest win, whatever k is) and a line in SAMPLERS. Your own
needs no line: the config names it as `module:function`. Of equal keys the one with the larger noise wins; -inf is never
drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from eva import elementary
from eva.runtime.user_functions import call_function, load_function, number_per_prompt
from eva.types import Floats, Ints

STRATA = 10

SIGNATURE = "a function (candidates) -> keys, one per prompt: the largest win; -inf for a prompt that is never drawn"


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The prompts that have an info: log weights (-inf for never), Gumbel noise from each prompt's own seed, and topic
    numbers. `topic_share` is the share of the weight that `topic_balanced` distributes by topic."""

    info_E: Floats
    log_weights_E: Floats
    gumbel_E: Floats
    topics_E: Ints
    topic_share: float


Sampler = Callable[[Candidates], Floats]


def weighted(candidates: Candidates) -> Floats:
    """Keys whose k largest are k sequential weighted draws without replacement (Efraimidis, Spirakis 2006)."""
    return gumbel_top_k(candidates.log_weights_E, candidates.gumbel_E)


def greedy(candidates: Candidates) -> Floats:
    """The k largest infos, equal ones in the order of their noise. Weights are ignored."""
    return candidates.info_E


def stratified(candidates: Candidates) -> Floats:
    """Equally many prompts from each decile of info (up to one more), drawn by weight within the decile.

    The key is minus a prompt's rank in its decile, so that every decile gives its first prompt before any gives its
    second. Deciles are cut by rank; noise separates equal infos at a cut.
    """
    keys_E = gumbel_top_k(candidates.log_weights_E, candidates.gumbel_E)
    order = np.lexsort((candidates.gumbel_E, candidates.info_E))
    places_E = np.empty(len(order))
    for stratum in np.array_split(order, STRATA):
        places_E[stratum[np.argsort(-keys_E[stratum])]] = np.arange(len(stratum))
    return np.where(np.isfinite(keys_E), -places_E, -np.inf)


def topic_balanced(candidates: Candidates) -> Floats:
    """Weights blended with inverse topic frequency, then drawn as `weighted` draws.

    (1 - share) * weight + share / (topics * prompts of the prompt's topic): the second part gives every topic the
    same chance. Prompts without a topic count as one topic.
    """
    _, topics_E, counts = np.unique(candidates.topics_E, return_inverse=True, return_counts=True)
    share = candidates.topic_share
    blended_E = (1 - share) * elementary.exp(candidates.log_weights_E) + share / (len(counts) * counts[topics_E])
    return gumbel_top_k(elementary.log(blended_E), candidates.gumbel_E)


def gumbel_top_k(log_weights_E: Floats, gumbel_E: Floats) -> Floats:
    return log_weights_E + gumbel_E


SAMPLERS: dict[str, Sampler] = {
    "weighted": weighted,
    "greedy": greedy,
    "stratified": stratified,
    "topic_balanced": topic_balanced,
}


def sampler_named(name: str) -> Sampler:
    """Returns the sampler of this name, or the user's `module:function` with checked results. Raises ConfigError."""
    if name in SAMPLERS:
        return SAMPLERS[name]
    wording: dict[str, str] = {"what": "sampler", "expected": SIGNATURE}
    function = load_function(name, arguments=["candidates"], **wording)

    def checked(candidates: Candidates) -> Floats:
        # noise breaks ties: the function gets a copy, so that it cannot change a draw
        own = replace(candidates, gumbel_E=candidates.gumbel_E.copy())
        return number_per_prompt(name, call_function(name, function, own, **wording), len(candidates.info_E), **wording)

    return checked
