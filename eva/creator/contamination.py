"""Has a text words in common with a protected one, such as a benchmark's question?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from eva.measures.ngrams import Hashes, grams, words

_CHUNK = 4096


class Contamination:
    """Finds overlaps of n words in a row, case and punctuation aside (Brown et al. 2020, appendix C: n = 13).

    A protected text of fewer than n words is found where a whole text equals it.
    """

    def __init__(self, protected: Iterable[str], n: int = 13) -> None:
        split = [found for text in protected if (found := words(text))]
        self._n = n
        self._long = _unique([text for text in split if len(text) >= n], n)
        self._short = frozenset(tuple(text) for text in split if len(text) < n)

    def __bool__(self) -> bool:
        return bool(len(self._long) or self._short)

    def found(self, text: str) -> bool:
        """Whether the text shares n words in a row with a protected one. Safe in threads."""
        split = words(text)
        if tuple(split) in self._short:
            return True
        if not len(self._long) or len(split) < self._n:
            return False
        hashes_G = grams([split], self._n).hashes_G
        places_G = np.minimum(np.searchsorted(self._long, hashes_G), len(self._long) - 1)
        return bool((self._long[places_G] == hashes_G).any())


def _unique(texts: Sequence[list[str]], n: int) -> Hashes:
    parts = [np.unique(grams(texts[start : start + _CHUNK], n).hashes_G) for start in range(0, len(texts), _CHUNK)]
    return np.unique(np.concatenate(parts)) if parts else np.empty(0, np.uint64)
