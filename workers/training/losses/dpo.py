"""Direct preference optimisation (Rafailov et al. 2023, equation 7) and its relatives with a reference, by TRL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from datasets import Dataset
from torch import nn
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from typing_extensions import override

from workers.training.losses.configuration import trainer_config
from workers.training.losses.reference_scores import score_rows

if TYPE_CHECKING:
    from workers.training.losses import Ingredients, Reference
    from workers.training.rows import Row


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
        """Adds reference log-probabilities (nats, summed over the response). TRL's own method fills a disk cache."""
        rows: list[Any] = list(dataset)
        scored = score_rows(
            self._reference,
            rows,
            lambda row: [row["chosen_ids"], row["rejected_ids"]],
            lambda model, batch: torch.stack(self.compute_ref_log_probs(model, batch), dim=1).tolist(),
            trainer=self,
            batch_size=batch_size,
        )
        return dataset.add_column("ref_chosen_logps", [chosen for chosen, _ in scored]).add_column(
            "ref_rejected_logps", [rejected for _, rejected in scored]
        )

    def note_pairs(
        self,
        chosen: torch.Tensor,
        rejected: torch.Tensor,
        chosen_reference: torch.Tensor,
        rejected_reference: torch.Tensor,
    ) -> None:
        """Records the figures that TRL's own losses record, under the same names, from log-probabilities [B]."""
        chosen_reward = self.beta * (chosen - chosen_reference).detach()
        rejected_reward = self.beta * (rejected - rejected_reference).detach()
        figures = {
            "rewards/chosen": chosen_reward,
            "rewards/rejected": rejected_reward,
            "rewards/margins": chosen_reward - rejected_reward,
            "rewards/accuracies": (chosen_reward > rejected_reward).float(),
            "logps/chosen": chosen.detach(),
            "logps/rejected": rejected.detach(),
        }
        for name, values in figures.items():
            gathered: Any = self.accelerator.gather(values)
            self._metrics["train"][name].append(gathered.mean().item())

    def take_rows(self, rows: tuple[Row, ...]) -> None:
        """Replaces the rows: the reference is loaded again, scores them, and is freed."""
        dataset = Dataset.from_list(list(rows))
        self.train_dataset = self._precompute_ref_logps(dataset, "train", self.args.per_device_train_batch_size)
        release_reference(self)

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


def release_reference(trainer: Any) -> Any:
    """Returns the trainer, and frees what the reference left on the device."""
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
