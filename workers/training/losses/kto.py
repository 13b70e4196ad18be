"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024) by TRL: chosen responses are desirable, rejected are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from datasets import Dataset
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer
from typing_extensions import override

from workers.training.losses.configuration import trainer_config
from workers.training.losses.dpo import SIDES, NoReference, release_reference
from workers.training.losses.reference_scores import score_rows

if TYPE_CHECKING:
    from workers.training.losses import Ingredients
    from workers.training.rows import Row


class TokenKTOTrainer(KTOTrainer):
    """TRL's trainer on rows of token ids. The reference is evaluated once per row, and freed before training."""

    def __init__(self, *, reference: Any, model: Any, **arguments: Any) -> None:
        self._reference = reference
        super().__init__(model=model, ref_model=cast("Any", NoReference(model.config)), **arguments)

    @override
    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        """Returns the rows unchanged: TRL would tokenise the text again, and differently from the engines."""
        return dataset

    @override
    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Adds reference log-probabilities (nats, summed) of each response and of the exchanged one."""
        rows: list[Any] = list(dataset)
        scored = score_rows(
            self._reference,
            rows,
            lambda row: [row["completion_ids"], row["KL_completion_ids"]],
            self._scores,
            trainer=self,
            batch_size=batch_size,
        )
        return dataset.add_column("ref_logps", [own for own, _ in scored]).add_column(
            "ref_KL_logps", [exchanged for _, exchanged in scored]
        )

    def _scores(self, model: Any, batch: Any) -> list[list[float]]:
        both: Any = self.compute_ref_log_probs(model, batch)
        return torch.stack(both, dim=1).tolist()

    @override
    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        loss = super()._compute_loss(model, inputs, return_outputs)
        # TRL calls z `kl`, but it is the mean log-ratio of responses to other prompts, not below 0.
        names = {"kl": "reference_point", **{f"logps/{side}": f"logps_sum/{side}" for side in SIDES}}
        for old, new in names.items():
            self._metrics["train"][new] += self._metrics["train"].pop(old, [])
        return loss

    def take_rows(self, rows: tuple[Row, ...]) -> None:
        """Replaces the rows by the responses of these pairs: the reference is loaded again, scores them, is freed."""
        size = self.args.per_device_train_batch_size
        dataset = Dataset.from_list(single_responses(rows, size, self.args.seed))
        self.train_dataset = self._precompute_ref_logps(dataset, "train", size)
        release_reference(self)

    @override
    def _send_telemetry(self) -> None:
        """Sends nothing."""


def build_kto(ingredients: Ingredients) -> Any:
    """Returns the trainer. A batch of pairs is twice as many single responses, shuffled once by the job's seed."""
    arguments = ingredients.arguments
    size = 2 * arguments["per_device_train_batch_size"]
    config = trainer_config(
        KTOConfig,
        arguments | {"per_device_train_batch_size": size, "train_sampling_strategy": "sequential"},
        beta=ingredients.training.beta,
        precompute_ref_log_probs=True,
    )
    return release_reference(
        TokenKTOTrainer(
            model=ingredients.policy,
            reference=ingredients.reference,
            args=config,
            train_dataset=Dataset.from_list(single_responses(ingredients.rows, size, arguments["seed"])),
            processing_class=ingredients.tokenizer,
            callbacks=list(ingredients.callbacks),
        )
    )


def single_responses(pairs: tuple[Row, ...], size: int, seed: int) -> list[Row]:
    """Returns the pairs' responses, shuffled. Each batch of `size` exchanges its responses, prompt by prompt.

    The exchanged ones (`KL_completion_ids`) tell how far the policy has moved on responses to other prompts.
    """
    rows = [
        {"prompt_ids": pair["prompt_ids"], "completion_ids": pair[f"{side}_ids"], "label": side == "chosen"}
        for pair in pairs
        for side in ("chosen", "rejected")
    ]
    order = np.random.default_rng(seed).permutation(len(rows))
    shuffled = [rows[index] for index in order]
    batches = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
    return [
        row | {"KL_completion_ids": batch[place - 1]["completion_ids"]}
        for batch in batches
        for place, row in enumerate(batch)
    ]
