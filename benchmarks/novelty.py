"""Compares the MinHash index with comparing against every prompt, and semantic look-ups together with one by one.

    python -m benchmarks.novelty [--prompts N] [--json]

Half of the queries are near-duplicates. The time to build the index counts. The plain way is timed on the first few
queries and scaled, with its shingles computed in advance; both must give the same results there. The semantic index
contains random vectors; both ways must give the same cosines.
"""

from __future__ import annotations

import random
import resource

import numpy as np

from benchmarks.measuring import Timings, parser, seconds, show
from eva.creator.novelty import shingles
from eva.creator.semantic import SemanticIndex
from eva.measures.minhash import MinHashIndex
from eva.types import Floats

PROMPTS, QUESTIONS, PLAIN, SIMILARITY, TARGET = 20_000, 1_000, 10, 0.9, 10.0
DIMENSIONS, TOGETHER, ROUNDS, TOGETHER_TARGET = 384, 16, 3, 4.0
WORDS = [f"word{number}" for number in range(20_000)]


def texts(count: int, seed: int) -> list[str]:
    draws = random.Random(seed)
    return [" ".join(draws.choices(WORDS, k=80)) for _ in range(count)]


def compare(count: int = PROMPTS) -> Timings:
    """Returns the seconds for QUESTIONS texts. Raises SystemExit if the two ways disagree."""
    known = texts(count, 1)
    asked = [
        text
        for pair in zip((f"{text} more" for text in known), texts(QUESTIONS // 2, 2), strict=False)
        for text in pair
    ]
    index = MinHashIndex(SIMILARITY)
    ours: list[bool] = []
    plain: list[bool] = []

    def indexed() -> None:
        for start in range(0, count, 10_000):
            index.extend(known[start : start + 10_000])
        ours.extend(index.nearest(text) is not None for text in asked)

    cut = [shingles(text) for text in known]

    def one_by_one() -> None:
        for text in asked[:PLAIN]:
            mine = shingles(text)
            plain.append(any(len(mine & other) >= SIMILARITY * len(mine | other) for other in cut))

    ours_s, plain_s = seconds(indexed), seconds(one_by_one) * QUESTIONS / PLAIN
    if ours[:PLAIN] != plain:
        raise SystemExit("the two ways disagree: their times cannot be compared")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Timings(
        f"{QUESTIONS:,} texts against {count:,} prompts (whole process: {peak:,} MB)",
        "index",
        "plain",
        (ours_s,),
        (plain_s,),
        TARGET,
    )


def compare_meanings(count: int = PROMPTS) -> Timings:
    """Returns the seconds for TOGETHER look-ups. Raises SystemExit if the two ways disagree."""
    draws = np.random.default_rng(1)
    index = SemanticIndex()
    for start in range(0, count, 10_000):
        some = min(10_000, count - start)
        index.extend(draws.normal(size=(some, DIMENSIONS)), [0] * some)
    asked, scopes = draws.normal(size=(TOGETHER, DIMENSIONS)), np.zeros(TOGETHER, np.int64)
    found: list[Floats] = []
    ways = (
        lambda: found.append(index.closest(asked, scopes)),
        lambda: found.append(
            np.concatenate([index.closest(asked[place : place + 1], scopes[:1]) for place in range(TOGETHER)])
        ),
    )
    times = [tuple(map(seconds, ways)) for _ in range(ROUNDS)]
    if any(not np.array_equal(cosines, found[0]) for cosines in found):
        raise SystemExit("the two ways disagree: their times cannot be compared")
    together, one_by_one = zip(*times, strict=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Timings(
        f"{TOGETHER} embeddings against {count:,} prompts, {DIMENSIONS} dimensions (whole process: {peak:,} MB)",
        "together",
        "singly",
        together,
        one_by_one,
        TOGETHER_TARGET,
    )


if __name__ == "__main__":
    asked = parser(__doc__, prompts=PROMPTS).parse_args()
    show(compare(asked.prompts), as_json=asked.json)
    show(compare_meanings(asked.prompts), as_json=asked.json)
