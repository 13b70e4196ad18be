"""Derived randomness: every draw comes from a hash of the run's seed and the purpose of the draw.

There is no global generator, so no draw depends on order, on shards or on a restart. The words in the paths are part of
the hash: a run's draws change if one of them is renamed.
"""

from __future__ import annotations

import hashlib
import random
import re

import numpy as np
import numpy.typing as npt

_MIX = np.uint64(0x9E3779B97F4A7C15)


def derive(seed: int, *path: int | str) -> int:
    """Returns a 63-bit seed for the run's seed and a path such as (iteration, "evolve", number)."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (seed, *path):
        digest.update(f"{type(part).__name__}:{part};".encode())
    return int.from_bytes(digest.digest(), "big") >> 1


def generator(seed: int, *path: int | str) -> random.Random:
    """Returns a random generator for one decision."""
    return random.Random(derive(seed, *path))


def _splitmix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), elementwise."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def uniforms(seed: int, *path: int | str, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Returns one uniform draw in the open interval (0, 1) per prompt number, shape (P,).

    Each draw depends on (seed, path, number) alone, so reordering or splitting the prompts changes none of them.
    Vectorised: a million prompts take milliseconds.
    """
    with np.errstate(over="ignore"):
        base = np.uint64(derive(seed, *path))
        bits = _splitmix(_splitmix(base + (numbers.astype(np.uint64) + np.uint64(1)) * _MIX) ^ base)
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def text_hash(text: str) -> int:
    """Returns a signed 64-bit hash of a text, the same in every process and on every machine."""
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big", signed=True
    )


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable_text(text: str) -> str:
    """Replaces each NUL character and lone surrogate by U+FFFD: neither databases nor tokenizers take them."""
    return _UNSTORABLE.sub("\ufffd", text)
