"""ORPO and SimPO by TRL's experimental trainers: no reference policy.

Those compute the logits of a whole batch, 4 GB for two rows of 2,048 tokens at Gemma's vocabulary in float32, and as
much for their gradients. Here TRL's fused head computes log-probabilities in chunks, and again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from torch.utils.data import Dataset
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.trainer.utils import add_fused_lm_head
from typing_extensions import override

from workers.training.losses.configuration import trainer_config
from workers.training.losses.dpo import token_figures
from workers.training.rows import Row

if TYPE_CHECKING:
    from workers.training.losses import Ingredients


class TokenRows(Dataset[dict[str, Any]]):
    """Rows in the form of these trainers: prompt and response joined, the prompt's labels masked by -100."""

    def __init__(self, rows: tuple[Row, ...]) -> None:
        self._rows = [_labelled(row, "chosen") | _labelled(row, "rejected") for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    @override
    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._rows[index]

    def map(self, function: Callable[..., Any], **_options: Any) -> TokenRows:
        """Returns the rows unchanged: the trainers would tokenise again here, and differently from the engines."""
        del function
        return self


def _labelled(row: Row, side: str) -> dict[str, list[int]]:
    prompt, response = row["prompt_ids"], row[f"{side}_ids"]
    return {
        f"{side}_input_ids": prompt + response,
        f"{side}_attention_mask": [1] * len(prompt + response),
        f"{side}_labels": [-100] * len(prompt) + response,
    }


class TokenORPOTrainer(ORPOTrainer):
    """ORPO on log-probabilities in chunks, without telemetry."""

    @override
    def concatenated_forward(self, model: Any, batch: Any) -> Any:
        """Returns per response the mean log-probability, then the mean logits, then the likelihood's loss: the mean
        over all tokens of the chosen rows, prompts included."""
        joined = _joined(self, batch, self.padding_value)
        count = batch["chosen_labels"].shape[0]
        labels = joined["concatenated_labels"].clone()
        chosen = joined["concatenated_attention_mask"][:count] == 1
        labels[:count] = joined["concatenated_input_ids"][:count].masked_fill(~chosen, -100)
        scored = _score(self, model, joined, labels)
        likelihood = -scored.log_probs[:count].sum() / scored.label_mask[:count].sum()
        return _split(self, scored, joined["concatenated_labels"], count, likelihood)

    def take_rows(self, rows: tuple[Row, ...]) -> None:
        """Replaces the rows."""
        self.train_dataset = TokenRows(rows)

    @override
    def _send_telemetry(self) -> None:
        """Sends nothing."""


class TokenCPOTrainer(CPOTrainer):
    """CPO without its likelihood, as SimPO has it, on log-probabilities in chunks; without telemetry."""

    @override
    def concatenated_forward(self, model: Any, batch: Any) -> Any:
        """Returns per response the mean log-probability, then the mean logits, then zero for the likelihood's loss."""
        joined = _joined(self, batch, self.pad_token_id)
        labels = joined["concatenated_labels"]
        scored = _score(self, model, joined, labels)
        none = torch.zeros((), device=self.accelerator.device)
        return _split(self, scored, labels, batch["chosen_labels"].shape[0], none)

    def take_rows(self, rows: tuple[Row, ...]) -> None:
        """Replaces the rows."""
        self.train_dataset = TokenRows(rows)

    @override
    def _send_telemetry(self) -> None:
        """Sends nothing."""


def _joined(trainer: Any, batch: Any, padding: Any) -> dict[str, torch.Tensor]:
    return trainer.concatenated_inputs(
        batch, is_encoder_decoder=False, padding_value=padding, device=trainer.accelerator.device
    )


def _score(trainer: Any, model: Any, joined: dict[str, torch.Tensor], labels: torch.Tensor) -> Any:
    """Returns the fused head's output for the labelled tokens."""
    return model(
        joined["concatenated_input_ids"],
        attention_mask=joined["concatenated_attention_mask"],
        use_cache=False,
        labels=labels,
        fused_lm_head=True,
        **({"output_router_logits": True} if trainer.aux_loss_enabled else {}),
    )


def _split(trainer: Any, scored: Any, labels: torch.Tensor, count: int, likelihood: torch.Tensor) -> tuple[Any, ...]:
    """Returns what the trainers' own `concatenated_forward` returns; in place of logits, their mean at each token."""
    responses = labels[:, 1:] != -100
    sums, lengths = (scored.log_probs * responses).sum(-1), responses.sum(-1)
    means = sums / lengths
    for name, values in token_figures(sums.float(), lengths).items():
        trainer.store_metrics({name: trainer.accelerator.gather(values).mean().item()}, train_eval="train")
    logits = (scored.mean_logits[side][responses[side]] for side in (slice(count), slice(count, None)))
    more = (scored.aux_loss,) if trainer.aux_loss_enabled else ()
    return (means[:count], means[count:], *logits, likelihood, *more)


def build_orpo(ingredients: Ingredients) -> Any:
    """ORPO (Hong et al. 2024, equation 6); TRL's beta is the paper's lambda."""
    config = trainer_config(ORPOConfig, _shared(ingredients), beta=ingredients.training.beta)
    return TokenORPOTrainer(args=config, **_parts(ingredients))


def build_simpo(ingredients: Ingredients) -> Any:
    """SimPO (Meng et al. 2024, equation 6): TRL's `simpo_gamma` is the paper's gamma, and divided by beta inside."""
    config = trainer_config(
        CPOConfig,
        _shared(ingredients),
        loss_type="simpo",
        cpo_alpha=0.0,
        beta=ingredients.training.beta,
        simpo_gamma=ingredients.training.gamma,
    )
    return TokenCPOTrainer(args=config, **_parts(ingredients))


def _shared(ingredients: Ingredients) -> dict[str, Any]:
    return ingredients.arguments | {"max_length": ingredients.training.max_length, "remove_unused_columns": False}


def _parts(ingredients: Ingredients) -> dict[str, Any]:
    policy = ingredients.policy
    plain: Any = policy.get_base_model() if isinstance(policy, PeftModel) else policy
    add_fused_lm_head(plain, outputs=("log_probs", "mean_logits"))
    return {
        "model": policy,
        "train_dataset": TokenRows(ingredients.rows),
        "processing_class": ingredients.tokenizer,
        "callbacks": list(ingredients.callbacks),
    }
