"""Direct preference optimisation (Rafailov et al. 2023, equation 7) and its relatives with a reference, by TRL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from typing_extensions import override

if TYPE_CHECKING:
    from workers.training.losses import Ingredients


class TokenDPOTrainer(DPOTrainer):
    """TRL's trainer on rows of token ids. The reference is evaluated once per row, before the first step."""

    @override
    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        """Returns the rows unchanged: TRL would tokenise the text again, and differently from the engines."""
        return dataset

    @override
    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Adds reference log-probabilities (nats, summed over the response). TRL's own method fills a disk cache.

        Several devices share the rows and exchange their results.
        """
        rows: list[Any] = list(dataset)
        lengths = [len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in rows]
        # Rows of similar length share a batch, which saves padding.
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        results: list[tuple[int, float, float]] = []
        for indices in batches[self.accelerator.process_index :: self.accelerator.num_processes]:
            batch = self._prepare_inputs(self.data_collator([rows[index] for index in indices]))
            chosen, rejected = self.compute_ref_log_probs(self.ref_model, batch)
            results += zip(indices, chosen.tolist(), rejected.tolist(), strict=True)
        if self.accelerator.num_processes > 1:
            results = gather_object(results)
        results.sort()
        return dataset.add_column("ref_chosen_logps", [chosen for _, chosen, _ in results]).add_column(
            "ref_rejected_logps", [rejected for _, _, rejected in results]
        )

    @override
    def _send_telemetry(self) -> None:
        """Sends nothing."""


def build_dpo(ingredients: Ingredients, loss_type: str = "sigmoid") -> DPOTrainer:
    """Returns a trainer for any `loss_type` of TRL with a reference."""
    return release_reference(TokenDPOTrainer(**_arguments(ingredients, loss_type)))


def build_length_desensitised(ingredients: Ingredients) -> DPOTrainer:
    """Length-desensitised DPO (Liu et al. 2024): tokens beyond the shorter response's length weigh `length_alpha`."""
    return release_reference(
        TokenDPOTrainer(**_arguments(ingredients, "sigmoid", ld_alpha=ingredients.training.length_alpha))
    )


def release_reference(trainer: TokenDPOTrainer) -> TokenDPOTrainer:
    """Frees the reference's weights: its log-probabilities are columns of the rows by now."""
    trainer.ref_model = None
    trainer.accelerator.free_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return trainer


def _arguments(ingredients: Ingredients, loss_type: str, **more: Any) -> dict[str, Any]:
    training = ingredients.training
    config = DPOConfig(
        **ingredients.arguments,
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
        "ref_model": ingredients.reference,
        "args": config,
        "train_dataset": Dataset.from_list(list(ingredients.rows)),
        "processing_class": ingredients.tokenizer,
        "callbacks": list(ingredients.callbacks),
    }
