"""Direct preference optimisation (Rafailov et al. 2023, equation 7) and its relatives with a reference, by TRL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from datasets import Dataset
from torch import nn
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer
from typing_extensions import override

from workers.training.losses.configuration import trainer_config
from workers.training.losses.reference_scores import score_rows

if TYPE_CHECKING:
    from workers.training.losses import Ingredients, Reference
    from workers.training.rows import Row


SIDES = ("chosen", "rejected")
_TOKEN_COLUMNS = tuple(f"ref_{side}_token_logps" for side in SIDES)
_TOKENS = "ref_token_logps"


class NoReference(nn.Module):
    """Stands where TRL's trainer asks for a reference. Without one, TRL would load and hash a copy of the policy."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @override
    def forward(self) -> None:
        """Never called: the reference's log-probabilities are columns of the rows."""


class TokenCollator(DataCollatorForPreference):
    """TRL's batches with the reference's log-probability of each token of the responses, where the rows have it."""

    @override
    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super().torch_call(examples)
        if _TOKEN_COLUMNS[0] in examples[0]:
            mask = batch["completion_mask"][:, 1:].bool()
            known = torch.zeros(mask.shape)
            known[mask] = torch.tensor([value for name in _TOKEN_COLUMNS for row in examples for value in row[name]])
            batch[_TOKENS] = known
        return batch


class TokenDPOTrainer(DPOTrainer):
    """TRL's trainer on rows of token ids. The reference is evaluated once per row, and freed before training."""

    def __init__(self, *, reference: Reference, model: Any, **arguments: Any) -> None:
        self._reference = reference
        super().__init__(model=model, ref_model=cast("Any", NoReference(model.config)), **arguments)

    @override
    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = sorted({*(self._signature_columns or ()), *_TOKEN_COLUMNS})

    @override
    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        heard: list[torch.Tensor] = []
        known = {key: value for key, value in inputs.items() if key != _TOKENS}
        loss = super()._compute_loss(_heard(model, heard), known, return_outputs)
        self.note_tokens(heard[0], inputs)
        return loss

    def note_tokens(self, logps: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> None:
        """Records what the log-probabilities of the responses' tokens say, under names that hold for every loss.

        `logps`: (2B, T), from the policy, chosen before rejected. See docs/reference/losses.md for the figures.
        """
        mask = inputs["completion_mask"][:, 1:]
        tokens = logps[:, -mask.shape[1] :].float() * mask
        figures = token_figures(tokens.sum(1), mask.sum(1))
        if _TOKENS in inputs:
            ratio = (tokens - inputs[_TOKENS]) * mask
            figures["kl_k3"] = (torch.expm1(ratio) - ratio).sum(1)
        self.note(figures)

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
            self._reference_figures,
            trainer=self,
            batch_size=batch_size,
        )
        for column in scored[0]:
            dataset = dataset.add_column(column, [figures[column] for figures in scored])
        return dataset

    def _reference_figures(self, model: Any, batch: Any) -> list[dict[str, Any]]:
        """Returns columns for each pair of a batch; where they are wanted, also the tokens' log-probabilities."""
        heard: list[torch.Tensor] = []
        chosen, rejected = self.compute_ref_log_probs(_heard(model, heard), batch)
        figures = [
            {"ref_chosen_logps": one, "ref_rejected_logps": other}
            for one, other in zip(chosen.tolist(), rejected.tolist(), strict=True)
        ]
        if self._reference.sampled:
            mask = batch["completion_mask"][:, 1:].bool()
            tokens = heard[0][:, -mask.shape[1] :].float()
            for place, pair in enumerate(figures):
                for name, row in zip(_TOKEN_COLUMNS, (place, place + len(figures)), strict=True):
                    pair[name] = tokens[row][mask[row]].tolist()
        return figures

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
        self.note(
            {
                "rewards/chosen": chosen_reward,
                "rewards/rejected": rejected_reward,
                "rewards/margins": chosen_reward - rejected_reward,
                "rewards/accuracies": (chosen_reward > rejected_reward).float(),
            }
        )

    def note(self, figures: Mapping[str, torch.Tensor]) -> None:
        """Records the mean of each figure over the devices' pairs."""
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


def token_figures(sums: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
    """Returns per response the log-probability of all its tokens and of one on average, by the name of the figure.

    `sums`, `lengths`: (2B,), nats and tokens, chosen before rejected.
    """
    figures = {"logps_sum": sums, "logps_per_token": sums / lengths}
    return {
        f"{name}/{side}": half
        for name, values in figures.items()
        for side, half in zip(SIDES, values.detach().chunk(2), strict=True)
    }


def _heard(model: Any, heard: list[torch.Tensor]) -> Callable[..., Any]:
    """Returns the model as a function that also hands over the log-probability of each token, without gradient."""

    def call(**arguments: Any) -> Any:
        outputs = model(**arguments)
        heard.append(outputs.log_probs.detach())
        return outputs

    return call


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


def padding_token(tokenizer: Any) -> int:
    """Returns the id that fills up short rows, as TRL chooses it."""
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id


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
        "data_collator": TokenCollator(pad_token_id=padding_token(ingredients.tokenizer)),
        "train_dataset": Dataset.from_list(list(ingredients.rows)),
        "processing_class": ingredients.tokenizer,
        "callbacks": list(ingredients.callbacks),
    }
