"""Loads the weights of a reward model, and batches texts of different lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import AutoConfig

from eva.config import RewardNetwork
from eva.errors import ConfigError, ModelError
from workers.models.attention import attention_arguments
from workers.rewards.model import Alive

Row = TypeVar("Row")
Value = TypeVar("Value")


def load_weights(network: Any, folder: Path, config: RewardNetwork) -> Any:
    """Loads a model of a transformers class, in evaluation mode, on the configured device.

    Raises ConfigError if the GPU is missing, ModelError if a weight is missing: transformers would draw it at random.
    """
    on_gpu = config.gpus > 0
    if on_gpu and not torch.cuda.is_available():
        raise ConfigError(
            f"reward.gpus is {config.gpus:g}, but torch sees no GPU",
            expected="a GPU and a torch built for it, or reward.gpus: 0",
            next_move="Set reward.gpus: 0, or read what `eva doctor` says about the device",
        )
    dtype = "float32" if config.dtype == "auto" and not on_gpu else config.dtype
    placed = {"device_map": "auto"} if config.gpus > 1 else {}
    try:
        described = AutoConfig.from_pretrained(
            folder, trust_remote_code=config.trust_remote_code, local_files_only=True
        )
        model, info = network.from_pretrained(
            folder,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=config.trust_remote_code,
            local_files_only=True,
            output_loading_info=True,
            **attention_arguments(described),
            **placed,
        )
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, ImportError) as error:
        why = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelError(
            f"reward model {folder} cannot be loaded: {why}",
            expected="a complete model that the installed transformers supports",
            next_move="Correct reward.model or reward.architecture",
        ) from error
    if info["missing_keys"]:
        absent = sorted(info["missing_keys"])
        raise ModelError(
            f"reward model {folder} lacks {len(absent)} weights, for example {absent[0]}",
            expected=f"the weights of a trained {type(model).__name__}",
            next_move="Correct reward.model or reward.architecture (random weights would reward noise)",
        )
    return (model if placed or not on_gpu else model.to("cuda")).eval()


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, longest first; count x longest is at most `budget`, or one alone."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def in_batches(
    rows: Sequence[Row],
    lengths: Sequence[int],
    budget: int,
    forward: Callable[[list[Row]], Sequence[Value]],
    alive: Alive,
) -> list[Value]:
    """Calls `forward` on batches of rows. Returns its values in the order of `rows`."""
    values: dict[int, Value] = {}
    for indices in batches(lengths, budget):
        alive()
        values.update(zip(indices, forward([rows[index] for index in indices]), strict=True))
    return [values[index] for index in range(len(rows))]


def padded(ids: Sequence[Sequence[int]], pad: int, *, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns token ids and attention mask, both [batch, longest]; padded on the right, or on the left with `left`."""
    longest = max(map(len, ids))
    tokens, mask = torch.full((len(ids), longest), pad), torch.zeros((len(ids), longest), dtype=torch.long)
    for row, text in enumerate(ids):
        place = slice(longest - len(text), longest) if left else slice(0, len(text))
        tokens[row, place], mask[row, place] = torch.tensor(text), 1
    return tokens, mask
