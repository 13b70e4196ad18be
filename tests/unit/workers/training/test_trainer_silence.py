"""A training process that never answers: the trainer goes on looking, and asks whether its machine is there."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

from tests.support.fakes import fake_config
from workers.training import trainer as trainer_module
from workers.training.trainer import LocalTrainer

ACTOR: Any = SimpleNamespace(progress_since=SimpleNamespace(remote=lambda _seen: "asked"))


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call is ever answered."""
    monkeypatch.setattr(trainer_module.ray, "wait", lambda refs, timeout: ([], refs))
    monkeypatch.setattr(trainer_module, "_LOOK_S", 0.0)


@pytest.mark.usefixtures("silent")
def test_a_training_process_whose_machine_is_gone_is_given_up_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, answers = LocalTrainer(fake_config(), tmp_path), [False, True]
    monkeypatch.setattr(trainer_module, "lost_machine", lambda _error, _located: answers.pop(0))
    with pytest.raises(GetTimeoutError, match="its machine does not answer any more"):
        trainer._heard(ACTOR, "call", None)
    (status,) = trainer.at_work()
    assert status.worker == "training process" and answers == []


@pytest.mark.usefixtures("silent")
def test_a_training_process_that_never_answers_is_silent_for_as_long_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = LocalTrainer(fake_config(training={"timeout_s": 1.0}), tmp_path)
    silences: list[float] = []

    def alive(_error: object, _located: object) -> bool:
        silences.extend(status.silent_s for status in trainer.at_work())
        return False

    monkeypatch.setattr(trainer_module, "lost_machine", alive)
    with pytest.raises(GetTimeoutError, match="no progress for 1 s"):
        trainer._heard(ACTOR, "call", None)
    assert silences == sorted(silences) and silences[-1] > 0.9
