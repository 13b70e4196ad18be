"""A reward model's weights in memory, and texts of different length in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from eva.config import RewardNetwork
from eva.errors import ConfigError, ModelError
from workers.rewards.model import Alive

Row = TypeVar("Row")
Value = TypeVar("Value")


def load_weights(network: Any, folder: Path, config: RewardNetwork) -> Any:
    """A transformers class's model, in evaluation mode on the config's device.

    Raises ConfigError without the GPU, ModelError where a weight is missing: transformers would draw it.
    """
    on_gpu = config.gpus > 0
    if on_gpu and not torch.cuda.is_available():
        raise ConfigError(
            f"reward.gpus is {config.gpus:g}, but torch sees no GPU",
            expected="a GPU and a torch built for it, or reward.gpus: 0",
            next_move="Set reward.gpus: 0, or see what `eva doctor` says of the device",
        )
    dtype = "float32" if config.dtype == "auto" and not on_gpu else config.dtype
    placed = {"device_map": "auto"} if config.gpus > 1 else {}
    try:
        model, told = network.from_pretrained(
            folder,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=config.trust_remote_code,
            local_files_only=True,
            output_loading_info=True,
            **placed,
        )
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, ImportError) as error:
        why = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelError(
            f"reward model {folder} cannot be loaded: {why}",
            expected="a model that the installed transformers knows, with all its weights",
            next_move="Correct reward.model or reward.architecture",
        ) from error
    if told["missing_keys"]:
        absent = sorted(told["missing_keys"])
        raise ModelError(
            f"reward model {folder} lacks {len(absent)} weights, {absent[0]} for one",
            expected=f"the weights of a trained {type(model).__name__}",
            next_move="Correct reward.model or reward.architecture (weights drawn at random reward noise)",
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
    """`forward` of all rows, in the order of `rows`."""
    values: dict[int, Value] = {}
    for indices in batches(lengths, budget):
        alive()
        values.update(zip(indices, forward([rows[index] for index in indices]), strict=True))
    return [values[index] for index in range(len(rows))]


def padded(ids: Sequence[Sequence[int]], pad: int, *, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, both [batch, longest]; padding at the right unless `left`."""
    longest = max(map(len, ids))
    tokens, mask = torch.full((len(ids), longest), pad), torch.zeros((len(ids), longest), dtype=torch.long)
    for row, text in enumerate(ids):
        place = slice(longest - len(text), longest) if left else slice(0, len(text))
        tokens[row, place], mask[row, place] = torch.tensor(text), 1
    return tokens, mask
