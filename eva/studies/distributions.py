"""The power of t-tests and sign flips, computed by scipy."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportArgumentType=false
# scipy comes without types

from __future__ import annotations

import numpy as np
import scipy.optimize
import scipy.stats

from eva.measures.statistics import student_quantile
from eva.types import Floats


def power_of(shift: float, degrees: float, level: float) -> float:
    """Returns how often a two-sided t-test at 1 - `level` rejects zero when the truth is `shift` standard errors away.

    The square of the statistic then has a noncentral F distribution. The noncentral t would say the same, but scipy's
    is NaN far from zero.
    """
    return float(scipy.stats.ncf.sf(student_quantile(degrees, level) ** 2, 1, degrees, shift**2))


def shift_with(power: float, degrees: float, level: float) -> float:
    """Returns how many standard errors away the truth must be for a two-sided t-test to have this power.

    `power` lies between 1/2 and 1.
    """
    # the power is about one half at the quantile of the test, and near one some quantiles further on
    limit = student_quantile(degrees, level)
    most = limit + 10 * student_quantile(degrees, power)
    return float(scipy.optimize.brentq(lambda shift: power_of(shift, degrees, level) - power, limit / 4, most))


def flipped_sums(shares_S: Floats, draws: int | None, seed: int) -> tuple[float, int]:
    """Returns the two-sided p of a sum when signs are flipped, and how many flips were counted.

    All 2^S flips are counted, or `draws` random ones; then the flips that were drawn include the observed one (Phipson
    and Smyth 2010), so p is never 0.
    """
    result = scipy.stats.permutation_test(
        (shares_S,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf if draws is None else draws,
        batch=2048,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue), len(result.null_distribution)
