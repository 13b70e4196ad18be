"""A policy's weights on one process or divided among several: load, place, gather.

With FSDP2 the first process reads the weights. The others reserve memory without touching it, and get their part from
the first one; none but the first ever holds the whole model.

Low-rank adapters are trained in place of the weights, and merged into them before publication.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

from eva.config.solver import Lora
from eva.errors import ConfigError
from workers.models.attention import Attention, attention_arguments
from workers.training import checkpoint_files


def load_part(folder: str | Path, *, first: bool, dtype: str = "float32", attention: Attention = "auto") -> Any:
    """Loads a policy on the first process. On the others, returns it without weights (see `without_weights`)."""
    if first:
        return checkpoint_files.load_policy(folder, dtype=dtype, attention=attention)
    return without_weights(folder, dtype=dtype, attention=attention)


def without_weights(folder: str | Path, *, dtype: str = "float32", attention: Attention = "auto") -> Any:
    """Returns the policy of a folder with reserved, untouched memory in place of its weights; buffers are right."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with init_empty_weights(include_buffers=False):
        policy = AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), **attention_arguments(config, attention)
        )
    for module in policy.modules():
        for name, parameter in module.named_parameters(recurse=False):
            reserved = nn.Parameter(torch.empty(parameter.shape, dtype=parameter.dtype), parameter.requires_grad)
            setattr(module, name, reserved)
    policy.tie_weights()
    return policy.eval()


def layer_classes(policy: Any) -> list[str]:
    """Returns the names of the classes of the policy's layers, which FSDP gathers and frees one after the other."""
    present = {type(module).__name__ for module in policy.modules()}
    named = sorted(present & set(policy._no_split_modules or ()))
    if named:
        return named
    lists = [module for module in policy.modules() if isinstance(module, nn.ModuleList) and len(module)]
    return sorted({type(layer).__name__ for layer in max(lists, key=len)}) if lists else []


def place_reference(reference: Any, accelerator: Any, temperature: float = 1.0) -> Any:
    """Returns the reference ready to score rows: on the device, or divided among the devices as the policy will be.

    `temperature` divides its logits.
    """
    disable_dropout_in_model(reference)
    add_fused_lm_head(reference, temperature)
    reference.requires_grad_(False)
    if accelerator.is_fsdp2:
        return fsdp2_prepare_model(accelerator, reference).eval()
    return accelerator.prepare_model(reference, evaluation_mode=True)


def gather_policy(policy: Any, folder: str | Path, *, dtype: str, first: bool) -> Any | None:
    """Collects a divided policy's weights in the first process: a plain model on the CPU, in the stored precision.

    Every process takes part; all but the first return None. One weight at a time exists in full elsewhere.
    """
    state: dict[str, torch.Tensor] = {}
    for name, weights in policy.state_dict().items():
        whole = weights.full_tensor() if isinstance(weights, DTensor) else weights
        if first:
            state[name] = (whole.to(getattr(torch, dtype)) if whole.is_floating_point() else whole).cpu()
        del whole
    if not first:
        return None
    plain = without_weights(folder, dtype=dtype)
    plain.load_state_dict(state, assign=True)
    plain.tie_weights()
    return plain


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


def linear_modules(folder: str | Path) -> list[str]:
    """Returns the names of a model's linear modules, as `all-linear` adapts them: without the output layer."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]
    return sorted({name.rpartition(".")[2] for name in linear})


def merge_adapters(policy: Any) -> Any:
    """Returns the plain model with its adapters merged into the weights. A plain model is returned as it is."""
    return policy.merge_and_unload() if isinstance(policy, PeftModel) else policy


def _without_dropout(policy: Any) -> None:
    """Turns the model's own dropout off, as for full fine-tuning. The adapters' dropout is in the config."""
    for module in policy.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
