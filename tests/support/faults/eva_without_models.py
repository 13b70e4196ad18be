"""`eva` with Ray, real actors and a real fleet, but without models: engines and training are stand-ins.

EVA_ASKED=FILE PYTHONPATH=…/modelless python -m tests.support.faults.eva_without_models run playground …
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from cli.main import main
from eva.config import Model, Training
from eva.runtime.logs import WorkerLog
from eva.types import Checkpoint, TrainingJob, TrainingResult, TrainingStep
from workers.models.model_folder import resolve_model
from workers.training import trainer as trainer_module
from workers.training.checkpoints import publish


class CopyingTraining:
    """Stands for TrainingProcess: each checkpoint is the initial model with the number of its job."""

    def __init__(self, log: WorkerLog) -> None:
        log.begin()

    def warm(self) -> None: ...

    def publish_initial(
        self, model: Model, training: Training, folder: str, secrets: object, *, engines_on_gpu: bool
    ) -> Checkpoint:
        return _published(model, folder, 0, 0)

    def train(self, job: TrainingJob, training: Training, model: Model, *, engines_on_gpu: bool) -> TrainingResult:
        assert Path(job.pairs_path).stat().st_size
        return TrainingResult(_published(model, job.folder, job.number, job.iteration), (TrainingStep(1, {}),))

    def progress_since(self, count: int) -> tuple[list[tuple[TrainingStep, int]], int, str]:
        return [], 0, "a job"


def _published(model: Model, folder: str, number: int, iteration: int) -> Checkpoint:
    canary = {
        "dtype": "float32",
        "tolerance": 1.0,
        "sequences": [{"token_ids": [5, 6, 7], "logprobs": [-1.0 - number, -2.0 - number]}],
    }

    def write(target: Path) -> None:
        shutil.copytree(resolve_model(model.path, model.revision), target, dirs_exist_ok=True)
        (target / "canary.json").write_text(json.dumps(canary))

    name = f"checkpoint-{number}"
    return Checkpoint(number, iteration, f"{folder}/{name}", publish(write, Path(folder), name))


if __name__ == "__main__":
    stand_in: Any = CopyingTraining
    trainer_module.TrainingProcess = stand_in
    main()
