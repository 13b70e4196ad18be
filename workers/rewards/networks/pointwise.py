"""Rewards from a reward model that reads one response at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from eva.config import PointwiseReward
from eva.errors import ConfigError
from eva.types import Reward
from workers.rewards.model import Alive, RewardRequest, reason
from workers.rewards.networks.model_source import Network, fetch, inspect_network, network_name, read_network

if TYPE_CHECKING:
    from workers.rewards.networks.logits import Logits
    from workers.rewards.networks.texts import Text

PATIENCE_S = 600.0
ARMORM = "LlamaForRewardModelWithGating"
TURN = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
"""What ArmoRM's template puts between user and assistant. The gate reads the hidden state of its first token."""


class PointwiseModel:
    """r(x, y): a raw logit of a sequence classifier, a weighted sum of its logits, or ArmoRM's mixed heads."""

    patience_s = PATIENCE_S

    def __init__(self, config: PointwiseReward) -> None:
        folder = fetch(config)
        network = read_network(folder)
        is_armorm = _require_usable(config, network)
        from workers.rewards.networks import logits
        from workers.rewards.networks.texts import Texts

        limit = config.max_length or network.positions
        self._texts = Texts(folder, config, limit=limit, turn=TURN if is_armorm else None)
        self._logits: Logits = (
            logits.ArmoRMScores(folder, config)
            if is_armorm
            else logits.PooledLogits(folder, config, limit)
            if config.backend == "vllm"
            else logits.ClassifierLogits(folder, config)
        )
        self._weights = config.weights or tuple(
            float(index == (config.label or 0)) for index in range(1 if is_armorm else network.labels)
        )

    @staticmethod
    def name_of(config: PointwiseReward) -> str:
        """Returns `pointwise`, the model, and each setting that changes rewards and is not the default."""
        return network_name(config, {"backend", "memory_fraction"})

    @staticmethod
    def check(config: PointwiseReward) -> None:
        """Checks the model's folder, or its config on the hub. Raises ConfigError."""
        _require_usable(config, inspect_network(config))

    def reward_many(self, requests: Sequence[RewardRequest], alive: Alive) -> list[tuple[Reward, ...]]:
        """Rewards all responses. One that is too long or cannot be encoded gets no reward, but the reason."""
        alive()
        encoded = [self._encode(request, response) for request in requests for response in request.responses]
        usable = [text for text in encoded if not isinstance(text, Reward)]
        logits = iter(self._logits.of(usable, alive) if usable else [])
        rewards = iter([text if isinstance(text, Reward) else self._reward(next(logits)) for text in encoded])
        return [tuple(next(rewards) for _ in request.responses) for request in requests]

    def close(self) -> None:
        self._logits.close()

    def _encode(self, request: RewardRequest, response: str) -> Text | Reward:
        from workers.models.chat_template import UnusablePromptError

        try:
            return self._texts.encode(request.prompt, response, request.context)
        except UnusablePromptError as error:
            return Reward(None, reason(str(error)))

    def _reward(self, logits: list[float]) -> Reward:
        # Labels of weight 0 are skipped: an infinite logit there must not matter.
        value = math.fsum(weight * logit for weight, logit in zip(self._weights, logits, strict=True) if weight)
        return Reward(value) if math.isfinite(value) else Reward(None, f"the reward model gave {value}")


def _require_usable(config: PointwiseReward, network: Network) -> bool:
    """Returns whether the model is an ArmoRM. Raises ConfigError if config and model do not match."""
    is_armorm = config.architecture == "armorm" or (
        config.architecture == "auto" and network.architecture == ARMORM and not config.trust_remote_code
    )
    if is_armorm:
        if config.backend == "vllm" or config.template != "chat" or config.label is not None or config.weights:
            raise ConfigError(
                f"{config.model} is an ArmoRM, which mixes its heads itself",
                expected="reward.backend: transformers and template: chat, without label and weights",
                next_move="Remove these keys",
            )
        if network.model_type != "llama":
            raise ConfigError(
                f"reward.architecture is armorm, but {config.model} is a {network.model_type}",
                expected="a Llama",
                next_move="Correct reward.model or reward.architecture",
            )
        return True
    if not network.architecture.endswith("ForSequenceClassification") and not config.trust_remote_code:
        raise ConfigError(
            f"{config.model} is a {network.architecture}",
            expected=f"a model for sequence classification, or {ARMORM}",
            next_move="Use a reward model; for one that compares two responses set reward.kind: pairwise",
        )
    _require_labels(config, network)
    return False


def _require_labels(config: PointwiseReward, network: Network) -> None:
    count = network.labels
    if count > 1 and config.label is None and config.weights is None:
        raise ConfigError(
            f"{config.model} gives {count} logits",
            expected="which of them is the reward",
            next_move=f"Set reward.label (0 to {count - 1}), or reward.weights ({count} numbers)",
        )
    if config.label is not None and config.label >= count:
        raise ConfigError(
            f"reward.label is {config.label}, but {config.model} gives {count} logits",
            expected=f"0 to {count - 1}",
            next_move="Correct reward.label",
        )
    if config.weights is not None and len(config.weights) != count:
        raise ConfigError(
            f"reward.weights has {len(config.weights)} numbers, but {config.model} gives {count} logits",
            expected=f"{count} numbers",
            next_move="Correct reward.weights",
        )
