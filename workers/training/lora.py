"""Low-rank adapters: trained in place of the weights, and merged into them before publication."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from eva.config.solver import Lora
from eva.errors import ConfigError


def add_adapters(policy: Any, lora: Lora) -> PeftModel:
    """Returns the policy with new adapters; only they are trained. Before the first step the outputs are unchanged.

    Raises ConfigError if no module has a name in `targets`.
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
            next_move="Leave it out to adapt all linear modules but the output layer",
        ) from error
    assert isinstance(adapted, PeftModel)
    return adapted


def merge_adapters(policy: Any) -> Any:
    """Returns the plain model with its adapters merged into the weights. A plain model is returned as it is."""
    return policy.merge_and_unload() if isinstance(policy, PeftModel) else policy


def _without_dropout(policy: Any) -> None:
    """Turns the model's own dropout off, as for full fine-tuning. The adapters' dropout is in the config."""
    for module in policy.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
