"""The configs of TRL's trainers, and what FSDP needs besides their arguments."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from torch.distributed.fsdp import MixedPrecisionPolicy


def trainer_config(kind: Any, arguments: dict[str, Any], **more: Any) -> Any:
    """Returns a config of this class. FSDP computes in half precision, but sums gradients in float32.

    accelerate would also sum them in half precision, and round the log-probabilities that the model returns to it, an
    error of nats per response.
    """
    config = kind(**arguments, **more)
    if config.fsdp_plugin_args is not None:
        _divide_on_cpus()
        if config.bf16:
            config.fsdp_plugin_args["mixed_precision_policy"] = MixedPrecisionPolicy(
                param_dtype=torch.bfloat16, reduce_dtype=torch.float32
            )
    return config


def _divide_on_cpus() -> None:
    """Lets accelerate divide weights among processes without a GPU, which it otherwise leaves whole."""
    shared = PartialState()._shared_state
    if shared.get("distributed_type") == DistributedType.MULTI_CPU:
        shared["distributed_type"] = DistributedType.MULTI_GPU
