"""Texts as arrays of hashed words and word n-grams, the basis of novelty and diversity.

Letters: T texts, W words, G n-grams. Hashes are the same in every process and on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from eva.seeds import text_hash
from eva.types import Ints

Hashes = npt.NDArray[np.uint64]

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
# scripts written without spaces count each character as a word
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")
_MIX = np.uint64(0x9E3779B97F4A7C15)


def words(text: str) -> list[str]:
    """Returns case-folded words without punctuation; each character of a script without spaces is a word."""
    return _WORD.findall(text.casefold())


def tokens(text: str) -> list[str]:
    """Returns case-folded words and single punctuation marks, so that `2 + 2` and `2 - 2` differ."""
    return _TOKEN.findall(text.casefold())


@lru_cache(maxsize=1 << 17)
def word_hash(word: str) -> int:
    """Returns an unsigned 64-bit hash of one word."""
    return text_hash(word) & 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True, eq=False)
class Grams:
    """The n-grams of several texts, one text after another; `counts_T` says how many of `hashes_G` each text has."""

    hashes_G: Hashes
    counts_T: Ints

    @property
    def owners(self) -> Ints:
        """The text that each n-gram belongs to, shape (G,)."""
        return np.repeat(np.arange(len(self.counts_T)), self.counts_T)


def grams(texts: Sequence[Sequence[str]], n: int, *, pad: bool = False) -> Grams:
    """Returns the word n-grams of texts that are given as words, in order and with repeats.

    A text of fewer than n words has none; with `pad` it is padded to one.
    """
    lengths_T = np.fromiter((len(text) for text in texts), np.int64, len(texts))
    padded_T = np.maximum(lengths_T, n) if pad else lengths_T
    ends_T = np.cumsum(padded_T)
    total = int(ends_T[-1]) if len(texts) else 0
    hashes_W = np.zeros(total, np.uint64)
    inside_W = np.arange(total) - np.repeat(ends_T - padded_T, padded_T)
    hashes_W[inside_W < np.repeat(lengths_T, padded_T)] = np.fromiter(
        (word_hash(word) for text in texts for word in text), np.uint64, int(lengths_T.sum())
    )
    counts_T = np.maximum(padded_T - n + 1, 0)
    starts_G = np.flatnonzero(inside_W < np.repeat(counts_T, padded_T))
    hashes_G = np.zeros(len(starts_G), np.uint64)
    for offset in range(n):
        hashes_G = rehash(hashes_G ^ hashes_W[starts_G + offset])
    return Grams(hashes_G, counts_T)


def rehash(hashes: Hashes) -> Hashes:
    """Returns another well-distributed hash of each hash, by a bijection (SplitMix64; Steele, Lea, Flood 2014)."""
    state = hashes + _MIX
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
