"""Configs for editing: their JSON schema, and their text with some keys changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, model_validator

from api.schema import Schema
from api.service import Here, Service, secrets_in
from eva.config import RunConfig
from eva.config.files import preset_text
from eva.config.yaml_text import edit_yaml, non_default_values, parse_yaml, to_yaml
from eva.runtime.redaction import redact_json
from store.runs.runs import find_run

router = APIRouter(prefix="/v1/configs", tags=["configs"])

LONGEST = 100_000

ConfigKey = Annotated[str, Field(min_length=1, max_length=200)]


class Draft(Schema):
    """A config, as text or by its preset or run, and what to change in it."""

    text: str | None = Field(default=None, max_length=LONGEST)
    """Your own YAML."""
    preset: str | None = Field(default=None, max_length=100)
    """Instead: a preset, whose text is used."""
    run: str | None = Field(default=None, max_length=200)
    """Instead: a run, whose config is used. Credentials read `***`."""
    changes: Annotated[dict[ConfigKey, Any], Field(max_length=200)] = Field(default_factory=dict)
    """Values by dotted keys, such as `training.beta`. Null removes a key, so that its default applies."""

    @model_validator(mode="after")
    def _one_source(self) -> Draft:
        if sum(source is not None for source in (self.text, self.preset, self.run)) != 1:
            raise ValueError("give one of `text`, `preset`, `run`")
        return self


class ConfigText(Schema):
    """A config as text and as values. It was parsed, not validated."""

    text: str
    """YAML, with its comments."""
    config: Mapping[str, Any]
    """The values in the text."""


@router.get("/schema")
def get_config_schema() -> dict[str, Any]:
    """The JSON schema of a config, with defaults, bounds, and what each key is for."""
    return RunConfig.model_json_schema()


@router.post("")
def edit_config(here: Here, draft: Draft) -> ConfigText:
    """Parse a config and change keys in it. Nothing is stored; `POST /v1/runs?dry_run=true` validates it."""
    text = edit_yaml(_text(here, draft), draft.changes) if draft.changes else _text(here, draft)
    return ConfigText(text=text, config=parse_yaml(text))


def _text(here: Service, draft: Draft) -> str:
    if draft.preset is not None:
        return preset_text(draft.preset)
    if draft.run is None:
        return draft.text or ""
    with here.reading() as conn:
        row = find_run(conn, draft.run)
    return to_yaml(redact_json(non_default_values(RunConfig.model_validate(row.config)), secrets_in(row)))
