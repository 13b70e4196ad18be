"""Texts as vectors: TF-IDF of their words and pairs of words, over the landmarks' vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from eva.measures.ngrams import Grams, Hashes, grams, words
from eva.types import Ints

Reals = npt.NDArray[np.floating[Any]]
"""Vectors have single precision, positions double."""

LONGEST = 2_000
"""How many characters of a text count: the question comes early, and time is bounded."""
VOCABULARY, COMMON, AT_A_TIME = 6_000, 2, 1_000


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """N-grams that landmarks share, sorted by hash, with their inverse document frequencies."""

    hashes_V: Hashes
    idf_V: Reals


@dataclass(frozen=True, slots=True, eq=False)
class TfidfVectors:
    """Sparse TF-IDF vectors of unit length: `owners_G` is the text of each entry, `places_G` its n-gram."""

    count: int
    owners_G: Ints
    places_G: Ints
    values_G: Reals

    def dense(self, width: int) -> Reals:
        """Returns the vectors as a matrix, shape (P, V)."""
        full_P_V = np.zeros((self.count, width), np.float32)
        full_P_V[self.owners_G, self.places_G] = self.values_G
        return full_P_V

    def times(self, basis_V_D: Reals) -> Reals:
        """Returns the vectors in another basis, shape (P, D)."""
        made_P_D = np.zeros((self.count, basis_V_D.shape[1]), np.float32)
        starts = np.searchsorted(self.owners_G, np.arange(0, self.count + AT_A_TIME, AT_A_TIME))
        for low, high in pairwise(starts):
            if high > low:
                owners, first = np.unique(self.owners_G[low:high], return_index=True)
                entries = self.values_G[low:high, None] * basis_V_D[self.places_G[low:high]]
                made_P_D[owners] = np.add.reduceat(entries, first, axis=0)
        return made_P_D


def build_vocabulary(texts: Sequence[str]) -> Vocabulary:
    """Returns the most frequent n-grams that at least two of these texts share; others make no two texts similar."""
    owners_G, hashes_G = _grams(texts)
    pairs = np.unique(np.stack([hashes_G, owners_G.astype(np.uint64)]), axis=1)
    found_G, counts_G = np.unique(pairs[0], return_counts=True)
    least = min(COMMON, len(texts))
    order = np.lexsort((found_G, -counts_G))
    kept = np.sort(order[counts_G[order] >= least][:VOCABULARY])
    idf_V = np.log((1 + len(texts)) / (1 + counts_G[kept])) + 1
    return Vocabulary(found_G[kept], idf_V.astype(np.float32))


def tfidf_vectors(texts: Sequence[str], known: Vocabulary) -> TfidfVectors:
    """Returns TF-IDF vectors with logarithmic counts; n-grams outside of the vocabulary are ignored."""
    owners_G, hashes_G = _grams(texts)
    places_G = np.searchsorted(known.hashes_V, hashes_G)
    width = len(known.hashes_V)
    seen = places_G < width
    seen[seen] = known.hashes_V[places_G[seen]] == hashes_G[seen]
    entries, counts = np.unique(owners_G[seen] * max(width, 1) + places_G[seen], return_counts=True)
    owners, places = np.divmod(entries, max(width, 1))
    values = ((1 + np.log(counts)) * known.idf_V[places]).astype(np.float32)
    norms_P = np.sqrt(np.bincount(owners, values.astype(np.float64) ** 2, len(texts)))
    return TfidfVectors(len(texts), owners, places, (values / norms_P[owners]).astype(np.float32))


def _grams(texts: Sequence[str]) -> tuple[Ints, Hashes]:
    """Returns the words and pairs of words of all texts: the text of each, and its hash."""
    split = [words(text[:LONGEST]) for text in texts]
    by_order: tuple[Grams, Grams] = (grams(split, 1), grams(split, 2))
    return np.concatenate([one.owners for one in by_order]), np.concatenate([one.hashes_G for one in by_order])
