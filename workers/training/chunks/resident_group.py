"""The trainer that stays, on GPUs or several devices: processes of Ray Train that take their orders from a folder."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from eva.config import Model, Training
from eva.errors import TrainingFailedError
from eva.runtime.atomic_files import write_json_file
from eva.runtime.worker_reports import Note, StepListener, ignore_note
from eva.types import ChunkPairs, TrainingJob, TrainingStep
from workers.training import checkpoint_files
from workers.training.chunks.resident import ResidentTrainer, pairs_digest
from workers.training.chunks.rolling_state import StoredState, read_progress
from workers.training.distribution import group_trainer, raise_failure, rank_here, require_devices
from workers.training.optimisation import silence_libraries

_LINES, _WRITTEN, _PREFIX = "lines.jsonl", "written", ".resident-"
_POLL_S = 0.1


class ResidentGroup:
    """`ResidentTrainer` on `training.devices` devices. Its processes keep them until `close`."""

    def __init__(self, job: TrainingJob, training: Training, model: Model, *, gpu: bool = False) -> None:
        """Raises TrainingFailedError if there are too few GPUs beside the engines."""
        for leftover in Path(job.folder).glob(f"{_PREFIX}*"):  # of a process that died; the job's lock is held
            shutil.rmtree(leftover, ignore_errors=True)
        if gpu:
            require_devices(training.devices, job.machine)
        self._folder = Path(tempfile.mkdtemp(dir=job.folder, prefix=_PREFIX)).resolve()
        self._pool = ThreadPoolExecutor(1)
        config = {"job": job, "training": training, "model": model, "folder": str(self._folder), "gpu": gpu}
        trainer = group_trainer(obey_orders, config, training, self._folder, gpu=gpu, machine=job.machine)
        self._fitting: Future[Any] = self._pool.submit(trainer.fit)
        self._orders = self._seen = 0
        self.steps: tuple[TrainingStep, ...] = ()
        self.dropped: Counter[str] = Counter()
        self.learned: list[str] = []

    def learn(self, chunk: ChunkPairs, report: StepListener | None = None, note: Note = ignore_note) -> None:
        """Trains on the next chunk. Raises what the group raises."""
        self.dropped = Counter(self._order({"learn": asdict(chunk)}, report, note)["dropped"])
        self.learned.append(pairs_digest(chunk.pairs_path))

    def resume(self, stored: StoredState) -> None:
        """Goes on from a stored state of this iteration."""
        progress = stored.progress
        self._order({"resume": str(stored.folder)}, None, ignore_note)
        self.steps, self.dropped, self.learned = progress.steps, Counter(progress.dropped), [*progress.learned]

    def write_policy(self, directory: Path) -> None:
        """Writes the newest weights into a checkpoint's folder; the group keeps its own."""
        self._write({"policy": True}, directory)

    def write_state(self, directory: Path) -> None:
        """Writes what `resume` needs to go on from here."""
        self._write({"state": True}, directory)

    def _write(self, order: dict[str, Any], directory: Path) -> None:
        (self._folder / _WRITTEN).mkdir(exist_ok=True)
        self._order(order, None, ignore_note)
        checkpoint_files.move_files(self._folder / _WRITTEN, directory)

    def close(self) -> None:
        """Ends the processes, which frees their devices."""
        if not self._fitting.done():
            self._send({"leave": True})
            self._fitting.exception()  # bounded: they have nothing else to do
        self._pool.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _send(self, order: dict[str, Any]) -> None:
        write_json_file(self._folder / f"order-{self._orders}.json", order)
        self._orders += 1

    def _order(self, order: dict[str, Any], report: StepListener | None, note: Note) -> dict[str, Any]:
        """Returns the group's answer to an order. Passes on the steps and notes that it writes meanwhile."""
        answer = self._folder / f"answer-{self._orders}.json"
        self._send(order)
        while True:
            over, ended = answer.is_file(), self._fitting.done()
            self._hear(report, note)
            if over:
                return json.loads(answer.read_text(encoding="utf-8"))
            if ended:
                raise_failure(self._fitting, self._folder)
                raise TrainingFailedError(
                    "The group of training processes ended before its job was done",
                    next_move="Read the trainer's log, or set training.devices to 1",
                )
            time.sleep(_POLL_S)

    def _hear(self, report: StepListener | None, note: Note) -> None:
        file = self._folder / _LINES
        lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.is_file() else []
        for line in map(json.loads, lines[self._seen :]):
            self._seen += 1
            if isinstance(line, str):
                note(line)
                continue
            number, values, total = line
            self.steps += (TrainingStep(number, values),)
            if report is not None:
                report(self.steps[-1], total)


def obey_orders(config: dict[str, Any]) -> None:
    """Runs in each process of the group: carries out the orders in the folder. The first process answers them."""
    job, training, gpu = config["job"], config["training"], config["gpu"]
    folder = Path(config["folder"])
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // training.devices))
    silence_libraries()
    rank = rank_here()
    first = rank == 0
    trainer = ResidentTrainer(job, training, config["model"], gpu=gpu, rank=rank)
    with (folder / _LINES).open("a", encoding="utf-8") as lines:

        def write(line: object) -> None:
            if first:
                lines.write(json.dumps(line) + "\n")
                lines.flush()

        number = 0
        while "leave" not in (order := _await_order(folder, number)):
            if "learn" in order:
                trainer.learn(
                    ChunkPairs(**order["learn"]),
                    lambda step, total: write([step.step, dict(step.values), total]),
                    write,
                )
            elif "resume" in order:
                place = Path(order["resume"])
                trainer.resume(StoredState(read_progress(place), place))
            elif "state" in order:
                trainer.write_state(folder / _WRITTEN)
                torch.distributed.barrier()  # every process has written its part
            else:
                policy, update = trainer.gather()  # every process takes part
                if first:
                    checkpoint_files.write_trained(policy, update, job, training, folder / _WRITTEN, gpu=gpu)
            if first:
                write_json_file(folder / f"answer-{number}.json", {"dropped": dict(trainer.dropped)})
            number += 1
    trainer.close()


def _await_order(folder: Path, number: int) -> dict[str, Any]:
    file = folder / f"order-{number}.json"
    while not file.is_file():
        time.sleep(_POLL_S)
    return json.loads(file.read_text(encoding="utf-8"))
