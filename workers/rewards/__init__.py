"""Reward models: one file each, one line each in REWARDERS.

`mock`, `verifier`, `agreement`, `environment`, `judge`, `ensemble`, `networks`: the kinds of reward model
`guide`: scores what the creator writes
`judge_prompts`: what a judge is asked, and how its verdict is read
`model`: what every reward model has
`actor`: a reward model in a Ray actor; `window`: its prompts in flight
`local`: a reward model in the caller's process
`secrets`: the keys and tokens that its process needs
"""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from eva.config import RewardConfig
from eva.runtime.worker_reports import IncidentListener, ignore_incident
from workers.rewards.model import RewardModel

if TYPE_CHECKING:
    from workers.rewards.actor import ActorRewarder
    from workers.rewards.local import LocalRewarder

REWARDERS: dict[str, str] = {
    "mock": "workers.rewards.mock:MockModel",
    "verifier": "workers.rewards.verifier:VerifierModel",
    "agreement": "workers.rewards.agreement:AgreementModel",
    "environment": "workers.rewards.environment:EnvironmentModel",
    "pointwise": "workers.rewards.networks.pointwise:PointwiseModel",
    "pairwise": "workers.rewards.networks.pairwise:PairwiseModel",
    "judge": "workers.rewards.judge:JudgeModel",
    "ensemble": "workers.rewards.ensemble:EnsembleModel",
}
"""`kind` in the config: the class of the reward model, imported on first use."""


def model_class(config: RewardConfig) -> type[RewardModel]:
    """Returns the class of the configured reward model."""
    return resolve_name(REWARDERS[config.kind])


def build_rewarder(
    config: RewardConfig,
    *,
    local: bool = False,
    spent: Mapping[str, float] | None = None,
    hung_s: float = 1800.0,
    room_s: float = 900.0,
    notice: IncidentListener = ignore_incident,
) -> ActorRewarder | LocalRewarder:
    """Returns the run's rewarder: in its own Ray actor, or with `local` in this process.

    Both are an `eva.roles.Rewarder` with `close()`. `spent` is what its rewards have cost the run so far, by part;
    for `hung_s`, `room_s` and `notice` see `Window`. Raises ConfigError before anything starts if the config cannot
    work.
    """
    kind = model_class(config)
    kind.check(config)
    if local:
        from workers.rewards.local import LocalRewarder

        return LocalRewarder(kind.name_of(config), kind(config))
    from workers.rewards.actor import ActorRewarder

    return ActorRewarder(
        kind.name_of(config),
        REWARDERS[config.kind],
        config,
        spent=spent,
        hung_s=hung_s,
        room_s=room_s,
        notice=notice,
    )
