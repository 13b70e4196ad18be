"""The secrets that a rewarder's process needs."""

from __future__ import annotations

from collections.abc import Iterator

from eva.config import EnsembleReward, EnvironmentReward, JudgeReward, RewardConfig, RewardNetwork
from workers.cluster.secrets import HUB_TOKEN, Secrets, read_secrets
from workers.models.model_folder import is_hub_id


def rewarder_secrets(config: RewardConfig) -> Secrets:
    """Returns the keys of its judges, and the hub's token for models that lie there."""
    return read_secrets(_names(config))


def _names(config: RewardConfig) -> Iterator[str]:
    match config:
        case EnsembleReward():
            for member in config.members:
                yield from _names(member.reward)
        case JudgeReward():
            if config.api_key_env is not None:
                yield config.api_key_env
            elif config.api_base is None:  # the variable that LiteLLM reads for this provider
                provider = config.model.partition("/")[0] if "/" in config.model else "openai"
                yield f"{provider.upper()}_API_KEY"
        case EnvironmentReward():
            yield from config.secrets
        case RewardNetwork() if is_hub_id(config.model):
            yield HUB_TOKEN
        case _:
            return
