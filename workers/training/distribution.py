"""A training job on several devices by Ray Train: each process trains on its part of every global batch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from eva.config import Model, Training
from eva.errors import EvaError, TrainingFailedError
from eva.runtime.full_disk import disk_full_cause, disk_full_error
from eva.runtime.worker_reports import Note, StepListener, ignore_note
from eva.types import TrainingJob, TrainingStep
from workers.cluster.room import free_gpus
from workers.training import checkpoint_files
from workers.training.optimisation import optimise, silence_libraries

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

_STEPS, _DROPPED, _POLICY = "steps.jsonl", "dropped.json", "policy"
_POLL_S = 0.2
# Processes that have just ended release their devices after a moment.
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class TrainedPolicy:
    """Steps, dropped rows by reason, and how the trained policy's files get into a checkpoint's folder, once."""

    steps: tuple[TrainingStep, ...]
    dropped: Mapping[str, int]
    write: Callable[[Path], None]


def train_on_devices(
    job: TrainingJob,
    training: Training,
    model: Model,
    scratch: Path,
    report: StepListener | None,
    note: Note = ignore_note,
    *,
    gpu: bool,
) -> TrainedPolicy:
    """`optimise` on `training.devices` devices, which share the folder `scratch` with this process.

    A last batch that does not fill every device is filled with rows of the first batch, so that no row is dropped. The
    first process writes the policy's files into `scratch`, as they are published.
    Raises TrainingFailedError and what `optimise` raises.
    """
    if gpu:
        require_devices(training.devices, job.machine)
    config = {"job": job, "training": training, "model": model, "scratch": str(scratch.resolve()), "gpu": gpu}
    with ThreadPoolExecutor(1) as pool:
        trainer = group_trainer(train_on_this_device, config, training, scratch, gpu=gpu, machine=job.machine)
        heard = _follow(pool.submit(trainer.fit), scratch / _STEPS, report, note)
    dropped = json.loads((scratch / _DROPPED).read_text())
    return TrainedPolicy(tuple(heard), dropped, lambda folder: checkpoint_files.move_files(scratch / _POLICY, folder))


def group_trainer(
    loop: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    training: Training,
    folder: Path,
    *,
    gpu: bool,
    machine: str | None = None,
) -> TorchTrainer:
    """Returns what runs `loop(config)` in a process on each device; the processes share the folder.

    `machine`: Ray's name for the only machine that has it.
    """
    from ray.train import RunConfig, ScalingConfig  # takes a second, which a job on one device does not need
    from ray.train.torch import TorchConfig, TorchTrainer

    there = {} if machine is None else {machine: 0.001}
    return TorchTrainer(
        loop,
        train_loop_config=config,
        # Offloaded weights are summed in main memory, for which nccl has no operations.
        torch_config=TorchConfig(backend=("cpu:gloo,cuda:nccl" if training.offload else "nccl") if gpu else "gloo"),
        # No cores are reserved: engines and trainer take turns on them.
        scaling_config=ScalingConfig(
            num_workers=training.devices,
            use_gpu=gpu,
            resources_per_worker=({"GPU": 1} if gpu else {"CPU": 0.001}) | there,
        ),
        run_config=RunConfig(name="job", storage_path=str(folder.resolve())),
    )


def require_devices(needed: int, machine: str | None = None) -> None:
    """Waits for free devices, of one machine if its name is given. Without this, Ray Train would wait for ever for
    devices that the engines hold."""
    deadline = time.monotonic() + _PATIENCE_S
    where = "" if machine is None else " on the machine that has the job's files"
    while (free := free_gpus(machine)) < needed:
        if time.monotonic() > deadline:
            raise TrainingFailedError(
                f"training.devices is {needed}, but {free:g} GPUs are free{where} beside engines and rewarder",
                expected="enough free GPUs",
                next_move="Lower fleet.engines or training.devices",
            )
        time.sleep(1.0)


def rank_here() -> int:
    """Returns the number of this process among those of its group; the first is 0."""
    from ray.train import get_context

    return get_context().get_world_rank()


def train_on_this_device(config: dict[str, Any]) -> None:
    """Runs in each process. The first process writes steps, notes, dropped rows and the policy's files."""
    job, training, gpu = config["job"], config["training"], config["gpu"]
    scratch, first = Path(config["scratch"]), rank_here() == 0
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // training.devices))
    silence_libraries()
    with (scratch / _STEPS).open("a", encoding="utf-8") as lines:

        def write(line: object) -> None:
            if first:
                lines.write(json.dumps(line) + "\n")
                lines.flush()

        optimised = optimise(
            job,
            training,
            config["model"],
            lambda step, total: write([step.step, dict(step.values), total]),
            write,
            gpu=gpu,
        )
        if first:
            write("writes the weights")
            policy, update = optimised.policy, optimised.update
            (scratch / _POLICY).mkdir()
            checkpoint_files.write_trained(policy, update, job, training, scratch / _POLICY, gpu=gpu)
            (scratch / _DROPPED).write_text(json.dumps(dict(optimised.dropped)))


def _follow(fitting: Future[Any], file: Path, report: StepListener | None, note: Note) -> list[TrainingStep]:
    """Returns the steps, and passes on each step and note when it is written. Raises what ended the job."""
    steps: list[TrainingStep] = []
    seen = 0
    while True:
        done = fitting.done()
        lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.is_file() else []
        for line in map(json.loads, lines[seen:]):
            seen += 1
            if isinstance(line, str):
                note(line)
                continue
            number, values, total = line
            steps.append(TrainingStep(number, values))
            if report is not None:
                report(steps[-1], total)
        if done:
            raise_failure(fitting, file.parent)
            return steps
        time.sleep(_POLL_S)


def raise_failure(fitting: Future[Any], folder: Path) -> None:
    """Raises what ended a group of processes early. Does nothing if they ended in peace."""
    from ray.train import TrainingFailedError as RayTrainingFailedError

    try:
        fitting.result()  # bounded: it is done
    except RayTrainingFailedError as error:
        failures = getattr(error, "worker_failures", {})
        ours = next((failure for failure in failures.values() if isinstance(failure, EvaError)), None)
        if ours is not None:
            raise ours from error
        for failure in failures.values():
            if (full := disk_full_cause(failure)) is not None:
                raise disk_full_error(folder, full) from error
        raise TrainingFailedError(
            f"The training on several devices failed: {error}",
            next_move="Read the trainer's log, or set training.devices to 1",
        ) from error
