"""Low-rank adapters: trained instead of the weights, and merged into them before they are published."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from eva.config.solver import Lora
from eva.errors import ConfigError


def with_adapters(policy: Any, lora: Lora) -> PeftModel:
    """The policy with fresh adapters, equal to it before the first step; only they are trained.

    Raises ConfigError if no module has a name of `targets`.
    """
    _without_dropout(policy)
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    try:
        adapted = get_peft_model(
            policy,
            LoraConfig(
                r=lora.rank,
                lora_alpha=lora.alpha,
                lora_dropout=lora.dropout,
                target_modules=targets,
                task_type="CAUSAL_LM",
            ),
        )
    except ValueError as error:
        raise ConfigError(
            f"training.lora.targets {targets}: {error}",
            expected="names of the model's linear modules",
            next_move="Leave it out: all linear modules but the output layer are adapted",
        ) from error
    assert isinstance(adapted, PeftModel)
    return adapted


def merged(policy: Any) -> Any:
    """The plain model again, its adapters added to its weights; another model is returned as it is."""
    return policy.merge_and_unload() if isinstance(policy, PeftModel) else policy


def _without_dropout(policy: Any) -> None:
    """The model's own dropout off, as for full fine-tuning; the adapters' is the config's."""
    for module in policy.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
