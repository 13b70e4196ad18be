"""Reads a study from a YAML file or preset, and puts everything that it names in place."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from eva.config import RunConfig
from eva.config.changes import flatten
from eva.config.files import absolute_paths, config_from_values, load_config
from eva.errors import ConfigError
from eva.studies.plan import arm_config
from eva.studies.study import StudyConfig

_FOLDER = resources.files("eva.presets") / "studies"


def study_presets() -> list[str]:
    """Returns the names of the studies that come with eva."""
    return sorted(file.name.removesuffix(".yaml") for file in _FOLDER.iterdir() if file.name.endswith(".yaml"))


def study_preset_text(name: str) -> str:
    """Returns the YAML text of a study that comes with eva."""
    return (_FOLDER / f"{name}.yaml").read_text("utf-8")


def study_preset_values(name: str) -> dict[str, Any]:
    """Returns the values of a study that comes with eva. Raises ConfigError if there is none of this name."""
    if name in study_presets():
        return _parse(study_preset_text(name), name)
    close = difflib.get_close_matches(name, study_presets(), 1)
    raise ConfigError(
        f"there is no study {name!r} among those that come with eva",
        expected=f"one of {', '.join(study_presets())}",
        next_move=f"Did you mean {close[0]!r}?" if close else "Choose one of them",
    )


def load_study(source: str) -> StudyConfig:
    """Returns the study of a YAML file or preset, with its base's values and absolute paths. Raises ConfigError."""
    path = Path(source)
    if path.is_file():
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}", expected="a YAML file in UTF-8") from error
        return complete_study(_parse(text, source), path.resolve().parent)
    if source in study_presets():
        return complete_study(_parse(study_preset_text(source), source), Path.cwd())
    close = difflib.get_close_matches(source, study_presets(), 1)
    raise ConfigError(
        f"there is no study file {source!r}",
        expected=f"a YAML file or a preset ({', '.join(study_presets())})",
        next_move=f"Did you mean {close[0]!r}?" if close else "Check the path",
    )


def complete_study(values: Mapping[str, Any], folder: Path) -> StudyConfig:
    """Returns the study with its base's values in place. Relative paths are resolved against `folder`.

    Raises ConfigError, which lists every problem.
    """
    study = validate_study(values)
    base = _base(study.base, folder)
    study = study.model_copy(update={"base": base.model_dump(mode="json")})
    return study.model_copy(
        update={
            "set": _absolute(study, study.set, folder),
            "arms": {name: _absolute(study, changes, folder) for name, changes in study.arms.items()},
            "models": tuple(_model(model, folder) for model in study.models),
        }
    )


def validate_study(values: Mapping[str, Any]) -> StudyConfig:
    """Validates the values of a study. Raises ConfigError, which lists every problem."""
    try:
        return StudyConfig.model_validate(values)
    except ValidationError as error:
        problems: list[str] = []
        for detail in error.errors():
            where, message = ".".join(map(str, detail["loc"])), detail["msg"].removeprefix("Value error, ")
            if detail["type"] == "extra_forbidden":
                close = difflib.get_close_matches(where, [*StudyConfig.model_fields], 1)
                message = "no such key; " + (
                    f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(StudyConfig.model_fields)}"
                )
            problems.append(f"{where}: {message}" if where else message)
        raise ConfigError(
            "the study is not valid:\n  " + "\n  ".join(problems), next_move="docs/studies.md explains every key"
        ) from error


def current_values(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a stored study as this version writes them: with the defaults of keys that are new."""
    study = validate_study(stored)
    base = config_from_values(cast("dict[str, Any]", study.base), ())
    return study.model_copy(update={"base": base.model_dump(mode="json")}).model_dump(mode="json")


def _base(base: str | dict[str, Any], folder: Path) -> RunConfig:
    if isinstance(base, dict):
        return absolute_paths(config_from_values(base, ()), folder)
    file = folder / Path(base).expanduser()
    return load_config(str(file) if file.is_file() else base)


def _absolute(study: StudyConfig, changes: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The changed keys with absolute paths."""
    given = arm_config(study, changes)
    before = flatten(given.model_dump(mode="json"))
    after = flatten(absolute_paths(given, folder).model_dump(mode="json"))
    return {
        key: after[key] if key in after and after[key] != before[key] else value
        for key, value in flatten(changes).items()
    }


def _model(name: str, folder: Path) -> str:
    path = folder / Path(name).expanduser()
    return str(path.resolve()) if path.is_dir() else name


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        values: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{source} is not valid YAML: {error}", next_move="Check the indentation and quotes there"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"{source} contains {type(values).__name__} instead of keys", expected="keys such as name:, base:, arms:"
        )
    return cast("dict[str, Any]", values)
