"""A config as the text that a person edits: read, changed key by key with its comments kept, or written anew."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, cast

import yaml
from pydantic import BaseModel

from eva.errors import ConfigError, KeyProblem

DEEPEST = 32
"""Sections within sections: more than any config has, and less than a parser minds."""
_WIDTH = 4096


def parse_yaml(text: str) -> dict[str, Any]:
    """The values of a YAML text, such as JSON can say them. Raises ConfigError."""
    try:
        _require_plain(text)
        values: Any = json.loads(json.dumps(yaml.safe_load(text), default=str, allow_nan=False))
        text.encode()
        json.dumps(values, ensure_ascii=False).encode()
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"the config is not YAML: {error}", next_move="Check indentation and quotes there") from error
    if values is not None and not isinstance(values, dict):
        raise ConfigError(
            f"the config holds {type(values).__name__}", expected="keys such as prompts:, model:, reward:"
        )
    return cast("dict[str, Any]", values or {})


def edit_yaml(text: str, changes: Mapping[str, Any]) -> str:
    """The text with other values at dotted keys; None takes a key away. What else stands there stays, comments too.

    Raises ConfigError.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    parse_yaml(text)
    keeping = YAML(typ="rt")
    keeping.preserve_quotes = True
    keeping.width = _WIDTH
    try:
        values: Any = keeping.load(text)  # pyright: ignore[reportUnknownMemberType] - ruamel.yaml is partly untyped
    except (YAMLError, ValueError) as error:
        raise ConfigError(f"the config is not YAML: {error}", next_move="Check indentation and quotes there") from error
    values = {} if values is None else values
    for key, value in changes.items():
        _set(values, key, value)
    written = io.StringIO()
    keeping.dump(values, written)  # pyright: ignore[reportUnknownMemberType] - as above
    return written.getvalue()


def non_default_values(section: BaseModel) -> dict[str, Any]:
    """What a config, or a section of one, says that its defaults do not."""
    told: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value: Any = getattr(section, name)
        # a section that is one of several is known by its kind
        if field.is_required() or name == "kind" or value != field.get_default(call_default_factory=True):
            told[name] = (
                non_default_values(value) if isinstance(value, BaseModel) else section.model_dump(mode="json")[name]
            )
    return told


def to_yaml(values: Mapping[str, Any]) -> str:
    """Values of a config as YAML."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=_WIDTH)


def _require_plain(text: str) -> None:
    """Raises ConfigError for what a small text can make large: aliases, and deep nesting."""
    depth = 0
    for event in cast("Iterator[yaml.Event]", yaml.parse(text)):  # pyright: ignore[reportUnknownMemberType] - untyped
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1
            raise ConfigError(
                f"line {line} of the config has an alias (*{event.anchor})",
                expected="values themselves",
                next_move="Write the value out there",
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ConfigError(
                f"the config is nested deeper than {DEEPEST} levels",
                expected=f"at most {DEEPEST}",
                next_move="Every key is explained by: eva config --reference",
            )


def _set(values: MutableMapping[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for depth, section in enumerate(sections, 1):
        inner: Any = values.get(section)
        if inner is None:
            if value is None:
                return
            inner = values[section] = {}
        if not isinstance(inner, MutableMapping):
            above = ".".join(sections[:depth])
            raise ConfigError(
                f"{key} cannot be set: {above} is {str(inner)[:80]!r}",
                expected="a section there",
                places=[KeyProblem(above, "a section", repr(str(inner)[:80]))],
            )
        values = cast("MutableMapping[str, Any]", inner)
    if value is None:
        values.pop(last, None)
    else:
        values[last] = value
