"""Direct preference optimisation (Rafailov et al. 2023, equation 7) and its relatives with a reference, by TRL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from torch import nn
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from typing_extensions import override

from workers.training.losses.configuration import trainer_config
from workers.training.policies import place_reference

if TYPE_CHECKING:
    from workers.training.losses import Ingredients, Reference


class NoReference(nn.Module):
    """Stands where TRL's trainer asks for a reference. Without one, TRL would load and hash a copy of the policy."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @override
    def forward(self) -> None:
        """Never called: the reference's log-probabilities are columns of the rows."""


class TokenDPOTrainer(DPOTrainer):
    """TRL's trainer on rows of token ids. The reference is evaluated once per row, and freed before training."""

    def __init__(self, *, reference: Reference, model: Any, **arguments: Any) -> None:
        self._reference = reference
        super().__init__(model=model, ref_model=cast("Any", NoReference(model.config)), **arguments)

    @override
    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        """Returns the rows unchanged: TRL would tokenise the text again, and differently from the engines."""
        return dataset

    @override
    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Adds reference log-probabilities (nats, summed over the response). TRL's own method fills a disk cache.

        Several devices share the rows and exchange their results. Each takes equally many batches, because devices that
        share the weights must call the model equally often.
        """
        rows: list[Any] = list(dataset)
        lengths = [len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in rows]
        batches = reference_batches(lengths, pairs=batch_size, tokens=self._reference.tokens)
        while len(batches) % self.accelerator.num_processes:
            batches.append(batches[0])
        own = batches[self.accelerator.process_index :: self.accelerator.num_processes]
        model = place_reference(self._reference.load(), self.accelerator)
        results: list[tuple[int, float, float]] = []
        for number, indices in enumerate(own):
            self._reference.note(f"scores the reference: batch {number + 1} of {len(own)}")
            batch = self._prepare_inputs(self.data_collator([rows[index] for index in indices]))
            chosen, rejected = self.compute_ref_log_probs(model, batch)
            results += zip(indices, chosen.tolist(), rejected.tolist(), strict=True)
        if self.accelerator.num_processes > 1:
            results = gather_object(results)
        scored = {index: (chosen, rejected) for index, chosen, rejected in results}
        return dataset.add_column("ref_chosen_logps", [scored[index][0] for index in range(len(rows))]).add_column(
            "ref_rejected_logps", [scored[index][1] for index in range(len(rows))]
        )

    @override
    def _send_telemetry(self) -> None:
        """Sends nothing."""


def reference_batches(lengths: Sequence[int], *, pairs: int, tokens: int | None) -> list[list[int]]:
    """Returns indices of rows in batches of similar length, which saves padding.

    `tokens` bounds a batch's tokens, both responses and the padding counted; the longest rows come first, so that too
    little memory shows at once. Without it, a batch has `pairs` rows.
    """
    if tokens is None:
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        return [order[start : start + pairs] for start in range(0, len(order), pairs)]
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batches and 2 * lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def build_dpo(ingredients: Ingredients, loss_type: str = "sigmoid") -> DPOTrainer:
    """Returns a trainer for any `loss_type` of TRL with a reference."""
    return release_reference(TokenDPOTrainer(**_arguments(ingredients, loss_type)))


def build_length_desensitised(ingredients: Ingredients) -> DPOTrainer:
    """Length-desensitised DPO (Liu et al. 2024): tokens beyond the shorter response's length weigh `length_alpha`."""
    return release_reference(
        TokenDPOTrainer(**_arguments(ingredients, "sigmoid", ld_alpha=ingredients.training.length_alpha))
    )


def release_reference(trainer: TokenDPOTrainer) -> TokenDPOTrainer:
    """Frees what the reference left on the device."""
    trainer.ref_model = None
    trainer.accelerator.free_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return trainer


def _arguments(ingredients: Ingredients, loss_type: str, **more: Any) -> dict[str, Any]:
    training = ingredients.training
    config = trainer_config(
        DPOConfig,
        ingredients.arguments,
        loss_type=[loss_type],
        beta=training.beta,
        label_smoothing=training.flip_rate,
        f_divergence_type=training.divergence,
        f_alpha_divergence_coef=training.divergence_alpha,
        precompute_ref_log_probs=True,
        **more,
    )
    return {
        "model": ingredients.policy,
        "reference": ingredients.reference,
        "args": config,
        "train_dataset": Dataset.from_list(list(ingredients.rows)),
        "processing_class": ingredients.tokenizer,
        "callbacks": list(ingredients.callbacks),
    }
