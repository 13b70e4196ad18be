"""Losses of eva and of users: functions of log-probabilities, minimised by TRL's trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from typing_extensions import override

from eva.config import Training
from workers.training.losses.configuration import trainer_config
from workers.training.losses.dpo import TokenCollator, TokenDPOTrainer, padding_token, release_reference

if TYPE_CHECKING:
    from workers.training.losses import Ingredients
    from workers.training.rows import Row

_REWARDS = ("chosen_reward", "rejected_reward")


@dataclass(frozen=True, slots=True, eq=False)
class PairBatch:
    """The input of a loss: tensors of shape (B,), B pairs.

    `chosen`, `rejected`: log-probability of the response under the policy, nats, summed over its tokens, with gradient.
    `chosen_reference`, `rejected_reference`: the same under the reference, without gradient.
    `*_tokens`: the response's number of tokens. `*_reward`: its reward in the file of pairs.
    """

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_reference: torch.Tensor
    rejected_reference: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor
    chosen_reward: torch.Tensor
    rejected_reward: torch.Tensor


OwnLoss = Callable[[PairBatch, Training], torch.Tensor]
"""(batch, the config's training section) -> loss per pair, shape (B,)."""


class OwnLossTrainer(TokenDPOTrainer):
    """TRL's DPO trainer with another loss. Data, reference, optimiser and figures are the same."""

    def __init__(
        self, *, function: OwnLoss, training: Training, check: Callable[[tuple[Row, ...]], None], **arguments: Any
    ) -> None:
        self._function, self._training, self._check = function, training, check
        super().__init__(**arguments)

    @override
    def take_rows(self, rows: tuple[Row, ...]) -> None:
        self._check(rows)
        super().take_rows(rows)

    @override
    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = sorted({*(self._signature_columns or ()), *_REWARDS})

    @override
    def compute_ref_log_probs(self, model: Any, inputs: Any) -> Any:
        return super().compute_ref_log_probs(
            model, {key: value for key, value in inputs.items() if key not in _REWARDS}
        )

    @override
    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        mask = inputs["completion_mask"]
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            use_cache=False,
            labels=inputs["input_ids"].masked_fill(mask == 0, -100),
            fused_lm_head=True,
        )
        chosen, rejected = outputs.log_probs.sum(dim=1).chunk(2)
        chosen_tokens, rejected_tokens = mask.sum(dim=1).chunk(2)
        batch = PairBatch(
            chosen,
            rejected,
            inputs["ref_chosen_logps"],
            inputs["ref_rejected_logps"],
            chosen_tokens,
            rejected_tokens,
            inputs["chosen_reward"],
            inputs["rejected_reward"],
        )
        self.note_pairs(batch.chosen, batch.rejected, batch.chosen_reference, batch.rejected_reference)
        self.note_tokens(outputs.log_probs.detach(), inputs)
        loss = self._function(batch, self._training).mean()
        return (loss, outputs) if return_outputs else loss


class RewardCollator(TokenCollator):
    """TRL's batches with the rewards of the chosen and the rejected response."""

    @override
    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        rewards = {key: torch.tensor([float(row[key]) for row in examples]) for key in _REWARDS}
        return super().torch_call(examples) | rewards


def accept_rows(rows: tuple[Row, ...]) -> None:
    """Accepts every row."""
    del rows


def build_own(
    ingredients: Ingredients, function: OwnLoss, check: Callable[[tuple[Row, ...]], None] = accept_rows
) -> TokenDPOTrainer:
    """Returns a trainer that minimises the mean of `function` over the pairs of a batch. `check` may refuse rows."""
    check(ingredients.rows)
    config = trainer_config(
        DPOConfig, ingredients.arguments, beta=ingredients.training.beta, precompute_ref_log_probs=True
    )
    return release_reference(
        OwnLossTrainer(
            function=function,
            training=ingredients.training,
            check=check,
            model=ingredients.policy,
            reference=ingredients.reference,
            args=config,
            data_collator=RewardCollator(pad_token_id=padding_token(ingredients.tokenizer)),
            train_dataset=Dataset.from_list(list(ingredients.rows)),
            processing_class=ingredients.tokenizer,
            callbacks=list(ingredients.callbacks),
        )
    )
