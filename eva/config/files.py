"""Reads a run's config from a YAML file or preset, with `--set` overrides, and validates it."""

from __future__ import annotations

import difflib
import hashlib
import json
import reprlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError

from eva.config import RunConfig
from eva.config.evaluation import INITIAL
from eva.config.yaml_text import load_yaml
from eva.errors import ConfigError, KeyProblem

MOST_PROBLEMS, MOST_CHARS = 20, 200
"""Limits of what is said about an invalid config: its problems, and the characters of a key."""


def presets() -> list[str]:
    """Returns the names of the configs that come with eva."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in resources.files("eva.presets").iterdir()
        if entry.name.endswith(".yaml")
    )


def load_config(source: str, overrides: Iterable[str] = ()) -> RunConfig:
    """Returns the validated config of a YAML file or preset, with `key.path=value` overrides.

    Relative paths in it are resolved against the file's folder. Raises ConfigError.
    """
    path = Path(source)
    values = config_values(source)
    folder = path.resolve().parent if path.is_file() else Path.cwd()
    return absolute_paths(config_from_values(values, overrides), folder)


def config_values(source: str) -> dict[str, Any]:
    """Returns the values of a YAML file or preset, not validated. Raises ConfigError."""
    path = Path(source)
    if path.is_file():
        return _parse(_read(path), source)
    return preset_values(source)


def preset_values(name: str) -> dict[str, Any]:
    """Returns the values of a preset. Raises ConfigError if there is none of this name."""
    return _parse(preset_text(name), name)


def preset_text(name: str) -> str:
    """Returns the YAML text of a preset. Raises ConfigError if there is none of this name."""
    if name in presets():
        return (resources.files("eva.presets") / f"{name}.yaml").read_text("utf-8")
    close = difflib.get_close_matches(name, presets(), 1)
    raise ConfigError(
        f"there is no config file {name!r}",
        expected=f"a YAML file or a preset ({', '.join(presets())})",
        next_move=f"Did you mean {close[0]!r}?" if close else "Check the path",
    )


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset's purpose, model and loss; `needs` lists data, keys, GPUs and disk."""

    name: str
    summary: str
    needs: str
    model: str
    loss: str


def read_preset(name: str) -> Preset:
    """Returns a preset's description, from the comment at its top, and its model and loss."""
    text = (resources.files("eva.presets") / f"{name}.yaml").read_text("utf-8")
    comment = [line.removeprefix("#").strip() for line in text.partition("name:")[0].splitlines()]
    summary, _, needs = " ".join(comment).partition(" Needs: ")
    config = config_from_values(preset_values(name), [])
    return Preset(name, summary, needs or "only two CPU cores", config.model.path, config.training.loss)


def config_from_values(values: Mapping[str, Any], overrides: Iterable[str]) -> RunConfig:
    """Returns the validated config for these values, with `key.path=value` overrides. Raises ConfigError."""
    changed = dict(values)
    for override in overrides:
        _override(changed, override)
    return validate(changed)


def with_overrides(config: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """Returns a run's config with `key.path=value` overrides. Raises ConfigError.

    `novelty.protected` holds the only paths that may change after a run has begun; they are relative to the working
    directory.
    """
    changed = config_from_values(config.model_dump(mode="json"), overrides)
    return changed.model_copy(update={"novelty": absolute_paths(changed, Path.cwd()).novelty})


def validate(values: Mapping[str, Any]) -> RunConfig:
    """Validates the values of a config.

    Raises ConfigError, which lists every problem, with the nearest valid name for an unknown key.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        shown = details[:MOST_PROBLEMS]
        problems = [_problem(detail["loc"], detail["type"], detail["msg"], detail.get("input")) for detail in shown]
        places = [
            KeyProblem(_key(detail["loc"], values)[:MOST_CHARS], message, _brief(detail.get("input")))
            for detail, (_, message, _) in zip(shown, problems, strict=True)
        ]
        lines = [(f"{where}: {message}" if where else message) + given for where, message, given in problems]
        if len(details) > len(shown):
            lines.append(f"and {len(details) - len(shown):,} more problems")
        raise ConfigError(
            "the config is not valid:\n  " + "\n  ".join(lines),
            next_move="`eva config --reference` explains every key",
            places=places,
        ) from error


def config_hash(config: RunConfig) -> str:
    """Returns the SHA-256 of a config's canonical JSON."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def absolute_paths(config: RunConfig, folder: Path) -> RunConfig:
    """Makes file paths relative to `folder` absolute, and a model's path too if it names an existing folder."""

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
    evolving = config.evolving
    if (creator := evolving.creator) is not None:
        here = creator.model_copy(update={"model": _local(creator.model, folder)})
        evolving = evolving.model_copy(update={"evolver": here})
    return config.model_copy(
        update={
            "prompts": prompts,
            "evolving": evolving,
            "novelty": novelty,
            "model": model,
            "categories": config.categories
            and config.categories.model_copy(update={"model": _local(config.categories.model, folder)}),
            "evaluation": config.evaluation.model_copy(update={"sets": sets, "baseline": baseline}),
        }
    )


def _local(name: str | None, folder: Path) -> str | None:
    """Returns the absolute path of a name that is a folder or looks like one, and any other name unchanged."""
    if name is None or not ((folder / name).is_dir() or name.startswith((".", "/", "~"))):
        return name
    return str((folder / Path(name).expanduser()).resolve())


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", expected="a YAML file in UTF-8") from error


def _parse(text: str, source: str) -> dict[str, Any]:
    values = load_yaml(text, source, aliases=True)
    if not isinstance(values, dict):
        raise ConfigError(
            f"{source} contains {type(values).__name__} instead of keys",
            expected="keys such as prompts:, model:, reward:",
        )
    return cast(dict[str, Any], values)


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(
            f"--set was given {override!r}",
            expected="key.path=value",
            next_move="Write it like --set training.beta=0.1",
        )
    *sections, last = key.split(".")
    for section in sections:
        inner = values.get(section)
        values[section] = inner = dict(cast(dict[str, Any], inner)) if isinstance(inner, dict) else {}
        values = inner
    value = load_yaml(text, f"the value of --set {key[:100]}")
    if isinstance(value, str):
        # YAML reads 1e-4 as text, but a researcher means the number
        with suppress(ValueError):
            value = float(value)
    values[last] = value


def _problem(loc: tuple[int | str, ...], kind: str, message: str, given: object) -> tuple[str, str, str]:
    """Returns where a problem is, what is wrong, and what was given if that adds something."""
    where = ".".join(str(part)[:MOST_CHARS] for part in loc)
    if kind == "extra_forbidden":
        names = _names_at(loc[:-1])
        close = difflib.get_close_matches(str(loc[-1])[:MOST_CHARS], names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(names)}"
        # not "unknown key": behind a name such as api_key, redaction would take the word for a secret
        return where, f"no such key; {hint}", ""
    if kind == "missing":
        return where, "missing", ""
    # a rule about several keys names them itself
    return (
        where,
        message.removeprefix("Value error, "),
        "" if isinstance(given, dict) else f" (given {str(given)[:80]!r})",
    )


def _brief(value: object) -> str:
    """Returns the beginning of a value as text."""
    return reprlib.repr(value)[:80]


def _key(loc: tuple[int | str, ...], values: Mapping[str, Any]) -> str:
    """Returns the dotted key at a pydantic path, which also contains the kind of a section that is one of several."""
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
    """Returns the keys of the section at a path; the `kind` in the path selects the member of a union."""
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
