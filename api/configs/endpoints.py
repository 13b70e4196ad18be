"""Configs as people edit them: what may stand in them, and their text with some keys changed."""

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

Key = Annotated[str, Field(min_length=1, max_length=200)]


class Draft(Schema):
    """The text of a config, or whose text it is, and what to change in it."""

    text: str | None = Field(default=None, max_length=LONGEST)
    """YAML of your own."""
    preset: str | None = Field(default=None, max_length=100)
    """Instead: a preset, whose text is taken."""
    run: str | None = Field(default=None, max_length=200)
    """Instead: a run, whose config is taken; credentials in it read `***`."""
    changes: Annotated[dict[Key, Any], Field(max_length=200)] = Field(default_factory=dict)
    """Values by dotted keys, such as `training.beta`; null takes a key away, so that its default holds."""

    @model_validator(mode="after")
    def _one_source(self) -> Draft:
        if sum(source is not None for source in (self.text, self.preset, self.run)) != 1:
            raise ValueError("give one of `text`, `preset`, `run`")
        return self


class ConfigText(Schema):
    """A config in both its forms; it was read, not validated."""

    text: str
    """YAML, with the comments that it had."""
    config: Mapping[str, Any]
    """What the text says."""


@router.get("/schema")
def get_config_schema() -> dict[str, Any]:
    """What may stand in a config: a JSON schema with defaults, bounds, and what each key is for."""
    return RunConfig.model_json_schema()


@router.post("")
def edit_config(here: Here, draft: Draft) -> ConfigText:
    """Read a config, with keys changed. Nothing is stored; `POST /v1/runs?dry_run=true` validates it."""
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
