"""Finds near-duplicates among a million texts, by MinHash with locality-sensitive hashing (Broder 1997).

Letters: T texts, K permutations, B bands. Everything is a function of the texts alone, the same in every process.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from eva.measures.ngrams import Hashes, grams, rehash, tokens
from eva.seeds import derive

SHINGLE = 3
PERMUTATIONS = 128
RECALL = 0.99
"""Smallest probability that a text exactly at the threshold becomes a candidate."""

Signatures = npt.NDArray[np.uint32]
_CHUNK = 256
_BLOCK = 1 << 14
_CONSTANTS = np.array([derive(0, "minhash", index) & 0xFFFFFFFF for index in range(2 * PERMUTATIONS)], np.uint32)
_FACTORS_K, _SHIFTS_K = _CONSTANTS[:PERMUTATIONS] | np.uint32(1), _CONSTANTS[PERMUTATIONS:]


def signatures(texts: Sequence[str], scopes: Sequence[int] = ()) -> Signatures:
    """Returns the MinHash signatures of the texts' 3-shingles, shape (T, K); equal entries estimate the Jaccard index.

    With `scopes`, 32 bits per text, shingles of different scopes are different. Without, all texts have scope 0.
    """
    result_T_K = np.empty((len(texts), PERMUTATIONS), np.uint32)
    for start in range(0, len(texts), _CHUNK):
        shingles = grams([tokens(text) for text in texts[start : start + _CHUNK]], SHINGLE, pad=True)
        hashes_G = (shingles.hashes_G >> np.uint64(32)).astype(np.uint32)
        if any(chunk := scopes[start : start + _CHUNK]):
            hashes_G ^= np.repeat(np.array(chunk, np.uint32), shingles.counts_T)
        starts_T = np.cumsum(shingles.counts_T) - shingles.counts_T
        for column in range(PERMUTATIONS):
            permuted_G = (hashes_G ^ _SHIFTS_K[column]) * _FACTORS_K[column]
            result_T_K[start : start + _CHUNK, column] = np.minimum.reduceat(permuted_G, starts_T)
    return result_T_K


def rows_per_band(similarity: float) -> int:
    """Returns the most rows per band at which a text of this similarity is a candidate with probability RECALL.

    The probability is 1 - (1 - s^r)^(K/r) (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, 3.4.2).
    """
    sizes = [size for size in (32, 16, 8, 4, 2, 1) if 1 - (1 - similarity**size) ** (PERMUTATIONS // size) >= RECALL]
    return sizes[0] if sizes else 1


def band_keys(signatures_T_K: Signatures, rows: int) -> Hashes:
    """Returns one 64-bit key per band, shape (T, B): texts that share a key are candidates."""
    bands = PERMUTATIONS // rows
    split_T_B_R = signatures_T_K.astype(np.uint64).reshape(-1, bands, rows)
    keys_T_B = np.broadcast_to(np.arange(bands, dtype=np.uint64), split_T_B_R.shape[:2])
    for row in range(rows):
        keys_T_B = rehash(keys_T_B ^ split_T_B_R[:, :, row])
    return keys_T_B


class MinHashIndex:
    """An index that finds near-duplicates. It grows in batches; queries change nothing, so they are thread-safe.

    Texts are numbered in order of arrival. A text takes 256 bytes for its signature (16 bits of each minimum) and 12
    bytes per band: half a kilobyte by default. Band keys are in sorted arrays whose sizes at least double, so each is
    merged only a few times.
    """

    def __init__(self, similarity: float) -> None:
        self.similarity = similarity
        self._rows = rows_per_band(similarity)
        self._blocks: list[npt.NDArray[np.uint16]] = []
        self._count = 0
        self._runs: list[tuple[Hashes, npt.NDArray[np.uint32]]] = []

    def __len__(self) -> int:
        return self._count

    def extend(self, texts: Sequence[str], scopes: Sequence[int] = ()) -> None:
        """Adds texts; the first gets number `len(index)`."""
        if not texts:
            return
        found_T_K = signatures(texts, scopes)
        numbers_T = np.arange(self._count, self._count + len(texts), dtype=np.uint32)
        keys_T_B = band_keys(found_T_K, self._rows)
        self._runs.append(_sorted(keys_T_B.ravel(), np.repeat(numbers_T, keys_T_B.shape[1])))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            newer, older = self._runs.pop(), self._runs.pop()
            self._runs.append(_sorted(np.concatenate([older[0], newer[0]]), np.concatenate([older[1], newer[1]])))
        self._keep(found_T_K.astype(np.uint16))

    def nearest(self, text: str, scope: int = 0) -> int | None:
        """Returns the number of the most similar text of the same scope, or None if none reaches the threshold.

        Of equally similar texts, the oldest.
        """
        signature_T_K = signatures([text], [scope])
        candidates_C = self._candidates(band_keys(signature_T_K, self._rows)[0])
        if not len(candidates_C):
            return None
        low_K = signature_T_K[0].astype(np.uint16)
        blocks_C = candidates_C // np.uint32(_BLOCK)
        stored_C_K = np.empty((len(candidates_C), PERMUTATIONS), np.uint16)
        for block in np.unique(blocks_C).tolist():
            stored_C_K[blocks_C == block] = self._blocks[block][candidates_C[blocks_C == block] % np.uint32(_BLOCK)]
        agreeing_C = np.count_nonzero(np.equal(stored_C_K, low_K), axis=1)
        best = int(np.argmax(agreeing_C))
        return int(candidates_C[best]) if agreeing_C[best] >= self.similarity * PERMUTATIONS else None

    def likeness(self, sketches_T_K: Signatures, without: Sequence[Collection[int]]) -> list[float]:
        """Returns each text's greatest estimated Jaccard index with any text of the index, of whatever size.

        `sketches_T_K` are the texts' signatures; `without` has, for each, the numbers that do not count. Reads the
        whole index for each: about 1.5 ms of a CPU where it holds 16,000 texts.
        """
        low_T_K = sketches_T_K.astype(np.uint16)
        agreeing_T = [0] * len(low_T_K)
        for place, block in enumerate(self._blocks):
            first, filled = place * _BLOCK, block[: self._count - place * _BLOCK]
            for row, (low_K, left_out) in enumerate(zip(low_T_K, without, strict=True)):
                agreeing_B = np.count_nonzero(np.equal(filled, low_K), axis=1)
                agreeing_B[[number - first for number in left_out if 0 <= number - first < len(filled)]] = 0
                agreeing_T[row] = max(agreeing_T[row], int(agreeing_B.max(initial=0)))
        return [agreeing / PERMUTATIONS for agreeing in agreeing_T]

    def _candidates(self, keys_B: Hashes) -> npt.NDArray[np.uint32]:
        """Returns the numbers of the texts that share a band, ascending."""
        found: list[npt.NDArray[np.uint32]] = []
        for keys, numbers in self._runs:
            lows, highs = np.searchsorted(keys, keys_B, "left"), np.searchsorted(keys, keys_B, "right")
            found += [numbers[low:high] for low, high in zip(lows.tolist(), highs.tolist(), strict=True) if low < high]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.uint32)

    def _keep(self, signatures_T_K: npt.NDArray[np.uint16]) -> None:
        taken = 0
        while taken < len(signatures_T_K):
            place = self._count % _BLOCK
            if place == 0:
                self._blocks.append(np.empty((_BLOCK, PERMUTATIONS), np.uint16))
            some = signatures_T_K[taken : taken + _BLOCK - place]
            self._blocks[-1][place : place + len(some)] = some
            self._count += len(some)
            taken += len(some)


def near_twins(texts: Sequence[str], similarity: float, scopes: Sequence[int] = ()) -> list[int | None]:
    """Returns each text's twin: the first earlier text of its scope that nearly equals it and has no twin itself.

    None where there is no twin.
    """
    if similarity >= 1:
        return [None] * len(texts)
    found_T_K = signatures(texts, scopes)
    buckets: dict[int, list[int]] = {}
    twins: list[int | None] = []
    for number, keys in enumerate(band_keys(found_T_K, rows_per_band(similarity)).tolist()):
        earlier = sorted({other for key in keys for other in buckets.get(key, ())})
        twin = next(
            (
                other
                for other in earlier
                if np.count_nonzero(found_T_K[other] == found_T_K[number]) >= similarity * PERMUTATIONS
            ),
            None,
        )
        twins.append(twin)
        if twin is None:
            for key in keys:
                buckets.setdefault(key, []).append(number)
    return twins


def in_batches(texts: Iterator[str], size: int = 10_000) -> Iterator[list[str]]:
    """Yields the texts in lists of at most `size`."""
    while batch := list(islice(texts, size)):
        yield batch


def _sorted(keys: Hashes, numbers: npt.NDArray[np.uint32]) -> tuple[Hashes, npt.NDArray[np.uint32]]:
    order = np.argsort(keys, kind="stable")
    return keys[order], numbers[order]
