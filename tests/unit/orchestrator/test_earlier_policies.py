"""Which policies of the past a training is handed, on fakes: those that its loss compares with, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from eva.settings import Settings
from eva.types import TrainingJob, TrainingResult
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.session import Store
from tests.support.fakes import FakeTrainer, Recorder, always, fake_config, fake_roles


def play(store: Store, folder: Path, trainer: FakeTrainer, loss: str, iterations: int) -> list[TrainingJob]:
    """Returns the training jobs of a run, one for each iteration."""
    run = register_run(store, fake_config(iterations=iterations, training={"loss": loss}))
    drive(store, Settings(folder, None, None), run, Recorder(), build=always(fake_roles(trainer=trainer)))
    return trainer.jobs


def handed(job: TrainingJob) -> tuple[int | None, list[int]]:
    return job.initial and job.initial.number, [policy.number for policy in job.earlier]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("dpo", [(None, [])] * 8),
        ("inpo", [(0, [])] * 8),
        ("onpo", [(None, [*range(number - 1, max(number - 6, -1), -1)]) for number in range(8)]),
    ],
)
def test_a_training_is_handed_what_its_loss_compares_with(
    loss: str, expected: list[Any], store: Store, tmp_path: Path
) -> None:
    jobs = play(store, tmp_path, FakeTrainer(), loss, 8)
    assert [handed(job) for job in jobs] == expected
    assert all(job.reference == job.policy for job in jobs)


@dataclass
class LearnsNothingOnce(FakeTrainer):
    """Its second training leaves the policy as it was."""

    @override
    def train(self, job: TrainingJob, report: Callable[..., None]) -> TrainingResult:
        result = super().train(job, report)
        same = replace(result.checkpoint, digest=job.policy.digest)
        return replace(result, checkpoint=same) if job.number == 2 else result


def test_a_policy_that_was_not_trained_has_no_weight_of_its_own(store: Store, tmp_path: Path) -> None:
    jobs = play(store, tmp_path, LearnsNothingOnce(), "onpo", 4)
    assert [handed(job)[1] for job in jobs] == [[], [0], [0], [2, 0]]
