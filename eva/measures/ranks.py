"""Ranks inside a prompt. Letters: N responses; `...` any leading axes, which do not influence each other."""

from __future__ import annotations

import numpy as np

from eva.types import Floats


def ranks(values: Floats) -> Floats:
    """The share of its row's values that each value is greater than, [..., N]; itself and ties count 1/2.

    This is the mean win rate that such values give, and mid-ranks up to units. NaN has no rank and is greater than
    nothing.
    """
    greater = (values[..., :, None] > values[..., None, :]) + 0.5 * (values[..., :, None] == values[..., None, :])
    known = np.isfinite(values)
    return np.where(known, greater.sum(axis=-1) / np.maximum(known.sum(axis=-1, keepdims=True), 1), np.nan)
