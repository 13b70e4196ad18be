"""Puts landmarks on a plane by exact t-SNE (van der Maaten, Hinton 2008), deterministically."""

from __future__ import annotations

import numpy as np

from eva.prompt_map.tfidf import Reals

PERPLEXITY, ROUNDS, EXAGGERATED, EXAGGERATION = 30.0, 250, 70, 4.0
_HALVINGS, _TINY = 25, 1e-12


def tsne(points_L_D: Reals) -> Reals:
    """Returns the positions of unit vectors on a plane, shape (L, 2), between 0 and 1, from a fixed start."""
    count = len(points_L_D)
    if count < 2:
        return np.full((count, 2), 0.5)
    start_L_2 = _components(points_L_D)
    if count < 8:
        return to_unit_square(start_L_2)
    near_L_L = _affinities(points_L_D)
    nearer_L_L = near_L_L * np.float32(EXAGGERATION)
    room_L_L = np.empty_like(near_L_L)
    places_L_2 = start_L_2 * (1e-2 / max(float(start_L_2[:, 0].std()), _TINY))
    step_L_2, gains_L_2 = np.zeros_like(places_L_2), np.ones_like(places_L_2)
    rate = max(count / EXAGGERATION / 4, 50.0)
    for turn in range(ROUNDS):
        early = turn < EXAGGERATED
        slope_L_2 = _slope(nearer_L_L if early else near_L_L, places_L_2, room_L_L)
        same = np.sign(slope_L_2) == np.sign(step_L_2)
        gains_L_2 = np.maximum(np.where(same, gains_L_2 * 0.8, gains_L_2 + 0.2), 0.01)
        step_L_2 = (0.5 if early else 0.8) * step_L_2 - rate * gains_L_2 * slope_L_2
        places_L_2 = places_L_2 + step_L_2
        places_L_2 -= places_L_2.mean(0)
    return to_unit_square(places_L_2)


def to_unit_square(places_L_2: Reals) -> Reals:
    """Scales positions to between 0 and 1, with a margin and the same scale for both axes."""
    low, high = places_L_2.min(0), places_L_2.max(0)
    size = max(float((high - low).max()), _TINY) * 1.06
    return (places_L_2 - (low + high) / 2) / size + 0.5


def squared_distances(one_A_D: Reals, other_B_D: Reals) -> Reals:
    """Returns the squared distance of every row to every row, shape (A, B)."""
    squares_A, squares_B = (one_A_D**2).sum(1), (other_B_D**2).sum(1)
    return np.maximum(squares_A[:, None] + squares_B[None] - 2 * one_A_D @ other_B_D.T, 0)


def _components(points_L_D: Reals) -> Reals:
    """Projects points onto their first two principal components; signs make the largest entry positive."""
    centred: Reals = points_L_D - points_L_D.mean(0)
    components: Reals = np.linalg.svd(centred, full_matrices=False).Vh
    axes = np.zeros((2, centred.shape[1]))
    axes[: len(components)] = components[:2]
    signs = np.sign(axes[np.arange(2), np.abs(axes).argmax(1)])
    return (centred @ (axes * np.where(signs == 0, 1, signs)[:, None]).T).astype(np.float64)


def _affinities(points_L_D: Reals) -> Reals:
    """Returns the affinities between landmarks, which sum to 1: Gaussians whose widths give PERPLEXITY neighbours."""
    count = len(points_L_D)
    squared_L_L = squared_distances(points_L_D, points_L_D).astype(np.float32)
    wanted = np.log(min(PERPLEXITY, (count - 1) / 3))
    low_L, high_L, sharp_L = (np.full(count, value, np.float32) for value in (0, np.inf, 1))
    np.fill_diagonal(squared_L_L, np.inf)
    beyond_L_L = squared_L_L - squared_L_L.min(1, keepdims=True)
    np.fill_diagonal(beyond_L_L, 1e6)
    near_L_L = np.empty_like(beyond_L_L)
    for _ in range(_HALVINGS):
        np.exp(beyond_L_L * -sharp_L[:, None], out=near_L_L)
        sums_L = near_L_L.sum(1)
        entropy_L = np.log(sums_L) + sharp_L * np.einsum("ij,ij->i", near_L_L, beyond_L_L) / sums_L
        wide = entropy_L > wanted
        low_L, high_L = np.where(wide, sharp_L, low_L), np.where(wide, high_L, sharp_L)
        sharp_L = np.where(np.isinf(high_L), sharp_L * 2, (low_L + high_L) / 2)
    share_L_L = near_L_L / near_L_L.sum(1, keepdims=True)
    return ((share_L_L + share_L_L.T) / (2 * count)).astype(np.float32)


def _slope(near_L_L: Reals, places_L_2: Reals, room_L_L: Reals) -> Reals:
    """Returns the gradient of the divergence between affinities in words and on the plane; overwrites `room_L_L`."""
    plane_L_2 = places_L_2.astype(np.float32)
    squares_L = (plane_L_2**2).sum(1)
    pull_L_L = np.matmul(plane_L_2, -2 * plane_L_2.T, out=room_L_L)
    pull_L_L += squares_L[:, None] + 1
    pull_L_L += squares_L
    np.reciprocal(pull_L_L, out=pull_L_L)
    np.fill_diagonal(pull_L_L, 0)
    force_L_L = pull_L_L * (-1 / pull_L_L.sum())
    force_L_L += near_L_L
    force_L_L *= pull_L_L
    return 4 * (force_L_L.sum(1, keepdims=True) * plane_L_2 - force_L_L @ plane_L_2).astype(np.float64)
