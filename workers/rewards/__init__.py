"""Rewarders: one file each, one line each in REWARDERS."""

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
    "pointwise": "workers.rewards.networks.pointwise:PointwiseModel",
    "pairwise": "workers.rewards.networks.pairwise:PairwiseModel",
    "judge": "workers.rewards.judge:JudgeModel",
    "ensemble": "workers.rewards.ensemble:EnsembleModel",
}
"""`kind` in the config: the class of its reward model, imported when it is asked for."""


def model_class(config: RewardConfig) -> type[RewardModel]:
    """The class of the reward model that the config asks for."""
    return resolve_name(REWARDERS[config.kind])


def build_rewarder(
    config: RewardConfig,
    *,
    local: bool = False,
    spent: Mapping[str, float] | None = None,
    hung_s: float = 1800.0,
    notice: IncidentListener = ignore_incident,
) -> ActorRewarder | LocalRewarder:
    """The run's rewarder: in a Ray actor of its own, or with `local` in this process.

    Both are `eva.roles.Rewarder` and have `close()`. Raises ConfigError before anything starts when
    the config cannot work. `spent` is what its rewards have cost the run so far, by part; `hung_s`, `notice`: see
    `Window`.
    """
    kind = model_class(config)
    kind.check(config)
    if local:
        from workers.rewards.local import LocalRewarder

        return LocalRewarder(kind.name_of(config), kind(config))
    from workers.rewards.actor import ActorRewarder

    return ActorRewarder(
        kind.name_of(config), REWARDERS[config.kind], config, spent=spent, hung_s=hung_s, notice=notice
    )
