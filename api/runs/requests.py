"""What clients send about runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from api.schema import LARGEST_SMALL, Schema

Stem = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Tags = Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(max_length=50)]
Note = Annotated[str, Field(max_length=10_000)]
Overrides = Annotated[list[Annotated[str, Field(max_length=2000)]], Field(max_length=200)]


class RestartPolicy(Schema):
    """What happens when a driver dies without a word."""

    times: int = Field(default=0, ge=0, le=100)
    """So many drivers that died are replaced; then the run has failed. A driver that reports a failure is not."""
    backoff_s: float = Field(default=10, ge=0, le=3600)
    """Seconds before the first replacement; twice as many before each further one, 600 at most."""


class Launched(Schema):
    """What every run that is launched may be given."""

    name: Stem | None = None
    """Stem of the run's name; short for the override `name=STEM`."""
    overrides: Overrides = Field(default_factory=list)
    """Keys to change, each as `training.beta=0.1`."""
    tags: Tags = Field(default_factory=list)
    """Your labels."""
    note: Note = ""
    """Your words."""
    restart: RestartPolicy = RestartPolicy()
    """What happens when a driver dies."""

    @property
    def all_overrides(self) -> list[str]:
        """The overrides, the name among them."""
        return [*self.overrides, *([f"name={self.name}"] if self.name else [])]


class NewRun(Launched):
    """A run to be launched: the config of a preset or of a run, or one of your own, changed by overrides."""

    preset: str | None = Field(default=None, max_length=100)
    """A config that comes with eva (`/v1/presets`)."""
    run: str | None = Field(default=None, max_length=200)
    """Instead of a preset: a run, whose config is taken."""
    config: dict[str, Any] | None = None
    """Instead of theirs: the config, with the keys of a config file. Files, models, addresses, functions and secrets
    are given by the names that the service allows, or as the preset or run beside it has them."""

    @model_validator(mode="after")
    def _one_source(self) -> NewRun:
        if self.preset is not None and self.run is not None:
            raise ValueError("give either `preset` or `run`")
        if self.preset is None and self.run is None and self.config is None:
            raise ValueError("give a `preset`, a `run` or a `config`")
        return self


class NewFork(Launched):
    """A run that shares another's history."""

    at: int = Field(ge=0, le=LARGEST_SMALL)
    """The first iteration that it plays itself."""
    config: dict[str, Any] | None = None
    """Instead of the other run's: the whole config, to which overrides are applied."""


class Going(Schema):
    """How a run goes on."""

    overrides: Overrides = Field(default_factory=list)
    """Keys to change, each as `fleet.engines=2`; needs `accept_changes`."""
    accept_changes: bool = False
    """Go on although config or code differ; the run's events tell of it."""
    restart: RestartPolicy | None = None
    """Another policy than before."""


AS_IT_IS = Going()


class NewWords(Schema):
    """What to change; what is left out or null stays."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")] | None = None
    """Another name for a run that nobody plays and that does not wait for a driver."""
    tags: Tags | None = None
    """All labels."""
    note: Note | None = None
    """Your words."""


class Rehearsal(Schema):
    """What a run would be; nothing was stored."""

    config: Mapping[str, Any]
    """The config in full."""
    estimate: list[str]
    """What it would cost, counts at most."""
    checks: list[str]
    """What was checked."""


class ChangedKey(Schema):
    """A key of the config that differs."""

    key: str
    """Its path, such as `training.beta`."""
    before: Any
    """Its value in the run that is forked; null where it has none."""
    after: Any
    """Its value in the fork; null where it has none."""


class ForkRehearsal(Schema):
    """What a fork would be; nothing was stored."""

    config: Mapping[str, Any]
    """The config in full."""
    changes: list[ChangedKey]
    """The keys in which it differs from the run that is forked."""
    checks: list[str]
    """What was checked."""
