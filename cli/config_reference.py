"""The config reference, generated from the config classes, and a config written out in full."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from eva.config import RunConfig


@dataclass(frozen=True, slots=True)
class KeyText:
    """One key of the config. `section` is the path of its section, "" for the top level."""

    section: str
    name: str
    type: str
    default: str
    text: str

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}" if self.section else self.name


@dataclass(frozen=True, slots=True)
class SectionText:
    """A section of the config: its path, what it is for, and its keys."""

    path: str
    text: str
    keys: tuple[KeyText, ...]


def as_yaml(config: RunConfig) -> str:
    """The config as YAML for `eva run`, with every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def sections() -> list[SectionText]:
    """Every section in the order of the config; a section with kinds appears once per kind."""
    return [*_walk(RunConfig, "")]


def markdown() -> str:
    """The reference as the page docs/reference/config.md."""
    lines = [
        "# Config reference",
        "",
        "<!-- Made by `eva config --reference --markdown`; a test holds that it is current. -->",
        "",
        "A run's config is a YAML file (or a preset). Unknown keys are errors.",
        "Any key can be set on the command line: `--set training.beta=0.1`.",
        "",
    ]
    for section in sections():
        lines += [
            f"## {section.path or 'Top level'}",
            "",
            section.text,
            "",
            "| key | type | default | |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| `{key.name}` | {_cell(key.type)} | {_cell(key.default)} | {_cell(key.text)} |" for key in section.keys
        ]
        lines.append("")
    return "\n".join(lines)


def plain_text() -> str:
    """The reference as plain text, for a terminal."""
    lines: list[str] = []
    for section in sections():
        lines += [f"{section.path or 'top level'}: {section.text}", ""]
        for key in section.keys:
            lines += [
                f"  {key.path}: {key.type}" + (f" = {key.default}" if key.default else ""),
                f"      {key.text}",
            ]
        lines.append("")
    return "\n".join(lines)


def _walk(section: type[BaseModel], path: str, kind: str = "") -> Iterator[SectionText]:
    keys: list[KeyText] = []
    inner: list[tuple[str, list[type[BaseModel]]]] = []
    for name, field in section.model_fields.items():
        if found := _models(field.annotation):
            inner.append((f"{path}.{name}" if path else name, found))
        else:
            listed = _listed(field.annotation)
            inner += [(f"{path}.{name}[]" if path else f"{name}[]", listed)] if listed else []
            shown = "list, each of a kind below" if listed else _type(field)
            keys.append(KeyText(path, name, shown, _default(field), _one_paragraph(field.description)))
    title = f"{path} (kind: {kind})" if kind else path
    yield SectionText(title, _one_paragraph(section.__doc__), tuple(keys))
    for where, models in inner:
        for model in models:
            yield from _walk(model, where, _kind(model) if len(models) > 1 else "")


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return [model for inner in get_args(annotation) for model in _models(inner)]
    return []


def _listed(annotation: Any) -> list[type[BaseModel]]:
    """The classes of a list's items, if there is more than one kind of item."""
    kinds = _models(get_args(annotation)[0]) if get_origin(annotation) is list else []
    return kinds if len(kinds) > 1 else []


def _kind(model: type[BaseModel]) -> str:
    return str(get_args(model.model_fields["kind"].annotation)[0])


def _type(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    names = cast("dict[str, Any]", extra).get("enum") if isinstance(extra, dict) else None
    shown = " or ".join("unset" if name is None else str(name) for name in names) if names else _name(field.annotation)
    bounds = [text for item in field.metadata if (text := _bound(item))]
    return f"{shown}, {', '.join(bounds)}" if bounds else shown


def _name(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (Union, types.UnionType):
        return " or ".join("unset" if member is type(None) else _name(member) for member in inner)
    if origin is dict:
        return "names with " + _name(inner[1])
    if origin in (list, tuple):
        return f"list of {_name(inner[0])}s"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.__name__.lower()
    plain: dict[object, str] = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    other = cast("object", annotation)
    return plain.get(other, str(other))


def _bound(item: Any) -> str:
    for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if (value := getattr(item, attribute, None)) is not None:
            # 2**63 is the database's limit and reads better as a power
            return f"{sign} {'2^63' if value == 2**63 else value}"
    return ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value == {} else str(value)


def _one_paragraph(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
