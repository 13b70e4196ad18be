"""Does a judge prefer what its own model wrote, beyond what a second rewarder finds better in it?

Panickssery, Bowman and Feng 2024, "LLM Evaluators Recognize and Favor Their Own Generations", arXiv 2404.13076, ask
how often a model prefers its own answer; without a second opinion that cannot be told from a better answer.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from eva.evaluation.win_rates import difference, win_rate
from eva.types import Floats


def self_preference(judge_P: Floats, reference_P: Floats, *, seed: int) -> dict[str, Any] | None:
    """How much more often the judge's own answers win under the judge than under the reference.

    Both say P(the judge's own answer is the better one), [P] in [0, 1], NaN where they say nothing; only prompts with
    both count. `judge` and `second` are the two win rates, `bias` their difference, each with its interval by a
    bootstrap over prompts. None without a prompt.
    """
    both_P = np.isfinite(judge_P) & np.isfinite(reference_P)
    judge, reference = (win_rate(one_P[both_P], seed=seed) for one_P in (judge_P, reference_P))
    bias = difference(judge_P, reference_P, seed=seed)
    if judge is None or reference is None or bias is None:
        return None
    return {
        "prompts": int(both_P.sum()),
        "judge": asdict(judge.rate),
        "second": asdict(reference.rate),
        "bias": asdict(bias),
    }
