"""Logarithm and exponential are those of the C library, value by value, whatever numpy uses on this processor."""

from __future__ import annotations

import math

import numpy as np

from eva import elementary


def test_every_value_has_the_bits_of_the_c_library() -> None:
    values = np.random.default_rng(0).random((100, 50)) * 700
    assert elementary.log(values).tolist() == [[math.log(value) for value in row] for row in values.tolist()]
    assert elementary.exp(-values).tolist() == [[math.exp(-value) for value in row] for row in values.tolist()]


def test_what_has_no_finite_result_is_as_in_numpy_without_a_warning() -> None:
    np.testing.assert_array_equal(
        elementary.log(np.array([0.0, -1.0, math.nan, math.inf])), [-np.inf, np.nan, np.nan, np.inf]
    )
    np.testing.assert_array_equal(
        elementary.exp(np.array([710.0, -800.0, math.nan, -math.inf])), [np.inf, 0, np.nan, 0]
    )
    assert elementary.log(np.empty(0)).shape == (0,) and elementary.log(np.array(1.0)) == 0.0
