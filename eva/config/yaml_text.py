"""A config as text that a person edits: parses it, changes single keys without losing comments, writes it."""

from __future__ import annotations

import io
import json
from collections.abc import Hashable, Iterator, Mapping, MutableMapping
from typing import Any, cast

import yaml
from pydantic import BaseModel

from eva.errors import ConfigError, KeyProblem

DEEPEST = 32
"""Most levels of nesting: more than any config needs, fewer than would trouble a parser."""
MOST_NODES = 20_000
"""Most values of a text whose aliases are written out."""
_WIDTH = 4096


def parse_yaml(text: str) -> dict[str, Any]:
    """Returns the values of a YAML text, as far as JSON can express them. Raises ConfigError."""
    values = load_yaml(text, "the config")
    try:
        values = json.loads(json.dumps(values, default=str, allow_nan=False))
        text.encode()
        json.dumps(values, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _not_yaml("the config", error) from error
    if values is not None and not isinstance(values, dict):
        raise ConfigError(
            f"the config contains {type(values).__name__} instead of keys",
            expected="keys such as prompts:, model:, reward:",
        )
    return cast("dict[str, Any]", values or {})


def load_yaml(text: str, source: str, *, aliases: bool = False) -> Any:
    """Returns the value of a YAML text. A key that is given twice is an error, and so is a text that grows when it is
    read: one that is nested too deep, has more than MOST_NODES values, or has aliases where these are not allowed.

    `source` is what errors call the text. Raises ConfigError.
    """
    try:
        _require_plain(text, source, aliases=aliases)
        loader = _StrictLoader(text)
        try:
            node: yaml.Node | None = loader.get_single_node()  # pyright: ignore[reportUnknownMemberType] - untyped
            if node is None:
                return None
            if aliases and (count := _count_nodes(node, {})) > MOST_NODES:
                raise ConfigError(
                    f"{source} has {count:,} values when its aliases are written out",
                    expected=f"at most {MOST_NODES:,}",
                    next_move="`eva config --reference` explains every key",
                )
            return cast("Any", loader).construct_document(node)
        finally:
            cast("Any", loader).dispose()
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise _not_yaml(source, error) from error


class _StrictLoader(yaml.SafeLoader):
    """Reads YAML as `safe_load` does, and refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key: Any = cast("Any", self).construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue
            line = key_node.start_mark.line + 1
            if key in lines:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"duplicate key {str(key)[:80]!r}, first given in line {lines[key]}",
                    key_node.start_mark,
                )
            lines[key] = line
        return super().construct_mapping(node, deep)


def _count_nodes(node: yaml.Node, counted: dict[int, int]) -> int:
    """Returns how many values a node holds when every alias in it is written out."""
    if counted.get(id(node)) == 0:
        raise ValueError("a value contains itself by an alias")
    if id(node) not in counted:
        counted[id(node)] = 0
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        counted[id(node)] = 1 + sum(_count_nodes(part, counted) for part in parts)
    return counted[id(node)]


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
        raise _not_yaml("the config", error) from error
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


def _not_yaml(source: str, error: Exception) -> ConfigError:
    return ConfigError(f"{source} is not valid YAML: {error}", next_move="Check the indentation and quotes there")


def _require_plain(text: str, source: str, *, aliases: bool) -> None:
    """Raises ConfigError for deep nesting and aliases, which make a small text expensive to parse."""
    depth = 0
    for event in cast("Iterator[yaml.Event]", yaml.parse(text)):  # pyright: ignore[reportUnknownMemberType] - untyped
        if isinstance(event, yaml.AliasEvent) and not aliases:
            line = event.start_mark.line + 1
            raise ConfigError(
                f"line {line} of {source} has an alias (*{event.anchor})",
                expected="values without aliases",
                next_move="Write the value out",
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ConfigError(
                f"{source} is nested deeper than {DEEPEST} levels",
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
