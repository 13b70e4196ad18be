"""A config as text that a person edits: parses it, changes single keys without losing comments, writes it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, cast

import yaml
from pydantic import BaseModel

from eva.errors import ConfigError, KeyProblem

DEEPEST = 32
"""Most levels of nesting: more than any config needs, fewer than would trouble a parser."""
_WIDTH = 4096


def parse_yaml(text: str) -> dict[str, Any]:
    """Returns the values of a YAML text, as far as JSON can express them. Raises ConfigError."""
    try:
        _require_plain(text)
        values: Any = json.loads(json.dumps(yaml.safe_load(text), default=str, allow_nan=False))
        text.encode()
        json.dumps(values, ensure_ascii=False).encode()
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise _not_yaml(error) from error
    if values is not None and not isinstance(values, dict):
        raise ConfigError(
            f"the config contains {type(values).__name__} instead of keys",
            expected="keys such as prompts:, model:, reward:",
        )
    return cast("dict[str, Any]", values or {})


def edit_yaml(text: str, changes: Mapping[str, Any]) -> str:
    """Returns the text with other values at dotted keys; None removes a key. Everything else stays, comments too.

    Raises ConfigError.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    parse_yaml(text)
    editor = YAML(typ="rt")
    editor.preserve_quotes = True
    editor.width = _WIDTH
    try:
        values: Any = editor.load(text)  # pyright: ignore[reportUnknownMemberType] - ruamel.yaml is partly untyped
    except (YAMLError, ValueError) as error:
        raise _not_yaml(error) from error
    values = {} if values is None else values
    for key, value in changes.items():
        _set(values, key, value)
    output = io.StringIO()
    editor.dump(values, output)  # pyright: ignore[reportUnknownMemberType] - as above
    return output.getvalue()


def non_default_values(section: BaseModel) -> dict[str, Any]:
    """Returns the values of a config, or of one of its sections, that differ from the defaults."""
    changed: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value: Any = getattr(section, name)
        # a section that is one of several is identified by its kind
        if field.is_required() or name == "kind" or value != field.get_default(call_default_factory=True):
            changed[name] = (
                non_default_values(value) if isinstance(value, BaseModel) else section.model_dump(mode="json")[name]
            )
    return changed


def to_yaml(values: Mapping[str, Any]) -> str:
    """Returns the values of a config as YAML."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=_WIDTH)


def _not_yaml(error: Exception) -> ConfigError:
    return ConfigError(f"the config is not valid YAML: {error}", next_move="Check the indentation and quotes there")


def _require_plain(text: str) -> None:
    """Raises ConfigError for aliases and deep nesting, which make a small text expensive to parse."""
    depth = 0
    for event in cast("Iterator[yaml.Event]", yaml.parse(text)):  # pyright: ignore[reportUnknownMemberType] - untyped
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1
            raise ConfigError(
                f"line {line} of the config has an alias (*{event.anchor})",
                expected="values without aliases",
                next_move="Write the value out",
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ConfigError(
                f"the config is nested deeper than {DEEPEST} levels",
                expected=f"at most {DEEPEST}",
                next_move="`eva config --reference` explains every key",
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
                expected="a section",
                places=[KeyProblem(above, "a section", repr(str(inner)[:80]))],
            )
        values = cast("MutableMapping[str, Any]", inner)
    if value is None:
        values.pop(last, None)
    else:
        values[last] = value
