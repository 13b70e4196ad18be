"""Logarithm and exponential whose last bits do not depend on the processor.

numpy computes both with the vector instructions that it finds, and those differ in the last bit between processors. A
run that a second machine continues, or that is played again there, must draw the same prompts with the same keys.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eva.types import Floats

_MOST = math.log(np.finfo(np.float64).max)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf if value == 0 else math.nan


def _exp(value: float) -> float:
    return math.exp(value) if value <= _MOST else math.inf if value > 0 else math.nan


_LOG: Any = np.frompyfunc(_log, 1, 1)
_EXP: Any = np.frompyfunc(_exp, 1, 1)


def log(values: Floats) -> Floats:
    """Returns the natural logarithm of each value: -inf of 0, NaN of negative numbers and of NaN."""
    with np.errstate(all="ignore"):
        return np.asarray(_LOG(values), dtype=np.float64)


def exp(values: Floats) -> Floats:
    """Returns e to the power of each value: inf where that is too large, NaN of NaN."""
    with np.errstate(all="ignore"):
        return np.asarray(_EXP(values), dtype=np.float64)
