"""The canary: log-probabilities of fixed token sequences that prove which weights an engine serves."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eva import seeds
from eva.config import Model, Training
from eva.errors import CheckpointError

CANARY = "canary.json"
HALF_PRECISION_FACTOR = 50
_SEQUENCES, _LENGTH = 4, 16


@dataclass(frozen=True, slots=True)
class CanarySequence:
    """`logprobs[i]` is the natural log-probability of `token_ids[i + 1]` given the tokens before it."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Canary:
    """`dtype` is that of the stored weights; `tolerance` in nats per token."""

    dtype: str
    tolerance: float
    sequences: tuple[CanarySequence, ...]


def tolerance(training: Training, model: Model, *, engines_on_gpu: bool) -> float:
    """Returns the allowed difference of an engine, nats per token: half precision rounds more.

    `auto` means float32 on a CPU and half precision on a GPU, whatever is stored.
    """
    half = engines_on_gpu if model.dtype == "auto" else model.dtype != "float32"
    return training.canary_tolerance * (HALF_PRECISION_FACTOR if half else 1)


def draw_sequences(tokenizer: Any, vocab_size: int) -> list[list[int]]:
    """Returns four sequences of ordinary tokens, the same for every checkpoint with this vocabulary."""
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    ordinary = [token for token in range(min(vocab_size, len(tokenizer))) if token not in special]
    return [seeds.generator(0, "canary", index).choices(ordinary, k=_LENGTH) for index in range(_SEQUENCES)]


def write_canary(folder: Path, model: Any, tokenizer: Any, *, dtype: str, allowed: float) -> Canary:
    """Measures `model` (float32, loaded from `folder`) and writes `folder/canary.json`."""
    drawn = draw_sequences(tokenizer, model.get_input_embeddings().num_embeddings)
    sequences = tuple(CanarySequence(tuple(ids), tuple(measure(model, ids))) for ids in drawn)
    canary = Canary(dtype, allowed, sequences)
    (folder / CANARY).write_text(json.dumps(asdict(canary)))
    return canary


def measure(model: Any, token_ids: list[int]) -> list[float]:
    """Returns the natural log-probability of every token but the first, given those before it."""
    import torch

    ids = torch.tensor([token_ids], device=model.device)
    with torch.no_grad():
        logprobs = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
    return logprobs.gather(1, ids[0, 1:, None])[:, 0].tolist()


def read_canary(folder: Path) -> Canary:
    """Reads the canary of a published checkpoint. Raises CheckpointError."""
    try:
        raw = json.loads((folder / CANARY).read_text())
        sequences = tuple(CanarySequence(tuple(row["token_ids"]), tuple(row["logprobs"])) for row in raw["sequences"])
        return Canary(raw["dtype"], raw["tolerance"], sequences)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} has no usable {CANARY} ({error!r})",
            expected="a checkpoint that eva published",
            next_move="Resume the run: the checkpoint is then published again",
        ) from error


def difference(one: Canary, other: Canary) -> float:
    """Returns the largest difference, nats per token. Raises CheckpointError if the canaries have other tokens."""
    if [row.token_ids for row in one.sequences] != [row.token_ids for row in other.sequences]:
        raise CheckpointError(
            "The two canaries consist of different tokens",
            expected="checkpoints of one run",
            next_move="Compare checkpoints with the same vocabulary",
        )
    return max(
        abs(a - b)
        for left, right in zip(one.sequences, other.sequences, strict=True)
        for a, b in zip(left.logprobs, right.logprobs, strict=True)
    )
