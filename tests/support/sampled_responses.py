"""Responses as a policy samples them, token by token, for tests that train on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from eva.solver.advantages import rule_named
from eva.solver.weighted_responses import WeightedResponse
from workers.training import checkpoint_files

Reward = Callable[[Sequence[int]], float]


def sample_responses(
    folder: Path,
    reward: Reward,
    *,
    prompts: int = 8,
    n: int = 4,
    length: int = 6,
    temperature: float = 1.0,
    rule: str = "rloo",
    seed: int = 0,
) -> list[WeightedResponse]:
    """Samples n responses to each of some prompts of two tokens, `length` tokens long; some are a token shorter."""
    policy = checkpoint_files.load_policy(folder)
    draw = torch.Generator().manual_seed(seed)
    ids = torch.tensor([[1, 10 + number] for number in range(prompts) for _ in range(n)])
    logprobs = []
    for _ in range(length):
        with torch.no_grad():
            scores = (policy(ids).logits[:, -1] / temperature).log_softmax(-1)
        chosen = torch.multinomial(scores.exp(), 1, generator=draw)
        logprobs.append(scores.gather(1, chosen))
        ids = torch.cat([ids, chosen], dim=1)
    tokens, known = ids[:, 2:].numpy().astype(np.int32), torch.cat(logprobs, dim=1).numpy()
    rows: list[WeightedResponse] = []
    for number in range(prompts):
        lengths = [length - sample % 2 for sample in range(n)]
        mine = [tokens[number * n + sample, : lengths[sample]] for sample in range(n)]
        rewards_N = np.array([[reward(one.tolist()) for one in mine]])
        advantages_N = rule_named(rule)(rewards_N)[0]
        rows += [
            WeightedResponse(
                number,
                sample,
                float(rewards_N[0, sample]),
                float(advantages_N[sample]),
                np.array([1, 10 + number], np.int32),
                mine[sample],
                known[number * n + sample, : lengths[sample]],
            )
            for sample in range(n)
        ]
    return rows
