"""eva's functions reproduce AlpacaEval's published figures; `published/` names the source of each."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize

from eva.evaluation.alpaca import leaderboard_row
from eva.evaluation.length_control import sigmoid
from eva.types import Floats

FOLDER = Path(__file__).parent / "published"


def rows(name: str) -> list[dict[str, str]]:
    lines = [line for line in (FOLDER / name).read_text().splitlines() if not line.startswith("#")]
    return [*csv.DictReader(lines)]


@pytest.mark.parametrize("published", rows("win_rates.csv"), ids=lambda row: row["model"])
def test_alpacaeval_1s_win_rates_and_errors_follow_from_its_wins_losses_and_draws(published: dict[str, str]) -> None:
    counts = {"n_wins": 2.0, "n_wins_base": 1.0, "n_draws": 1.5}
    annotations: list[dict[str, Any]] = [
        {"output_1": "", "output_2": "", "preference": preference}
        for name, preference in counts.items()
        for _ in range(int(published[name]))
    ]
    row = leaderboard_row(annotations, seed=1)
    for name in ("n_wins", "n_wins_base", "n_draws", "n_total", "win_rate", "standard_error", "discrete_win_rate"):
        assert row[name] == pytest.approx(float(published[name]), abs=1e-6), name


def test_one_distribution_of_difficulty_explains_the_published_length_controlled_win_rates() -> None:
    """The instructions' 805 difficulties are not available, so their distribution is fitted on every other model.

    The rate is the mean over instructions of the published fit at equal length. So the distribution that gives the
    rates of half of the models must give those of the other half, which took no part in fitting it.
    """
    table = np.array(
        [
            [float(row[name]) for name in ("difficulty", "model_term", "length_controlled_winrate")]
            for row in rows("length_controlled.csv")
        ]
    )
    grid_D: Floats = np.linspace(-8, 8, 161)
    predicted_M_D = 100 * sigmoid(table[:, :1] * grid_D + table[:, 1:2])
    published_M, fitted = table[:, 2], np.arange(len(table)) % 2 == 0
    # the last equation says that the weights of a distribution sum to 1
    weights_D, _ = scipy.optimize.nnls(
        np.vstack([predicted_M_D[fitted], np.full(len(grid_D), 1000.0)]), np.append(published_M[fitted], 1000.0)
    )
    assert weights_D.sum() == pytest.approx(1, abs=1e-3)
    difference_M = predicted_M_D @ weights_D - published_M
    assert np.abs(difference_M[~fitted]).max() < 0.03
    # without its difficulties, no model but the baseline would have its published rate
    assert np.abs(100 * sigmoid(table[:, 1]) - published_M).mean() > 1
