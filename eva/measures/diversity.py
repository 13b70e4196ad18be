"""Measures how diverse the prompts and responses of an iteration are, and when they have collapsed.

A new figure is computed in `describe_prompts` or `describe_responses`, and has a line in FIGURES.
Letters: T texts, G n-grams, C groups.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eva.measures.minhash import near_twins
from eva.measures.ngrams import grams, words
from eva.types import Floats, Prompt

VOCABULARY = 30_522
"""Size of the vocabulary that expectation-adjusted distinct assumes (Liu et al. count BERT's word pieces)."""
SAMPLE = 500
"""Most texts that the Vendi score and the figures of responses use."""

FIGURES: dict[str, bool] = {
    "distinct_1": True,
    "distinct_2": True,
    "distinct_3": True,
    "expected_distinct": True,
    "vendi": True,
    "length_entropy": True,
    "near_duplicates": False,
    "effective_roots": True,
    "effective_topics": True,
    "largest_topic": False,
    "response_distinct_1": True,
    "response_distinct_2": True,
    "response_distinct_3": True,
}
"""The figures that may have a bound, and whether collapse means a value below it (True) or above it."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A figure that has crossed its bound."""

    figure: str
    value: float
    bound: float

    def __str__(self) -> str:
        return f"{self.figure} is {self.value:.4g}, {'below' if FIGURES[self.figure] else 'above'} {self.bound:g}"


def describe_prompts(prompts: Sequence[Prompt], sample: Collection[int], similarity: float) -> dict[str, object]:
    """Returns the figures of a batch; None without data. `sample` are the numbers of the Vendi score's prompts."""
    split = [words(prompt.text) for prompt in prompts]
    some = [text for prompt, text in zip(prompts, split, strict=True) if prompt.number in sample]
    twins = near_twins([prompt.text for prompt in prompts], similarity)
    topics = Counter(prompt.topic for prompt in prompts if prompt.topic is not None)
    return {
        **{f"distinct_{n}": distinct(split, n) for n in (1, 2, 3)},
        "expected_distinct": expected_distinct(split),
        "vendi": vendi(some),
        "vendi_texts": len(some),
        "length_entropy": length_entropy(len(text) for text in split),
        "near_duplicates": sum(twin is not None for twin in twins) / len(prompts) if prompts else None,
        "effective_roots": effective_number(Counter(prompt.root for prompt in prompts).values()),
        "effective_topics": effective_number(topics.values()),
        "largest_topic": max(topics.values()) / topics.total() if topics else None,
        "topics": {topic: count / topics.total() for topic, count in topics.most_common()},
    }


def describe_responses(texts: Sequence[str]) -> dict[str, object]:
    """Returns the figures of a sample of responses."""
    split = [words(text) for text in texts]
    return {**{f"response_distinct_{n}": distinct(split, n) for n in (1, 2, 3)}, "response_texts": len(texts)}


def breaches(figures: Mapping[str, object], bounds: Mapping[str, float]) -> list[Breach]:
    """Returns the figures that have crossed their bounds; a figure without data never does."""
    crossed: list[Breach] = []
    for name, bound in bounds.items():
        value = figures.get(name)
        if isinstance(value, float) and (value < bound if FIGURES[name] else value > bound):
            crossed.append(Breach(name, value, bound))
    return crossed


def distinct(texts: Sequence[Sequence[str]], n: int) -> float | None:
    """Returns the number of different n-grams divided by that of all n-grams in the texts (Li et al. 2016)."""
    hashes_G = grams(texts, n).hashes_G
    return len(np.unique(hashes_G)) / len(hashes_G) if len(hashes_G) else None


def expected_distinct(texts: Sequence[Sequence[str]], vocabulary: int = VOCABULARY) -> float | None:
    """Returns the number of different words divided by the one expected from random draws (Liu et al. 2022, eq. 3).

    N / (V (1 - ((V - 1) / V)^C)): unlike distinct-n, it does not fall just because there is more text.
    """
    hashes_G = grams(texts, 1).hashes_G
    if not len(hashes_G):
        return None
    expected = vocabulary * -math.expm1(len(hashes_G) * math.log1p(-1 / vocabulary))
    return len(np.unique(hashes_G)) / expected


def vendi(texts: Sequence[Sequence[str]], orders: Sequence[int] = (1, 2)) -> float | None:
    """Returns the effective number of different texts, from 1 to T: exp of the entropy of the eigenvalues of K / T.

    K is the mean over n of the cosines of n-gram counts (Friedman and Dieng 2023, definition 3.1 and section 5).
    """
    if not texts:
        return None
    kernel_T_T = np.mean([cosines(texts, n) for n in orders], axis=0)
    values_T = np.linalg.eigvalsh(kernel_T_T / len(texts))
    values_T = values_T[values_T > 1e-12]
    return float(np.exp(-(values_T * np.log(values_T)).sum()))


def cosines(texts: Sequence[Sequence[str]], n: int) -> Floats:
    """Returns the cosines of the texts' n-gram counts, shape (T, T). A text without n-grams resembles only itself."""
    ngrams = grams(texts, n)
    _, columns_G = np.unique(ngrams.hashes_G, return_inverse=True)
    order = np.argsort(columns_G, kind="stable")
    columns_G, owners_G = columns_G[order], ngrams.owners[order]
    product_T_T = np.zeros((len(texts), len(texts)))
    kinds = int(columns_G[-1]) + 1 if len(columns_G) else 0
    width = min(2048, kinds)
    for start in range(0, kinds, max(width, 1)):
        low, high = np.searchsorted(columns_G, (start, start + width)).tolist()
        places = owners_G[low:high] * width + columns_G[low:high] - start
        counts_T_C = np.bincount(places, minlength=len(texts) * width).reshape(len(texts), width).astype(np.float64)
        product_T_T += counts_T_C @ counts_T_C.T
    norms_T = np.sqrt(np.diag(product_T_T))
    empty_T = norms_T == 0
    norms_T = np.where(empty_T, 1.0, norms_T)
    return product_T_T / np.outer(norms_T, norms_T) + np.diag(empty_T.astype(np.float64))


def length_entropy(lengths: Iterable[int]) -> float | None:
    """Returns the entropy in nats of the texts' lengths in words, in bins of doubling width: 0, 1, 2-3, 4-7, ..."""
    counts = Counter(length.bit_length() for length in lengths)
    return entropy(counts.values()) if counts else None


def effective_number(counts: Collection[int]) -> float | None:
    """Returns the effective number of groups: exp of the entropy of their shares (Hill 1973, order 1)."""
    return math.exp(entropy(counts)) if counts else None


def entropy(counts: Collection[int]) -> float:
    """Returns the Shannon entropy of shares given as counts, in nats."""
    total = sum(counts)
    return sum(count / total * math.log(total / count) for count in counts)
