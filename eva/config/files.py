"""Reading a run's config: YAML, `--set` overrides, and errors that a person can act on."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError

from eva.config import RunConfig
from eva.config.solver import INITIAL
from eva.errors import ConfigError, KeyProblem


def presets() -> list[str]:
    """Names of the configs that come with eva."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in resources.files("eva.presets").iterdir()
        if entry.name.endswith(".yaml")
    )


def load_config(source: str, overrides: Iterable[str] = ()) -> RunConfig:
    """The validated config of a YAML file or preset, with `key.path=value` overrides.

    Paths inside it are made absolute, relative to the file's folder. Raises ConfigError.
    """
    path = Path(source)
    values = config_values(source)
    folder = path.resolve().parent if path.is_file() else Path.cwd()
    return absolute_paths(config_from_values(values, overrides), folder)


def config_values(source: str) -> dict[str, Any]:
    """What a YAML file or preset says, not validated. Raises ConfigError."""
    path = Path(source)
    if path.is_file():
        return _parse(_read(path), source)
    return preset_values(source)


def preset_values(name: str) -> dict[str, Any]:
    """What a preset says. Raises ConfigError."""
    return _parse(preset_text(name), name)


def preset_text(name: str) -> str:
    """A preset as it is written. Raises ConfigError."""
    if name in presets():
        return (resources.files("eva.presets") / f"{name}.yaml").read_text("utf-8")
    close = difflib.get_close_matches(name, presets(), 1)
    raise ConfigError(
        f"there is no config file {name!r}",
        expected=f"a YAML file, or a preset ({', '.join(presets())})",
        next_move=f"Did you mean {close[0]!r}?" if close else "Check the path",
    )


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset is for, in a line each; `needs` says data, keys, GPUs and disk."""

    name: str
    summary: str
    needs: str
    model: str
    loss: str


def read_preset(name: str) -> Preset:
    """A preset's own words, its comment at the top, and its model and loss."""
    text = (resources.files("eva.presets") / f"{name}.yaml").read_text("utf-8")
    comment = [line.removeprefix("#").strip() for line in text.partition("name:")[0].splitlines()]
    summary, _, needs = " ".join(comment).partition(" Needs: ")
    config = config_from_values(preset_values(name), [])
    return Preset(name, summary, needs or "nothing but two CPU cores", config.model.path, config.training.loss)


def config_from_values(values: Mapping[str, Any], overrides: Iterable[str]) -> RunConfig:
    """The config of values with `key.path=value` overrides. Raises ConfigError."""
    changed = dict(values)
    for override in overrides:
        _override(changed, override)
    return validate(changed)


def with_overrides(config: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """A run's config with `key.path=value` overrides. Protected files, the only paths that a run with history may
    change, are relative to the working directory. Raises ConfigError."""
    changed = config_from_values(config.model_dump(mode="json"), overrides)
    return changed.model_copy(update={"novelty": absolute_paths(changed, Path.cwd()).novelty})


def validate(values: Mapping[str, Any]) -> RunConfig:
    """Raises ConfigError that lists every problem, with the nearest valid name for an unknown key."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        problems = [
            _problem(detail["loc"], detail["type"], detail["msg"], detail.get("input")) for detail in error.errors()
        ]
        places = [
            KeyProblem(_key(detail["loc"], values), told, repr(detail.get("input"))[:80])
            for detail, (_, told, _) in zip(error.errors(), problems, strict=True)
        ]
        raise ConfigError(
            "the config does not validate:\n  "
            + "\n  ".join((f"{where}: {told}" if where else told) + given for where, told, given in problems),
            next_move="Every key is explained by: eva config --reference",
            places=places,
        ) from error


def config_hash(config: RunConfig) -> str:
    """SHA-256 of the canonical JSON of a config."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def absolute_paths(config: RunConfig, folder: Path) -> RunConfig:
    """File paths relative to `folder` made absolute, and `model.path` where it names an existing folder."""

    def absolute(path: str | None) -> str | None:
        return None if path is None else str((folder / Path(path).expanduser()).resolve())

    prompts = config.prompts.model_copy(
        update={"path": absolute(config.prompts.path), "dataset": _local(config.prompts.dataset, folder)}
    )
    sets = {name: str((folder / path).resolve()) for name, path in config.evaluation.sets.items()}
    baseline = config.evaluation.baseline
    if isinstance(baseline, dict):
        baseline = {
            name: path if path == INITIAL else str((folder / path).resolve()) for name, path in baseline.items()
        }
    novelty = config.novelty.model_copy(
        update={
            "protected": [str((folder / path).resolve()) for path in config.novelty.protected],
            "embedding_model": absolute(config.novelty.embedding_model),
        }
    )
    looks_local = (folder / config.model.path).is_dir() or config.model.path.startswith((".", "/", "~"))
    model = config.model.model_copy(
        update={
            "path": str((folder / Path(config.model.path).expanduser()).resolve())
            if looks_local
            else config.model.path,
            "chat_template": absolute(config.model.chat_template),
        }
    )
    return config.model_copy(
        update={
            "prompts": prompts,
            "novelty": novelty,
            "model": model,
            "evaluation": config.evaluation.model_copy(update={"sets": sets, "baseline": baseline}),
        }
    )


def _local(name: str | None, folder: Path) -> str | None:
    """A name that is a folder or looks like one, as an absolute path; any other as it is."""
    if name is None or not ((folder / name).is_dir() or name.startswith((".", "/", "~"))):
        return name
    return str((folder / Path(name).expanduser()).resolve())


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", expected="a YAML file in UTF-8") from error


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        values: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML: {error}", next_move="Check indentation and quotes there") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{source} holds {type(values).__name__}", expected="keys such as prompts:, model:, reward:")
    return cast(dict[str, Any], values)


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r}", expected="key.path=value", next_move="E.g. --set training.beta=0.1")
    *sections, last = key.split(".")
    for section in sections:
        inner = values.get(section)
        values[section] = inner = dict(cast(dict[str, Any], inner)) if isinstance(inner, dict) else {}
        values = inner
    value: Any = yaml.safe_load(text)
    if isinstance(value, str):
        # YAML reads 1e-4 as text: a researcher means the number.
        with suppress(ValueError):
            value = float(value)
    values[last] = value


def _problem(loc: tuple[int | str, ...], kind: str, message: str, given: object) -> tuple[str, str, str]:
    """Where it is, what is wrong, and what was given, if that says more."""
    where = ".".join(str(part) for part in loc)
    if kind == "extra_forbidden":
        names = _names_at(loc[:-1])
        close = difflib.get_close_matches(str(loc[-1]), names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known there: {', '.join(names)}"
        return where, f"unknown key; {hint}", ""
    if kind == "missing":
        return where, "missing", ""
    told = message.removeprefix("Value error, ")
    # a rule over several keys names them itself
    return where, told, "" if isinstance(given, dict) else f" (given {str(given)[:80]!r})"


def _key(loc: tuple[int | str, ...], values: Mapping[str, Any]) -> str:
    """The dotted key at a path of pydantic's, which names the kind of a section that is one of several, too."""
    key: list[str] = []
    here: Any = values
    for place, part in enumerate(loc):
        within = isinstance(here, dict) and part in here
        if within or isinstance(part, int) or place == len(loc) - 1:
            key.append(str(part))
        if within:
            here = cast("dict[int | str, Any]", here)[part]
        elif isinstance(part, int) and isinstance(here, list):
            here = cast("list[Any]", here)[part]
    return ".".join(key)


def _names_at(loc: tuple[int | str, ...]) -> list[str]:
    """Keys of the section at a path; a union is resolved by the `kind` in the path."""
    section: type[BaseModel] = RunConfig
    members: list[type[BaseModel]] = []
    for part in map(str, loc):
        if part in section.model_fields and not members:
            members = _sections(section.model_fields[part].annotation)
        matching = [member for member in members if _kind(member) == part]
        if len(members) == 1 or matching:
            section, members = (matching or members)[0], []
    return [*section.model_fields]


def _kind(section: type[BaseModel]) -> str | None:
    field = section.model_fields.get("kind")
    return None if field is None else str(get_args(field.annotation)[0])


def _sections(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for inner in get_args(annotation) for section in _sections(inner)]
