"""The optimisation: policy, reference and rows in, trained policy and steps out. Runs in each training process."""

from __future__ import annotations

import gc
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback, set_seed
from transformers.utils import logging as transformers_logging
from typing_extensions import override

from eva.config import Model, Training
from eva.errors import TrainingFailedError
from eva.solver.losses import loss_facts
from eva.types import TrainingJob, TrainingStep
from workers.models.chat_template import PromptEncoder, read_prompting
from workers.models.model_folder import inspect_model
from workers.training import checkpoint_files, rows
from workers.training.arguments import trainer_arguments
from workers.training.lora import add_adapters, merge_adapters
from workers.training.losses import Ingredients, find_loss
from workers.training.step_limit import limited_steps

Report = Callable[[TrainingStep, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class OptimisationResult:
    """Steps, dropped rows by reason, and the trained policy: plain weights, float32, on the CPU."""

    steps: tuple[TrainingStep, ...]
    dropped: Mapping[str, int]
    policy: Any


def optimise(job: TrainingJob, training: Training, model: Model, report: Report | None = None) -> OptimisationResult:
    """Trains `job.policy` on the job's pairs. Raises TrainingFailedError, ConfigError."""
    build, reference_free = find_loss(training.loss), loss_facts(training.loss).reference_free
    encoder = PromptEncoder(job.policy.path, read_prompting(model))
    encoded = _rows(job, training, model, encoder)
    recorder = StepRecorder(None if reference_free else training.beta, report)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = trainer_arguments(
            training, seed=job.seed, n_devices=training.devices, gpu=torch.cuda.is_available(), output_dir=scratch
        )
        if (steps := limited_steps(training, len(encoded.rows), training.devices)) is not None:
            arguments["max_steps"] = steps
        set_seed(arguments["seed"])
        policy = checkpoint_files.load_policy(job.policy.path)
        if training.lora is not None:
            policy = add_adapters(policy, training.lora)
            arguments["disable_dropout"] = False
        reference = None if reference_free else checkpoint_files.load_policy(job.reference.path)
        trainer = build(
            Ingredients(policy, reference, encoder.tokenizer, encoded.rows, training, arguments, (recorder,))
        )
        del reference
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        trainer.accelerator.free_memory()
    policy.zero_grad(set_to_none=True)
    del trainer
    gc.collect()
    return OptimisationResult(tuple(recorder.steps), dict(encoded.dropped), merge_adapters(policy.cpu()))


def _rows(job: TrainingJob, training: Training, model: Model, encoder: PromptEncoder) -> rows.Rows:
    facts = inspect_model(Path(job.policy.path))
    encoded = rows.encode(
        rows.read_pairs(Path(job.pairs_path)),
        encoder,
        max_length=min(training.max_length, facts.max_positions or training.max_length),
        max_prompt_length=training.max_prompt_length,
        rewards=loss_facts(training.loss).rewards,
        end=rows.end_of_turn(facts.path, encoder.tokenizer, chat=model.template == "chat"),
    )
    if not encoded.rows:
        raise TrainingFailedError(
            f"No pair is left to train on; dropped: {dict(encoded.dropped) or 'none, there were none'}",
            expected="at least one pair",
            next_move="Raise training.max_length or ask for more prompts",
        )
    return encoded


class StepRecorder(TrainerCallback):
    """Records and reports what the trainer logs at every optimiser step.

    With a reference (`beta` is not None) it adds `kl`: the mean of log(reference / policy) over chosen and rejected
    responses, nats per response. For responses sampled from the reference it estimates KL(reference || policy).
    """

    def __init__(self, beta: float | None, report: Report | None) -> None:
        self.steps: list[TrainingStep] = []
        self._beta, self._report = beta, report

    @override
    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Called by the trainer. Raises TrainingFailedError if the loss is no longer finite."""
        if not logs or "loss" not in logs:
            return
        values = {name: float(value) for name, value in logs.items() if isinstance(value, int | float)}
        if not all(math.isfinite(values[name]) for name in ("loss", "grad_norm") if name in values):
            raise TrainingFailedError(
                f"The training diverged at step {state.global_step}: loss {values['loss']}",
                expected="a finite loss",
                next_move="Lower training.learning_rate",
            )
        if self._beta is not None and {"rewards/chosen", "rewards/rejected"} <= set(values):
            values["kl"] = -(values["rewards/chosen"] + values["rewards/rejected"]) / (2 * self._beta)
        self.steps.append(TrainingStep(state.global_step, values))
        if self._report is not None:
            self._report(self.steps[-1], state.max_steps)


def silence_libraries() -> None:
    """Turns off the libraries' progress bars and hints."""
    import datasets

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
