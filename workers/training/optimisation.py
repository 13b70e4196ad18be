"""The optimisation: policy, reference and rows in, trained policy and steps out. Runs in each training process."""

from __future__ import annotations

import gc
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback, set_seed
from transformers.utils import logging as transformers_logging
from typing_extensions import override

from eva.config import Model, Training
from eva.errors import TrainingFailedError
from eva.runtime.worker_reports import Note, StepListener, ignore_note
from eva.solver.losses import loss_facts
from eva.solver.served_adapters import serves_adapters
from eva.types import Checkpoint, TrainingJob, TrainingStep
from workers.models.chat_template import PromptEncoder, read_prompting
from workers.models.model_folder import ModelFacts, inspect_model
from workers.training import checkpoint_files, rows
from workers.training.adapters.adapter_files import new_update
from workers.training.arguments import trainer_arguments
from workers.training.losses import Ingredients, LossTrainer, Reference, Sampled, find_loss, response_rows
from workers.training.policies import add_adapters, gather_policy, layer_classes, load_part, merge_adapters
from workers.training.schedule import limited_steps, set_rates

_REFERENCE_TOKENS = 32_768
"""Of a batch of the reference on a GPU, by default: enough to keep a GPU busy, little beside a training step."""


@dataclass(frozen=True, slots=True, eq=False)
class OptimisationResult:
    """Steps, dropped rows by reason, and the trained policy: plain weights on the CPU.

    `policy` is None in all processes but the first, if the processes shared the weights. `update`: what its adapter has
    added to the weights, where the engines serve adapters.
    """

    steps: tuple[TrainingStep, ...]
    dropped: Mapping[str, int]
    policy: Any
    update: Mapping[str, Any] | None = None


def optimise(
    job: TrainingJob,
    training: Training,
    model: Model,
    report: StepListener | None = None,
    note: Note = ignore_note,
    *,
    gpu: bool = False,
) -> OptimisationResult:
    """Trains `job.policy` on the job's pairs, alone or as one process of a group.

    `gpu`: whether it was promised a GPU; it never trains on the CPU instead. Raises TrainingFailedError, ConfigError.
    """
    if gpu:
        require_gpu()
    encoder = PromptEncoder(job.policy.path, read_prompting(model))
    encoded = encode_pairs(job.pairs_path, job, training, model, encoder)
    if not encoded.rows:
        raise no_pair_left(training, encoded.dropped)
    recorder = StepRecorder.of(training, report, note)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = trainer_arguments(training, seed=job.seed, n_devices=training.devices, gpu=gpu, output_dir=scratch)
        if (steps := limited_steps(training, len(encoded.rows), training.devices)) is not None:
            arguments["max_steps"] = steps
        set_seed(arguments["seed"])
        loading = Loading(training, gpu)
        note("loads the policy")
        ingredients = loading.ingredients(job, encoder.tokenizer, encoded.rows, arguments, recorder, note)
        trainer = build_trainer(ingredients)
        set_rates(trainer, training)
        trainer.train()
        trained = trainer.model
        trainer.accelerator.free_memory()
    trained.zero_grad(set_to_none=True)
    del trainer, ingredients
    gc.collect()
    note("collects the weights")
    update = new_update(trained) if serves_adapters(training) else None
    if loading.divided:
        dtype = checkpoint_files.stored_dtype(training, inspect_model(Path(job.policy.path)).dtype, gpu=gpu)
        trained = gather_policy(trained, job.policy.path, dtype=dtype, first=loading.first)
    else:
        # Adapters are merged in full precision, so that storing rounds the weights once.
        trained = merge_adapters(trained.cpu().float())
    return OptimisationResult(tuple(recorder.steps), dict(encoded.dropped), trained, update)


def build_trainer(ingredients: Ingredients) -> LossTrainer:
    """Returns the trainer of the config's loss, which prints nothing."""
    trainer = find_loss(ingredients.training.loss, ranked=ingredients.training.ranked)(ingredients)
    trainer.remove_callback(PrinterCallback)
    return trainer


def require_gpu() -> None:
    """Raises TrainingFailedError if this process sees no GPU."""
    if not torch.cuda.is_available():
        raise TrainingFailedError(
            "The training was promised a GPU (fleet.gpus_per_engine is above 0), but its process sees none",
            expected="a GPU, and a torch that is built for it",
            next_move="Read what `eva doctor` says about the devices, or set fleet.gpus_per_engine to 0 for a CPU",
        )


class Loading:
    """Loads what a trainer is built from, in the precision that it needs, or this process's part of it.

    The reference has the precision in which the policy computes, so that equal weights give equal log-probabilities.
    Frozen weights below adapters have it, too.
    """

    def __init__(self, training: Training, gpu: bool) -> None:
        self._training, self._gpu = training, gpu
        self.divided = training.sharding_on(gpu=gpu) == "fsdp2"
        self.first = not self.divided or torch.distributed.get_rank() == 0
        adapted = training.lora is not None
        self._policy_dtype = "bfloat16" if gpu and adapted else "float32"
        self._reference_dtype = "bfloat16" if gpu and (adapted or self.divided) else "float32"

    def ingredients(
        self,
        job: TrainingJob,
        tokenizer: Any,
        encoded: tuple[rows.Row, ...],
        arguments: dict[str, Any],
        recorder: StepRecorder,
        note: Note,
    ) -> Ingredients:
        training = self._training
        policy = self._load(job.policy.path, self._policy_dtype)
        if training.lora is not None:
            policy = add_adapters(policy, training.lora)
            arguments = arguments | {"disable_dropout": False}
        if self.divided:
            layers = {"transformer_layer_cls_to_wrap": layer_classes(policy)}
            arguments = arguments | {"fsdp_config": arguments["fsdp_config"] | layers}
        own = (recorder,)
        if job.sampling is not None:
            reference = self._reference(job.reference, note)
            sampled = Sampled(job.sampling, reference.tokens, note)
            # the policy that samples is the reference, until a chunk has been trained on
            other = job.reference != job.policy or bool(job.chunks)
            needed = reference if training.kl != "none" and other else None
            return Ingredients(policy, needed, tokenizer, encoded, training, arguments, own, sampled=sampled)
        own_pairs = not job.chunks and (job.iteration == 0 or training.mode == "incremental")
        sampled_by_reference = own_pairs and job.reference.digest == job.policy.digest
        reference = self._reference(job.reference, note, sampled=sampled_by_reference)
        needed = None if training.facts.reference_free else reference
        initial = None if needed is None or job.initial is None else self._reference(job.initial, note)
        earlier = tuple(self._reference(each, note) for each in job.earlier)
        return Ingredients(policy, needed, tokenizer, encoded, training, arguments, own, initial, earlier)

    def _reference(self, checkpoint: Checkpoint, note: Note, *, sampled: bool = False) -> Reference:
        return Reference(
            lambda: self._load(checkpoint.path, self._reference_dtype),
            self._training.reference_tokens or (_REFERENCE_TOKENS if self._gpu else None),
            note,
            sampled,
        )

    def _load(self, folder: str, dtype: str) -> Any:
        return load_part(folder, first=self.first, dtype=dtype, attention=self._training.attention)


def encode_pairs(path: str, job: TrainingJob, training: Training, model: Model, encoder: PromptEncoder) -> rows.Rows:
    """Returns the pairs of a file as token ids, or for online losses its responses as they were sampled.

    Raises TrainingFailedError for a file that is damaged.
    """
    if training.facts.online:
        facts = inspect_model(Path(job.policy.path))
        limits = _max_length(training, facts), training.max_prompt_length
        return response_rows.read_responses(Path(path), *limits)
    facts = inspect_model(Path(job.policy.path))
    encode = rows.encode_ranked if training.ranked else partial(rows.encode, rewards=loss_facts(training.loss).rewards)
    return encode(
        rows.read_pairs(Path(path)),
        encoder,
        max_length=_max_length(training, facts),
        max_prompt_length=training.max_prompt_length,
        end=rows.end_of_turn(facts.path, encoder.tokenizer, chat=model.template == "chat"),
        widest_first=training.order == "widest_first",
    )


def _max_length(training: Training, facts: ModelFacts) -> int:
    return min(training.max_length, facts.max_positions or training.max_length)


def no_pair_left(training: Training, dropped: Mapping[str, int]) -> TrainingFailedError:
    """Returns the error of a training whose pairs or responses were all dropped, by reason."""
    noun = "response" if training.facts.online else "pair"
    return TrainingFailedError(
        f"No {noun} is left to train on; dropped: {dict(dropped) or 'none, there were none'}",
        expected=f"at least one {noun}",
        next_move="Raise training.max_length or ask for more prompts",
    )


class StepRecorder(TrainerCallback):
    """Records and reports what the trainer logs at every optimiser step.

    TRL's `logps/*` are summed, weighted or averaged over tokens by loss. They are left out, because the trainers record
    sum and average under names of their own; those of `ld_dpo`, which are neither, get a name that says so.
    """

    def __init__(self, loss: str, report: StepListener | None, note: Note) -> None:
        self.steps: list[TrainingStep] = []
        self._weighted, self._report, self._note = loss == "ld_dpo", report, note
        self._before, self._tokens_before = 0, 0.0
        self._chunk: int | None = None
        self._total: int | None = None

    @classmethod
    def of(cls, training: Training, report: StepListener | None, note: Note) -> StepRecorder:
        """Returns a recorder for the config's loss."""
        return cls(training.loss, report, note)

    def resume(self, steps: Sequence[TrainingStep]) -> None:
        """Goes on after the steps of a trainer that has ended, whose count of tokens the new one does not know."""
        self.steps[:] = steps
        self._tokens_before = steps[-1].values.get("num_tokens", 0.0) if steps else 0.0

    def go_on(self, chunk: int, total: int, report: StepListener | None, note: Note) -> None:
        """Numbers the next steps after those of earlier chunks; `total` is the iteration's number of steps."""
        self._before, self._chunk, self._total = len(self.steps), chunk, total
        self._report, self._note = report, note

    @override
    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer after each forward and backward pass but a step's last."""
        self._note(f"takes step {self._before + state.global_step + 1}")

    @override
    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Called by the trainer. Raises TrainingFailedError if the loss is no longer finite."""
        if not logs or "loss" not in logs:
            return
        values = {name: float(value) for name, value in logs.items() if isinstance(value, int | float)}
        if not all(math.isfinite(values[name]) for name in ("loss", "grad_norm") if name in values):
            raise TrainingFailedError(
                f"The training diverged at step {self._before + state.global_step}: loss {values['loss']}",
                expected="a finite loss",
                next_move="Lower training.learning_rate",
            )
        for side in ("chosen", "rejected"):
            value = values.pop(f"logps/{side}", None)
            if value is not None and self._weighted:
                values[f"logps_weighted/{side}"] = value
        if self._chunk is not None:
            values["chunk"] = self._chunk
        if "num_tokens" in values:
            values["num_tokens"] += self._tokens_before
        self.steps.append(TrainingStep(self._before + state.global_step, values))
        if self._report is not None:
            self._report(self.steps[-1], self._total or state.max_steps)


def silence_libraries() -> None:
    """Turns off the libraries' progress bars and hints."""
    import datasets

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
