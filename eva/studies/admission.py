"""Checks what a study that is sent through the API may name: what the config of a run may, in every arm."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eva.config import RunConfig
from eva.config.admission import NotAllowedError, admit
from eva.config.allowlist import VARIABLES, Allowlist
from eva.config.changes import flatten
from eva.config.files import config_from_values, preset_values, presets
from eva.studies.files import complete_study, validate_study
from eva.studies.plan import arm_config
from eva.studies.study import StudyConfig

_OWN_MODEL = re.compile(r"playground(:\d{1,9})?")


def admit_study(values: Mapping[str, Any], allowed: Allowlist) -> StudyConfig:
    """Returns the study with its base's values in place and each allowed name replaced by what it stands for.

    The base is a preset or a config. Raises ConfigError when the study is not valid, and NotAllowedError.
    """
    study = validate_study(values)
    base, given = _base(study.base)
    base = admit(base, allowed, given)
    study = study.model_copy(update={"base": base.model_dump(mode="json")})
    common = admit(arm_config(study, {}), allowed, base)
    study = study.model_copy(update={"set": _read(common, study.set)})
    arms = {
        name: _read(admit(arm_config(study, changes), allowed, common), changes) for name, changes in study.arms.items()
    }
    models = tuple(_model(model, allowed) for model in study.models)
    admitted = study.model_copy(update={"arms": arms, "models": models})
    return complete_study(admitted.model_dump(mode="json"), Path.cwd())


def _base(base: str | dict[str, Any]) -> tuple[RunConfig, RunConfig | None]:
    if isinstance(base, dict):
        return config_from_values(base, ()), None
    if base not in presets():
        raise NotAllowedError(
            f"base names {base!r}, which is no preset",
            expected=f"one of {', '.join(presets())}, or the values of a config",
            next_move="Send the config itself as `base`, or use `eva study` on the service's machine",
        )
    config = config_from_values(preset_values(base), ())
    return config, config


def _read(admitted: RunConfig, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changed keys with the values that they have in the admitted config."""
    values = flatten(admitted.model_dump(mode="json"))
    return {key: values.get(key, value) for key, value in flatten(changes).items()}


def _model(model: str, allowed: Allowlist) -> str:
    known = allowed.of("model")
    if _OWN_MODEL.fullmatch(model):
        return model
    if model not in known:
        raise NotAllowedError(
            f"models names {model!r}",
            expected=f"playground, playground:N, or what {VARIABLES['model']} allows: {', '.join(known) or 'nothing'}",
            next_move="Ask whoever runs the service to allow it (docs/security.md), or use `eva study` on its machine",
        )
    return known[model]
