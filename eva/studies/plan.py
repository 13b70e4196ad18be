"""The runs of a study in the order in which they are played: by seed, so that a study cut short is balanced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from eva.config import RunConfig
from eva.config.changes import config_differences, flatten, when_changeable
from eva.config.evaluation import INITIAL, Difficulty
from eva.config.files import config_from_values
from eva.errors import ConfigError
from eva.studies.study import StudyConfig

OF_THE_STUDY = ("name", "seed", "model.path", "model.revision", "evaluation", "training.step_limit")
"""What a study decides itself, so that no arm may."""

OF_THE_CREATOR = ("info_from", "pool", "informativeness", "sampling", "mixing", "evolving", "collapse")
"""Keys that change nothing in the warm-up, in which the creator does nothing."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A run's place in a study. `shared`: it plays only the first iterations, of which it is not the only arm."""

    seed: int
    model: str
    arm: str
    shared: bool = False


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run of a study. With `parent`, it continues that run from iteration `at`."""

    cell: Cell
    config: RunConfig
    parent: Cell | None = None
    at: int = 0


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """The runs of a study in order, each behind the one that it continues; and each arm's differences from the base."""

    runs: tuple[PlannedRun, ...]
    changes: Mapping[str, Mapping[str, Any]]

    def part(self, number: int, parts: int) -> tuple[PlannedRun, ...]:
        """Returns one of several parts that can be played side by side: all runs of every n-th seed and model."""
        groups = list(dict.fromkeys((run.cell.seed, run.cell.model) for run in self.runs))
        mine = set(groups[number::parts])
        return tuple(run for run in self.runs if (run.cell.seed, run.cell.model) in mine)


def plan_study(study: StudyConfig, models: Mapping[str, str] | None = None) -> StudyPlan:
    """Plans the runs of a study whose base is a config's values.

    `models`: the path of each given model, by the name that the study gives it. Raises ConfigError when an arm is not
    valid or changes nothing, when the outcome does not exist, and when the arms cannot be matched.
    """
    base = arm_config(study, {})
    arms = {name: arm_config(study, values) for name, values in study.arms.items()}
    _require_own_keys(study)
    _require_different(study, base, arms)
    _require_outcome(study, base)
    for name, config in arms.items():
        _require_matchable(study, name, config)
    starts = {name: _start(study, base, name, config) for name, config in arms.items()}
    sharing = [name for name, start in starts.items() if start > 0]
    if study.share_until is None and len(sharing) < 2:
        sharing = []
    runs: list[PlannedRun] = []
    for seed in study.seed_list:
        for model in study.models or (base.model.path,):
            path = (models or {}).get(model, model)
            trunk = Cell(seed, model, sharing[0], shared=True) if sharing else None
            if trunk is not None:
                start = starts[sharing[0]]
                evaluation = base.evaluation
                if evaluation.when == "last":
                    evaluation = evaluation.model_copy(update={"when": "never"})
                shared = base.model_copy(update={"iterations": start, "evaluation": evaluation})
                runs.append(PlannedRun(trunk, _placed(study, shared, "shared", seed, path)))
            for name, config in arms.items():
                placed = _placed(study, config, name, seed, path)
                parent = trunk if name in sharing else None
                runs.append(PlannedRun(Cell(seed, model, name), placed, parent, starts[name] if parent else 0))
    changes = {
        name: {change.key: change.given for change in config_differences(base, config)} for name, config in arms.items()
    }
    return StudyPlan(tuple(runs), changes)


def arm_config(study: StudyConfig, values: Mapping[str, Any]) -> RunConfig:
    """Returns the config of an arm with these values, without seed and given model. Raises ConfigError.

    The outcome's prompts are protected: no seed prompt and no child may share a run of words with one of them.
    """
    if isinstance(study.base, str):
        raise TypeError("a study is planned with its base's values in place")
    merged: dict[str, Any] = json.loads(json.dumps(study.base))
    own = {} if study.match is None or study.match.steps is None else {"training.step_limit": study.match.steps}
    for key, value in {**flatten(study.set), **own, **flatten(values)}.items():
        _put(merged, key, value)
    config = config_from_values(merged, ())
    baselines = config.evaluation.baseline
    compared = INITIAL in (baselines.values() if isinstance(baselines, dict) else (baselines,))
    when = "each" if study.evaluates_each else "end" if compared else "last"
    own_set, protected = config.evaluation.sets.get(study.outcome.split), config.novelty.protected
    if own_set is not None and own_set not in protected:
        protected = [*protected, own_set]
    return config.model_copy(
        update={
            "evaluation": config.evaluation.model_copy(update={"when": when}),
            "novelty": config.novelty.model_copy(update={"protected": protected}),
        }
    )


def study_hash(study: StudyConfig) -> str:
    """Returns the SHA-256 of a study's canonical JSON."""
    text = json.dumps(study.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def study_differences(kept: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Returns the keys in which two studies' values differ, with both values, one line each."""
    before, after = flatten(kept), flatten(given)
    return [
        f"{key}: the study has {before.get(key)!r}, the file has {after.get(key)!r}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


def _placed(study: StudyConfig, config: RunConfig, arm: str, seed: int, model: str) -> RunConfig:
    suffix = f".{arm}.s{seed}"
    return config.model_copy(
        update={
            "name": study.name[: 64 - len(suffix)] + suffix if len(suffix) < 60 else f"{study.name[:40]}.s{seed}",
            "seed": seed,
            "model": config.model.model_copy(update={"path": model}),
        }
    )


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner: Any = values.get(section)
        values[section] = inner = cast("dict[str, Any]", dict(inner)) if isinstance(inner, dict) else {}
        values = inner
    values[last] = value


def _require_own_keys(study: StudyConfig) -> None:
    decided = [key for key in flatten(study.set) if _covered(key, ("name", "seed", "evaluation.when"))]
    if decided:
        raise ConfigError(
            f"set contains {', '.join(decided)}, which a study decides itself",
            expected="other keys of the config",
            next_move="Use the study's own `name`, `seeds` and `curves`",
        )
    for name, values in study.arms.items():
        for key in flatten(values):
            if _covered(key, OF_THE_STUDY):
                raise ConfigError(
                    f"arm {name} sets {key}, which is the same in all arms of a study",
                    expected="keys that say how an arm plays",
                    next_move="Put it under `set`, or use the study's own `seeds`, `models` and `match`",
                )


def _require_different(study: StudyConfig, base: RunConfig, arms: Mapping[str, RunConfig]) -> None:
    seen: dict[str, str] = {}
    for name, config in arms.items():
        text = config.model_dump_json()
        other = seen.setdefault(text, name)
        if other != name or (study.arms[name] and config == base):
            same = f"its config is that of arm {other}" if other != name else "the base has these values already"
            raise ConfigError(
                f"arm {name} changes nothing: {same}",
                expected="arms whose configs differ",
                next_move="Correct its values; to repeat an arm with other draws, set generation.stream: 1",
            )


def _require_outcome(study: StudyConfig, config: RunConfig) -> None:
    evaluation = config.evaluation
    known = [*(evaluation.difficulties if evaluation.playground is not None else ()), *evaluation.sets]
    split = study.outcome.split
    if split not in known:
        hint = " (evaluation.difficulties leaves it out)" if split in get_args(Difficulty) else ""
        raise ConfigError(
            f"the outcome {study.outcome.figure} does not exist: the base has no held-out set {split!r}{hint}",
            expected=f"one of the sets {', '.join(known)}" if known else "a held-out set",
            next_move="Correct outcome.figure, or add the set under evaluation.sets",
        )


def _require_matchable(study: StudyConfig, name: str, config: RunConfig) -> None:
    match = study.match
    if match is None:
        return
    reason = None
    if match.steps is not None and not config.training.enabled:
        reason = "training.enabled is false, so it takes no step"
    elif match.responses is not None and (prompts := config.prompts.playground) is not None:
        first = prompts * config.generation.n
        if first > match.responses:
            reason = f"its first iteration alone samples {first:,} responses"
    if reason is not None:
        raise ConfigError(
            f"arm {name} cannot be matched at {match.limit:,} {match.quantity}: {reason}",
            expected="arms that can be cut to it",
            next_move="Change `match`, or leave the arm out",
        )


def _start(study: StudyConfig, base: RunConfig, name: str, config: RunConfig) -> int:
    """The first iteration that the arm plays itself, if the earlier ones are played by the base for all."""
    different = [change.key for change in config_differences(base, config)]
    if study.share_until is None:
        shares = base.warm_start and all(_covered(key, (*OF_THE_CREATOR, "iterations")) for key in different)
        return 1 if shares and min(config.iterations, base.iterations) > 1 else 0
    fixed = [key for key in different if when_changeable(key) == "never"]
    if study.share_until and fixed:
        raise ConfigError(
            f"arm {name} changes {', '.join(fixed)}, on which all iterations depend, but share_until is "
            f"{study.share_until}",
            expected="changes that an iteration can begin with",
            next_move="Set share_until to 0",
        )
    if study.share_until >= config.iterations:
        raise ConfigError(
            f"share_until is {study.share_until}, but arm {name} plays {config.iterations} iterations",
            expected=f"at most {config.iterations - 1}",
            next_move="Lower share_until, or raise iterations",
        )
    return study.share_until


def _covered(key: str, sections: Sequence[str]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)
