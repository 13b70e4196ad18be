"""Rewards from a model that compares two responses: every pair is compared, and wins become rewards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from eva.config import PairwiseReward
from eva.errors import ConfigError
from eva.measures.audit import position_bias
from eva.measures.bradley_terry import AGGREGATIONS, symmetrise
from eva.seeds import text_hash
from eva.types import Context, Floats, Reward
from workers.rewards.model import Alive, RewardRequest, reason
from workers.rewards.networks.model_source import Network, fetch, inspect_network, network_name, read_network

if TYPE_CHECKING:
    from workers.rewards.networks.pair_models import EncodedComparison, PairModel

PATIENCE_S = 600.0
UNCOMPARED = "compared with no other response"


class PairwiseModel:
    """The reward of a response is its mean win rate (or Bradley-Terry log-strength) among the prompt's responses.

    Equal texts are compared only once, and tie with each other.
    """

    patience_s = PATIENCE_S

    def __init__(self, config: PairwiseReward) -> None:
        folder = fetch(config)
        network = read_network(folder)
        architecture = _architecture(config, network)
        from workers.rewards.networks import pair_models

        self._config = config
        self._model: PairModel = (
            pair_models.PairRM(folder, config)
            if architecture == "pairrm"
            else pair_models.PairPreference(folder, config, network.positions)
        )

    @staticmethod
    def name_of(config: PairwiseReward) -> str:
        """Returns `pairwise`, the model, and each setting that changes rewards and is not the default."""
        return network_name(config, set())

    @staticmethod
    def check(config: PairwiseReward) -> None:
        """Checks the model's folder, or its config on the hub. Raises ConfigError."""
        _architecture(config, inspect_network(config))

    def reward_many(self, requests: Sequence[RewardRequest], alive: Alive) -> list[tuple[Reward, ...]]:
        """Rewards all responses. One that could not be compared with any other gets no reward, but the reason."""
        alive()
        contests = [_Contest(request.prompt, request.responses, request.context) for request in requests]
        placed: list[tuple[_Contest, int, int]] = []
        pairs: list[EncodedComparison] = []
        for contest in contests:
            for i, j in contest.comparisons(both_orders=self._config.both_orders):
                pair = self._encode(contest, i, j)
                if pair is not None:
                    placed.append((contest, i, j))
                    pairs.append(pair)
        logits = self._model.logits(pairs, alive) if pairs else []
        for (contest, i, j), logit in zip(placed, logits, strict=True):
            contest.first_N_N[i, j] = _sigmoid(logit / self._config.temperature)
        return [contest.rewards(self._config.aggregation) for contest in contests]

    def close(self) -> None:
        del self._model

    def _encode(self, contest: _Contest, i: int, j: int) -> EncodedComparison | None:
        from workers.models.chat_template import UnusablePromptError

        try:
            return self._model.encode(contest.prompt, contest.texts[i], contest.texts[j], contest.context)
        except UnusablePromptError as error:
            contest.why[i] = contest.why[j] = reason(str(error))
            return None


class _Contest:
    """The distinct responses of one prompt and their comparisons: `first_N_N[i, j]` with i shown first."""

    def __init__(self, prompt: str, responses: Sequence[str], context: Context) -> None:
        self.prompt, self._responses, self.context = prompt, responses, context
        self.texts = list(dict.fromkeys(responses))
        self.first_N_N: Floats = np.full((len(self.texts), len(self.texts)), np.nan)
        self.why: dict[int, str] = {}

    def comparisons(self, *, both_orders: bool) -> list[tuple[int, int]]:
        """Returns the pairs in the order shown. If only one order is shown, the texts' hashes decide which."""
        pairs = list(combinations(range(len(self.texts)), 2))
        if both_orders:
            return [order for i, j in pairs for order in ((i, j), (j, i))]
        hashes = [text_hash(text) for text in self.texts]
        return [(i, j) if hashes[i] < hashes[j] else (j, i) for i, j in pairs]

    def rewards(self, aggregation: str) -> tuple[Reward, ...]:
        index = [self.texts.index(text) for text in self._responses]
        beats = symmetrise(self.first_N_N)[np.ix_(index, index)]
        values = AGGREGATIONS[aggregation](beats).tolist()
        # Copies of a text tie with each other; that alone makes no reward.
        met_N_N = np.isfinite(self.first_N_N)
        met_N: list[bool] = [
            bool(met_N_N[i].any() or met_N_N[:, i].any()) or len(self.texts) == 1 for i in range(len(self.texts))
        ]
        parts_N = [self._parts(place) for place in range(len(self.texts))]
        return tuple(
            Reward(value, None, parts_N[place])
            if met_N[place] and math.isfinite(value)
            else Reward(None, self.why.get(place, UNCOMPARED))
            for place, value in zip(index, values, strict=True)
        )

    def _parts(self, place: int) -> tuple[tuple[str, Reward], ...]:
        """Returns parts for the audit: the model's position bias, from pairs that were compared in both orders."""
        figures = position_bias(self.first_N_N[place], 1 - self.first_N_N[:, place])
        return tuple((name, Reward(value)) for name, value in figures.items())


def _architecture(config: PairwiseReward, network: Network) -> str:
    """Returns `pairrm` or `pair_preference`. Raises ConfigError if config and model do not match."""
    is_ranker, is_causal = network.model_type == "deberta-v2", network.architecture.endswith("ForCausalLM")
    architecture = config.architecture
    if architecture == "auto":
        architecture = "pairrm" if "PairRM" in network.architecture else "pair_preference" if is_causal else "unknown"
    if (architecture == "pairrm" and is_ranker) or (architecture == "pair_preference" and is_causal):
        return architecture
    raise ConfigError(
        f"{config.model} is a {network.architecture} ({network.model_type}), and reward.architecture "
        f"is {config.architecture}",
        expected="pairrm with a DeBERTa-v2 ranker (llm-blender/PairRM-hf), or pair_preference with a "
        "causal LM (RLHFlow/pair-preference-model-LLaMA3-8B)",
        next_move="Correct reward.model or reward.architecture",
    )


def _sigmoid(x: float) -> float:
    # Below that exp would overflow, and the preference is 0 in any case.
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
