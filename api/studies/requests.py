"""The request that launches a study."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from api.schema import Schema


class NewStudy(Schema):
    """A study to play, or to continue: one that comes with eva, or your own."""

    preset: str | None = Field(default=None, max_length=100)
    """A study that comes with eva, such as `study-smoke`."""
    study: dict[str, Any] | None = None
    """Your own study, with the keys of a study's file (docs/studies.md). Its base is a preset or the values of a
    config; files, models, addresses, functions and secrets must be names that the service allows."""

    @model_validator(mode="after")
    def _one_source(self) -> NewStudy:
        if (self.preset is None) == (self.study is None):
            raise ValueError("give either a `preset` or a `study`")
        return self
