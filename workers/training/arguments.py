"""The config as arguments of a TRL trainer, the same for every loss."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from eva.config import Training
from eva.errors import ConfigError

_OPTIMISERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_torch_8bit", "rmsprop": "rmsprop"}
SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def per_device_batch(training: Training, n_devices: int) -> int:
    """Returns the number of pairs in one forward pass on one device."""
    return training.per_device_batch or max(1, training.batch // n_devices)


def accumulation(training: Training, n_devices: int) -> int:
    """Returns the forward passes per optimiser step. Raises ConfigError if the global batch is not a multiple."""
    at_once = per_device_batch(training, n_devices) * n_devices
    if training.batch % at_once:
        raise ConfigError(
            f"training.batch is {training.batch}, but {n_devices} device(s) x {at_once // n_devices} pairs "
            f"take {at_once} at once",
            expected=f"a multiple of {at_once}",
            next_move="Change training.batch or training.per_device_batch",
        )
    return training.batch // at_once


def trainer_arguments(training: Training, *, seed: int, n_devices: int, gpu: bool, output_dir: str) -> dict[str, Any]:
    """Returns keyword arguments for DPOConfig and its siblings. The library saves, sends and displays nothing.

    Raises ConfigError.
    """
    require_optimiser(training)
    sharded = training.sharding_on(gpu=gpu) == "fsdp2"
    checkpointing = gpu if training.activation_checkpointing is None else training.activation_checkpointing
    return {
        "output_dir": output_dir,
        "per_device_train_batch_size": per_device_batch(training, n_devices),
        "gradient_accumulation_steps": accumulation(training, n_devices),
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": SCHEDULES[training.schedule],
        # A value below 1 is a share of the steps, rounded up.
        "warmup_steps": training.warmup_ratio,
        "num_train_epochs": training.epochs,
        **({} if training.order == "shuffled" else {"train_sampling_strategy": "sequential"}),
        "max_steps": training.max_steps or -1,
        "optim": _OPTIMISERS[training.optimiser],
        "adam_beta1": 0.9,
        "adam_beta2": training.adam_beta2,
        "max_grad_norm": training.max_grad_norm,
        # Numpy's generator takes a seed of 32 bits.
        "seed": seed % 2**32,
        "disable_dropout": True,
        "bf16": gpu,
        "use_cpu": not gpu,
        # Sharded layers are checkpointed by FSDP's own wrapper, inside of which they are gathered again.
        "gradient_checkpointing": checkpointing and not sharded,
        "dataloader_pin_memory": gpu,
        "max_length": None,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        **(sharding_arguments(training, checkpointing=checkpointing) if sharded else {}),
    }


def sharding_arguments(training: Training, *, checkpointing: bool) -> dict[str, Any]:
    """Returns the arguments for FSDP2: every layer that the model says must stay whole is a unit of its own."""
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "reshard_after_forward": True,
            "activation_checkpointing": checkpointing,
            "cpu_offload": training.offload,
            # Only the first process reads the weights; the others get their part from it.
            "cpu_ram_efficient_loading": True,
            "state_dict_type": "FULL_STATE_DICT",
        },
    }


def require_optimiser(training: Training) -> None:
    """Raises ConfigError if the optimiser needs a package that is not installed."""
    if training.optimiser == "adamw_8bit" and find_spec("torchao") is None:
        raise ConfigError(
            "training.optimiser is adamw_8bit, but the package torchao is not installed",
            expected="torchao",
            next_move="Install it (the extra `low-memory`), or set training.optimiser to adamw or rmsprop",
        )
