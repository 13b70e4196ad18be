"""Compares estimating and sampling a pool of a million prompts x 6 responses with a row-by-row pandas version.

    python -m benchmarks.estimate [--json]

Both compute the same info for every prompt (this is checked) and draw a quarter of the pool by the same weights. Times
are processor times, since both use one core and nothing else. It takes about a minute, nearly all of it in pandas. Then
it measures every metric with the default draw, and every weighting and sampler with the default metric.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from benchmarks.measuring import Timings, parser, seconds, show
from eva.creator.informativeness import estimate
from eva.creator.metrics import METRICS, needs_threshold
from eva.creator.samplers import SAMPLERS
from eva.creator.sampling import Draw, PromptTraits, SamplingRule, sample
from eva.creator.weights import EPSILON, WEIGHTS
from eva.types import Estimate, RewardTable

PROMPTS, N, REPEATS, TARGET = 1_000_000, 6, 3, 30.0


def pool(prompts: int, seed: int = 7) -> RewardTable:
    """Returns rewards by column, as the store gives them, with some equal texts, cut responses and missing rewards."""
    draws = np.random.default_rng(seed)
    shape = (prompts, N)
    rewards_P_N = draws.random(shape).round(3)
    rewards_P_N[draws.random(shape) < 0.02] = np.nan
    hashes_P_N = draws.integers(0, 40, shape) + np.arange(prompts)[:, None] * 40
    cut_P_N = draws.random(shape) < 0.05
    return RewardTable(
        np.arange(prompts), np.asfortranarray(rewards_P_N), np.asfortranarray(hashes_P_N), np.asfortranarray(cut_P_N)
    )


def vectorised(judged: RewardTable, metric: str = "a_min", rule: SamplingRule | None = None) -> tuple[Estimate, Draw]:
    estimated = estimate(judged, metric=metric, threshold=0.5 if needs_threshold(metric) else None)
    traits = PromptTraits(judged.numbers_P % 5, judged.numbers_P % 97)
    return estimated, sample(estimated, len(judged.numbers_P) // 4, rule, seed=1, iteration=1, traits=traits)


def table(judged: RewardTable) -> pd.DataFrame:
    """Returns one row per prompt, as read from a JSON Lines file."""
    return pd.DataFrame(
        {
            "number": judged.numbers_P,
            "rewards": judged.rewards_P_N.tolist(),
            "texts": judged.text_hashes_P_N.tolist(),
            "cut": judged.cut_P_N.tolist(),
        }
    )


def row_info(row: pd.Series) -> float:
    """Returns the info of one row: max - min over distinct, uncut, rewarded responses."""
    rewarded = [
        (text, reward)
        for text, reward, cut in zip(row["texts"], row["rewards"], row["cut"], strict=True)
        if not cut and not math.isnan(reward)
    ]
    if len(rewarded) < 2:
        return math.nan
    distinct: dict[int, float] = {}
    for text, reward in rewarded:
        distinct.setdefault(text, reward)
    return max(distinct.values()) - min(distinct.values())


def row_by_row(frame: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    info = pd.Series(frame.apply(row_info, axis=1))
    known = frame[info.notna()].assign(info=info[info.notna()])
    low, high = known["info"].min(), known["info"].max()
    weights = known["info"].apply(lambda value: (value - low) / (high - low) + EPSILON)
    return info, known.sample(n=len(frame) // 4, weights=weights, random_state=1)


def cpu_seconds(action: Callable[[], object]) -> float:
    return seconds(action, time.process_time)


def compare(prompts: int = PROMPTS, repeats: int = REPEATS) -> Timings:
    """Runs both ways in turns. Raises SystemExit if they disagree on an info."""
    judged = pool(prompts)
    frame = table(judged)
    times = [(cpu_seconds(lambda: vectorised(judged)), cpu_seconds(lambda: row_by_row(frame))) for _ in range(repeats)]
    few = pool(10_000)
    if not np.allclose(vectorised(few)[0].info_P, row_by_row(table(few))[0], equal_nan=True):
        raise SystemExit("the two ways disagree: their times cannot be compared")
    ours, theirs = zip(*times, strict=True)
    return Timings(
        f"estimate and sample: {prompts:,} prompts x {N} responses, a quarter drawn",
        "eva",
        "pandas",
        ours,
        theirs,
        TARGET,
    )


def every_choice(prompts: int = PROMPTS, repeats: int = REPEATS) -> dict[str, float]:
    """Returns the median seconds for estimating and sampling with each metric, weighting and sampler."""
    judged = pool(prompts)
    runs: dict[str, Callable[[], object]] = {}
    runs |= {f"metric {name}": lambda name=name: vectorised(judged, name) for name in METRICS}
    runs |= {f"weights {name}": lambda name=name: vectorised(judged, rule=SamplingRule(name)) for name in WEIGHTS}
    runs |= {
        f"sampler {name}": lambda name=name: vectorised(judged, rule=SamplingRule(sampler=name)) for name in SAMPLERS
    }
    return {name: statistics.median(cpu_seconds(run) for _ in range(repeats)) for name, run in runs.items()}


if __name__ == "__main__":
    asked = parser(__doc__).parse_args()
    show(compare(), as_json=asked.json)
    times = every_choice()
    if asked.json:
        print(json.dumps({"what": "each choice, seconds", "prompts": PROMPTS, "seconds": times}))
    else:
        print(*(f"  {name:<24} {value:6.3f} s" for name, value in times.items()), sep="\n")
