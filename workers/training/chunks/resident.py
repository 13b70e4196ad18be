"""The trainer of semi-online training: weights, optimiser and schedule go on from chunk to chunk of an iteration."""

from __future__ import annotations

import copy
import hashlib
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import set_seed

from eva.config import Model, Training
from eva.runtime.worker_reports import Note, StepListener, ignore_note
from eva.seeds import derive
from eva.solver.served_adapters import serves_adapters
from eva.types import ChunkPairs, TrainingJob
from workers.models.chat_template import PromptEncoder, read_prompting
from workers.models.model_folder import inspect_model
from workers.training import checkpoint_files
from workers.training.adapters.adapter_files import new_update
from workers.training.arguments import trainer_arguments
from workers.training.chunks.rolling_state import Progress, RestoreTensors, StoredState, write_progress, write_tensors
from workers.training.chunks.schedule import ChunkSchedule
from workers.training.losses import LossTrainer
from workers.training.optimisation import Loading, StepRecorder, build_trainer, encode_pairs, require_gpu
from workers.training.policies import gather_policy, merge_adapters
from workers.training.rows import Row, Rows
from workers.training.schedule import whole_steps


class ResidentTrainer:
    """Trains on the chunks of one iteration, in their order.

    Every chunk draws from a seed of its own, so that a trainer that starts again, from the iteration's policy or from a
    stored state, reaches the same weights.
    """

    def __init__(self, job: TrainingJob, training: Training, model: Model, *, gpu: bool = False, rank: int = 0) -> None:
        """`rank`: this process's among those that train together.

        Raises TrainingFailedError if a GPU was promised and there is none.
        """
        if gpu:
            require_gpu()
        self._job, self._training, self._model, self._gpu, self._rank = job, training, model, gpu, rank
        self._encoder = PromptEncoder(job.policy.path, read_prompting(model))
        self._loading = Loading(training, gpu)
        self._recorder = StepRecorder.of(training, None, ignore_note)
        self._scratch = tempfile.mkdtemp()
        self._trainer: LossTrainer | None = None
        self._schedule: ChunkSchedule | None = None
        self._stored: Path | None = None
        self._planned = 0
        self._carried: tuple[Row, ...] = ()
        self.dropped: Counter[str] = Counter()
        self.learned: list[str] = []
        """Digests of the files of pairs that it has trained on."""

    @property
    def steps(self) -> tuple[Any, ...]:
        """The optimiser steps that it has taken in the iteration."""
        return tuple(self._recorder.steps)

    def resume(self, stored: StoredState) -> None:
        """Goes on from a stored state of this iteration."""
        progress = stored.progress
        self._stored = stored.folder if progress.steps else None
        self._recorder.resume(progress.steps)
        self._planned, self.learned, self.dropped = progress.planned, [*progress.learned], Counter(progress.dropped)
        self._carried = self._last_rows(progress.carried)

    def _last_rows(self, count: int) -> tuple[Row, ...]:
        """Returns the last rows of the chunks that it has trained on."""
        rows: tuple[Row, ...] = ()
        for chunk in reversed(self._job.chunks[: len(self.learned)]):
            if len(rows) >= count:
                break
            rows = self._encode(chunk).rows + rows
        return rows[len(rows) - count :]

    def _encode(self, chunk: ChunkPairs) -> Rows:
        return encode_pairs(chunk.pairs_path, self._job, self._training, self._model, self._encoder)

    def learn(self, chunk: ChunkPairs, report: StepListener | None = None, note: Note = ignore_note) -> None:
        """Trains on the next chunk in whole batches. Rows that fill none go on to the next chunk, if there is one."""
        encoded = self._encode(chunk)
        rows = self._carried + encoded.rows
        last = self._planned + chunk.steps == self._job.planned_steps
        taken = len(rows) if last else len(rows) - len(rows) % self._training.batch
        if taken:
            self._learn(rows[:taken], chunk, report, note)
        self._carried = rows[taken:]
        self.dropped.update(encoded.dropped)
        self._planned += chunk.steps
        self.learned.append(pairs_digest(chunk.pairs_path))

    def _learn(self, rows: tuple[Row, ...], chunk: ChunkPairs, report: StepListener | None, note: Note) -> None:
        number, taken = len(self.learned), len(self._recorder.steps)
        whole = whole_steps(self._training, len(rows), self._training.devices)
        steps = min(whole, self._allowed(chunk) - taken)
        if steps <= 0:
            return
        left = self._job.planned_steps - self._planned - chunk.steps
        self._recorder.go_on(number + 1, taken + steps + left, report, note)
        trainer, schedule = self._take_rows(rows, note)
        if number:
            set_seed(derive(self._job.seed, "chunk", number) % 2**32)
        schedule.begin(self._planned, taken, chunk.steps, steps)
        trainer.args.max_steps = steps if steps < whole else -1
        trainer.train()
        trainer.remove_callback(RestoreTensors)
        if trainer.accelerator.is_fsdp2:
            # The wrappers stay; the next chunk must not wrap them again.
            trainer.accelerator.state.fsdp_plugin.activation_checkpointing = False

    def _allowed(self, chunk: ChunkPairs) -> int:
        """Returns the most steps that the iteration may have taken after a chunk: its prompts' share of the limit."""
        planned, limit = self._job.planned_steps, self._training.step_limit
        return sys.maxsize if limit is None else limit * (self._planned + chunk.steps) // planned

    def _take_rows(self, rows: tuple[Row, ...], note: Note) -> tuple[LossTrainer, ChunkSchedule]:
        if self._trainer is not None and self._schedule is not None:
            self._trainer.take_rows(rows)
            return self._trainer, self._schedule
        job, training = self._job, self._training
        arguments = trainer_arguments(
            training, seed=job.seed, n_devices=training.devices, gpu=self._gpu, output_dir=self._scratch
        )
        set_seed(arguments["seed"])
        note("loads the policy")
        ingredients = self._loading.ingredients(job, self._encoder.tokenizer, rows, arguments, self._recorder, note)
        self._trainer = build_trainer(ingredients)
        self._schedule = ChunkSchedule(self._trainer, training, job.planned_steps)
        if self._stored is not None:
            # first, because an online loss scores with the weights when the training begins
            self._trainer.callback_handler.callbacks.insert(0, RestoreTensors(self._stored, self._part))
            self._stored = None
        return self._trainer, self._schedule

    def gather(self) -> tuple[Any | None, Mapping[str, Any] | None]:
        """Returns a plain copy of the newest weights on the CPU, None before the first step; and the adapter's update,
        where the engines serve adapters.

        Of processes that share the weights every one takes part, and only the first returns the copy.
        """
        if self._trainer is None:
            return None, None
        trained, source = self._trainer.model, Path(self._job.policy.path)
        if isinstance(trained, PeftModel):
            update = new_update(trained) if serves_adapters(self._training) else None
            return merge_adapters(copy.deepcopy(trained).cpu().float()), update
        dtype = checkpoint_files.stored_dtype(self._training, inspect_model(source).dtype, gpu=self._gpu)
        return gather_policy(trained, source, dtype=dtype, first=self._loading.first), None

    def write_policy(self, directory: Path) -> None:
        """Writes the newest weights into a checkpoint's folder, as they are published; the trainer keeps its own."""
        checkpoint_files.write_trained(*self.gather(), self._job, self._training, directory, gpu=self._gpu)

    def write_state(self, directory: Path) -> None:
        """Writes what `resume` needs to go on from here. Each process of a group writes its part."""
        if self._trainer is not None and self._part == self._rank:
            write_tensors(self._trainer, directory, self._part)
        if self._rank == 0:
            write_progress(
                Progress(tuple(self.learned), self.steps, dict(self.dropped), self._planned, len(self._carried)),
                directory,
            )

    @property
    def _part(self) -> int:
        """Whose tensors this process needs: its own if the weights are divided, else those of the first process."""
        return self._rank if self._loading.divided else 0

    def close(self) -> None:
        """Frees what the trainer holds."""
        if self._trainer is not None:
            self._trainer.accelerator.free_memory()
        self._trainer = self._schedule = None
        shutil.rmtree(self._scratch, ignore_errors=True)


def pairs_digest(path: str) -> str:
    """Returns the SHA-256 of a file of pairs."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
