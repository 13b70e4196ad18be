from __future__ import annotations

import pytest

from eva.config import Training
from workers.training.step_limit import limited_steps


@pytest.mark.parametrize(
    ("changes", "pairs", "devices", "steps"),
    [
        ({}, 95, 1, None),
        ({"step_limit": 15}, 95, 1, 15),  # 6 batches of 16, three times: 18
        ({"step_limit": 18}, 95, 1, None),
        ({"step_limit": 3}, 16, 1, None),
        ({"step_limit": 2}, 16, 1, 2),
        ({"step_limit": 8, "per_device_batch": 4}, 95, 2, 8),
        ({"step_limit": 18, "per_device_batch": 4}, 95, 2, None),
    ],
)
def test_steps_are_limited_only_where_the_pairs_would_take_more(
    changes: dict[str, int], pairs: int, devices: int, steps: int | None
) -> None:
    training = Training.model_validate({"batch": 16, "epochs": 3, "devices": devices} | changes)
    assert limited_steps(training, pairs, devices) == steps


def test_a_limit_and_an_exact_number_of_steps_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="unset one of them"):
        Training(max_steps=3, step_limit=4)
