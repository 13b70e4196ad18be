"""Which keys of a run's config may change after the run has begun, and how two configs differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from eva.config.run import RunConfig

When = Literal["never", "iteration", "resume"]

CHANGEABLE: dict[str, When] = {
    "name": "iteration",
    "seed": "never",
    "iterations": "resume",
    "warm_start": "never",
    "info_from": "iteration",
    "pool": "iteration",
    "batch_from": "never",
    "prompts": "never",
    "model": "never",
    "reward": "iteration",
    "reward.api_base": "resume",
    "reward.api_key_env": "resume",
    "reward.timeout_s": "resume",
    "reward.retries": "resume",
    "reward.concurrency": "resume",
    "reward.max_cost_usd": "resume",
    "reward.gpus": "resume",
    "reward.memory_fraction": "resume",
    "evolving": "iteration",
    "evolving.evolver": "resume",
    "evolving.concurrency": "resume",
    "evolving.guide": "resume",
    "evolving.overlap": "resume",
    "generation.n": "never",
    "generation.temperature": "iteration",
    "generation.top_p": "iteration",
    "generation.max_tokens": "iteration",
    "generation.stream": "iteration",
    "generation.keep_cut": "iteration",
    "informativeness": "iteration",
    "sampling": "iteration",
    "mixing": "iteration",
    "novelty": "iteration",
    "collapse": "resume",
    "collapse.steer": "iteration",
    "collapse.steering": "iteration",
    "pairs": "iteration",
    "training": "resume",
    "training.sync_every": "iteration",
    "training.advantage": "iteration",
    "checkpoints": "resume",
    "rollouts": "resume",
    "evaluation.playground": "never",
    "evaluation.difficulties": "never",
    "evaluation.sets": "never",
    "evaluation.turns": "never",
    "evaluation.n": "never",
    "evaluation.reference_field": "never",
    "evaluation.reward": "never",
    "evaluation.reward.api_base": "resume",
    "evaluation.reward.api_key_env": "resume",
    "evaluation.reward.timeout_s": "resume",
    "evaluation.reward.retries": "resume",
    "evaluation.reward.concurrency": "resume",
    "evaluation.reward.max_cost_usd": "resume",
    "evaluation.baseline": "never",
    "evaluation.judges_own": "iteration",
    "evaluation.when": "resume",
    "evaluation.success": "resume",
    "audit": "iteration",
    "audit.reward.max_cost_usd": "resume",
    "categories": "never",
    "fleet": "resume",
    "watchdog": "resume",
    "tracking": "resume",
    "webhooks": "resume",
}
"""When a key, or a section whose keys are all alike, may change; the longest matching entry counts.

never: the stored results depend on it, and new ones would not match them.
iteration: at the start of an iteration: in a fork, or in a resume before anything of the iteration is done.
resume: also in the middle of an iteration; stored results stay, and the rest uses the new value.
"""


@dataclass(frozen=True, slots=True)
class Change:
    """A key with its values in two configs; None where a config does not have the key."""

    key: str
    kept: Any
    given: Any

    def __str__(self) -> str:
        return f"{self.key}: the run has {self.kept!r}, the config has {self.given!r}"


def when_changeable(key: str) -> When:
    """Returns when this key may change; "never" if no entry covers it."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        if (when := CHANGEABLE.get(".".join(parts[:length]))) is not None:
            return when
    return "never"


def when_allowed(key: str, kept: RunConfig, given: RunConfig) -> When:
    """Returns when this key may change from one config to the other.

    As `when_changeable`, but a creator with weights of its own keeps its first ones, and it writes all of an
    iteration in one way: its replies are trained on as they were sampled.
    """
    before, after = kept.evolving.creator, given.evolving.creator
    if key == "evolving.evolver.model" and before is not None and after is not None:
        return "never"
    if key in _OF_WRITER and (before is not None or after is not None):
        return "iteration"
    return when_changeable(key)


_OF_WRITER = tuple(f"evolving.evolver.{name}" for name in ("kind", "frozen", "temperature"))


def config_differences(kept: RunConfig, given: RunConfig) -> list[Change]:
    """Returns every key whose value differs, sorted by name."""
    before, after = flatten(kept.model_dump(mode="json")), flatten(given.model_dump(mode="json"))
    return [
        Change(key, before.get(key), after.get(key))
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested values as dotted keys with their values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flatten(cast("dict[str, Any]", value), f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
