"""The map of prompts: fits it on landmarks, places other prompts among them, and measures its fidelity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eva.measures.ngrams import rehash
from eva.prompt_map.tfidf import AT_A_TIME, Reals, Vocabulary, build_vocabulary, tfidf_vectors
from eva.prompt_map.tsne import squared_distances, tsne
from eva.types import Ints

DIMENSIONS, OVERSAMPLED, AMONG, NEIGHBOURS, MEASURED = 48, 16, 8, 10, 800


@dataclass(frozen=True, slots=True, eq=False)
class PromptMap:
    """A fitted map: the vocabulary, the basis of meaning, and the landmarks in that basis and on the plane."""

    known: Vocabulary
    basis_V_D: Reals
    landmarks_L_D: Reals
    places_L_2: Reals


@dataclass(frozen=True, slots=True)
class MapFidelity:
    """How faithful a map is, measured on `prompts` of it.

    `share`: of a prompt's `neighbours` most similar texts, the share that are also its nearest on the map.
    `trustworthiness` (Venna, Kaski 2001): 1 if no neighbour on the map has dissimilar words, about 0.5 by chance.
    """

    prompts: int
    neighbours: int
    share: float
    trustworthiness: float


def fit_map(texts: Sequence[str]) -> PromptMap:
    """Fits a map on these landmarks. The same texts in the same order give the same map."""
    known = build_vocabulary(texts)
    full_L_V = tfidf_vectors(texts, known).dense(len(known.hashes_V))
    basis_V_D = _basis(full_L_V)
    landmarks_L_D = _unit(full_L_V @ basis_V_D)
    return PromptMap(known, basis_V_D, landmarks_L_D, tsne(landmarks_L_D))


def place_on_map(texts: Sequence[str], fitted: PromptMap) -> Reals:
    """Returns the positions of texts, shape (P, 2): between the most similar landmarks, weighted by similarity."""
    points_P_D = _unit(tfidf_vectors(texts, fitted.known).times(fitted.basis_V_D))
    among = min(AMONG, len(fitted.landmarks_L_D))
    places_P_2 = np.empty((len(texts), 2))
    for first in range(0, len(texts), AT_A_TIME):
        rows = slice(first, first + AT_A_TIME)
        squared = squared_distances(points_P_D[rows], fitted.landmarks_L_D)
        nearest_P_K = np.argsort(squared, axis=1, kind="stable")[:, :among]
        squared_P_K = np.take_along_axis(squared, nearest_P_K, 1).astype(np.float64)
        width_P_1 = np.maximum(squared_P_K.mean(1, keepdims=True), 1e-9)
        weights_P_K = np.exp(-4 * (squared_P_K - squared_P_K[:, :1]) / width_P_1)
        weights_P_K /= weights_P_K.sum(1, keepdims=True)
        places_P_2[rows] = np.einsum("pk,pkd->pd", weights_P_K, fitted.places_L_2[nearest_P_K])
    return places_P_2


def measure_map(texts: Sequence[str], places_P_2: Reals, fitted: PromptMap) -> MapFidelity | None:
    """Measures how well distances on the map match similarity in words, on evenly spaced prompts; None for too few."""
    chosen = np.unique(np.linspace(0, len(texts) - 1, min(len(texts), MEASURED)).astype(int))
    count, k = len(chosen), NEIGHBOURS
    if count < 3 * k:
        return None
    full_P_V = tfidf_vectors([texts[int(row)] for row in chosen], fitted.known).dense(len(fitted.known.hashes_V))
    ranks_P_P = _ranks(squared_distances(full_P_V, full_P_V))
    near_P_P = _ranks(squared_distances(places_P_2[chosen], places_P_2[chosen])) <= k
    missed = np.where(near_P_P & (ranks_P_P > k), ranks_P_P - k, 0).sum()
    trust = 1 - 2 * float(missed) / (count * k * (2 * count - 3 * k - 1))
    return MapFidelity(count, k, float((near_P_P & (ranks_P_P <= k)).sum() / (count * k)), trust)


@dataclass(frozen=True, slots=True)
class IterationPrompts:
    """The prompts that one iteration made (-1: the seed prompts), which have consecutive numbers."""

    born: int
    first: int
    count: int


def select_prompts(births: Sequence[IterationPrompts], most: int) -> Ints:
    """Returns the numbers of at most `most` prompts, in order.

    All iterations get the same share and pass on what they do not need. With a smaller `most`, an iteration shows a
    subset of what it shows with a larger one.
    """
    room = most
    chosen: list[Ints] = []
    for left, one in zip(range(len(births), 0, -1), sorted(births, key=lambda one: (one.count, one.born)), strict=True):
        numbers = np.arange(one.first, one.first + one.count)
        keep = min(one.count, room // left)
        if keep < one.count:
            order = np.argsort(rehash(numbers.astype(np.uint64)), kind="stable")
            numbers = numbers[order[:keep]]
        chosen.append(numbers)
        room -= keep
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)


def _ranks(squared_P_P: Reals) -> Ints:
    """Returns the rank of each point among the nearest of each other one, from 1; a very high rank for itself."""
    squared_P_P = squared_P_P.copy()
    np.fill_diagonal(squared_P_P, np.inf)
    order = np.argsort(squared_P_P, axis=1, kind="stable")
    ranks = np.empty(order.shape, np.int64)
    np.put_along_axis(ranks, order, np.arange(1, len(order) + 1)[None], 1)
    np.fill_diagonal(ranks, 2 * len(ranks))
    return ranks


def _basis(full_L_V: Reals) -> Reals:
    """Returns the principal directions (Halko, Martinsson, Tropp 2011), from a fixed start."""
    wanted = min(DIMENSIONS, *full_L_V.shape) if full_L_V.size else 0
    if not wanted:
        return np.zeros((full_L_V.shape[1], 1), np.float32)
    start = np.random.default_rng(7).standard_normal((full_L_V.shape[1], wanted + OVERSAMPLED)).astype(np.float32)
    range_L_R = np.linalg.qr(full_L_V @ (full_L_V.T @ (full_L_V @ start)))[0]
    axes: Reals = np.linalg.svd(range_L_R.T @ full_L_V, full_matrices=False).Vh
    return np.ascontiguousarray(axes[:wanted].T)


def _unit(points_P_D: Reals) -> Reals:
    norms = np.linalg.norm(points_P_D, axis=1, keepdims=True)
    return points_P_D / np.where(norms == 0, 1, norms)
