"""A study that is sent through the API may name what its service allows, in every arm."""

from __future__ import annotations

from typing import Any

import pytest

from eva.config.admission import NotAllowedError
from eva.config.allowlist import Allowlist
from eva.errors import ConfigError
from eva.studies.admission import admit_study
from eva.studies.files import load_study, study_preset_values, study_presets

ALLOWED = Allowlist({"model": {"small": "/models/small"}, "secret": {"MY_KEY": "MY_KEY"}})


def _study(**keys: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": "mine",
        "base": "playground",
        "arms": {"a": {}, "b": {"informativeness.metric": "uniform"}},
        "outcome": {"figure": "heldout.hard.sampled.accuracy"},
    }
    return values | keys


@pytest.mark.parametrize("name", study_presets())
def test_a_preset_is_the_same_study_from_the_api_and_from_the_command(name: str) -> None:
    # else the one could not continue what the other has begun
    assert admit_study(study_preset_values(name), ALLOWED) == load_study(name)


def test_allowed_names_stand_for_their_values_in_arms_and_models() -> None:
    study = admit_study(_study(models=["playground", "playground:2", "small"]), ALLOWED)
    assert study.models == ("playground", "playground:2", "/models/small")
    assert study.arms["b"] == {"informativeness.metric": "uniform"}


@pytest.mark.parametrize(
    ("study", "named"),
    [
        (_study(base="/etc/passwd"), "/etc/passwd"),
        (_study(base="other.yaml"), "other.yaml"),
        (_study(models=["/models/other"]), "/models/other"),
        (_study(set={"evaluation.sets": {"hard": "/etc/passwd"}}), "evaluation.sets"),
        (_study(arms={"a": {}, "b": {"pairs.choice": "os:system"}}), "pairs.choice"),
        (_study(arms={"a": {}, "b": {"novelty.protected": ["/etc/passwd"]}}), "novelty.protected"),
    ],
)
def test_files_models_and_functions_that_are_not_allowed_are_refused(study: dict[str, Any], named: str) -> None:
    with pytest.raises(NotAllowedError, match=named):
        admit_study(study, ALLOWED)


def test_a_study_that_is_not_valid_is_refused_with_every_problem() -> None:
    with pytest.raises(ConfigError, match=r"(?s)arms.*outcome"):
        admit_study({"name": "mine", "base": "playground", "arms": {}}, ALLOWED)
