from __future__ import annotations

import math

import pytest
import torch
from transformers import get_scheduler

from eva.config import Training
from workers.training.arguments import SCHEDULES as NAMES
from workers.training.schedule import limited_steps, rate_share

SCHEDULES = ("cosine", "linear", "constant")


def library_rates(schedule: str, warm_up: int, steps: int) -> list[float]:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(NAMES[schedule], optimizer=optimiser, num_warmup_steps=warm_up, num_training_steps=steps)
    rates: list[float] = []
    for _ in range(steps):
        rates.append(float(scheduler.get_last_lr()[0]))
        optimiser.step()
        scheduler.step()
    return rates


def rates(schedule: str, warm_up: int, steps: int, warmup_from: str = "first_step") -> list[float]:
    training = Training.model_validate({"schedule": schedule, "warmup_from": warmup_from})
    share = rate_share(training, warm_up=warm_up, steps=steps)
    return [share(taken) for taken in range(steps)]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_step_counts_from_the_first_to_the_last(schedule: str) -> None:
    for warm_up, steps in ((1, 1), (1, 8), (3, 30), (8, 8)):
        found = rates(schedule, warm_up, steps)
        assert min(found) > 0 and max(found) == 1
        assert found[:warm_up] == pytest.approx([(step + 1) / warm_up for step in range(warm_up)])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rates_are_the_librarys_without_its_step_of_zero(schedule: str) -> None:
    assert rates(schedule, 3, 30) == pytest.approx(library_rates(schedule, 3, 31)[1:], abs=1e-12)
    assert library_rates(schedule, 3, 31)[0] == 0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_from_zero_and_without_a_warm_up_the_rates_are_the_librarys_to_the_digit(schedule: str) -> None:
    assert rates(schedule, 0, 12) == library_rates(schedule, 0, 12)
    for warm_up, steps in ((1, 8), (3, 30), (7, 61)):
        assert rates(schedule, warm_up, steps, "zero") == library_rates(schedule, warm_up, steps)


def test_eight_steps_of_the_papers_schedule_are_eighths_of_a_cosine() -> None:
    assert rates("cosine", 1, 8) == pytest.approx([(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)])


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
