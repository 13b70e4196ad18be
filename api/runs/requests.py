"""Schemas of requests about runs, and of rehearsals."""

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
    """What happens when a driver dies without reporting a failure."""

    times: int = Field(default=0, ge=0, le=100)
    """How many drivers that died are replaced before the run fails. A driver that reports a failure is not replaced."""
    backoff_s: float = Field(default=10, ge=0, le=3600)
    """Seconds before the first replacement. They double for each further one, up to 600."""


class LaunchOptions(Schema):
    """What every launch may specify."""

    name: Stem | None = None
    """The stem of the run's name; short for the override `name=STEM`."""
    overrides: Overrides = Field(default_factory=list)
    """Keys to change, each as `training.beta=0.1`."""
    tags: Tags = Field(default_factory=list)
    """Your labels."""
    note: Note = ""
    """A note in your own words."""
    restart: RestartPolicy = RestartPolicy()
    """What happens when a driver dies."""

    @property
    def all_overrides(self) -> list[str]:
        """The overrides, with the name as one of them."""
        return [*self.overrides, *([f"name={self.name}"] if self.name else [])]


class NewRun(LaunchOptions):
    """A new run: the config of a preset or of another run, or your own, changed by overrides."""

    preset: str | None = Field(default=None, max_length=100)
    """The preset to start from (`/v1/presets`)."""
    run: str | None = Field(default=None, max_length=200)
    """Instead of a preset: the run whose config to start from."""
    config: dict[str, Any] | None = None
    """Your own config, with the keys of a config file, which replaces that of the preset or run. Files, models,
    addresses, functions and secrets must be names that the service allows, or the values of that preset or run."""

    @model_validator(mode="after")
    def _one_source(self) -> NewRun:
        if self.preset is not None and self.run is not None:
            raise ValueError("give either `preset` or `run`")
        if self.preset is None and self.run is None and self.config is None:
            raise ValueError("give a `preset`, a `run` or a `config`")
        return self


class NewFork(LaunchOptions):
    """A new run that shares the history of another one."""

    at: int = Field(ge=0, le=LARGEST_SMALL)
    """The first iteration that the fork plays itself."""
    config: dict[str, Any] | None = None
    """The whole config, which replaces that of the other run. Overrides are applied to it."""


class ResumeOptions(Schema):
    """How to resume a run."""

    overrides: Overrides = Field(default_factory=list)
    """Keys to change, each as `fleet.engines=2`; requires `accept_changes`."""
    accept_changes: bool = False
    """Resume although config or code differ. The run's events record the changes."""
    restart: RestartPolicy | None = None
    """A new restart policy; null keeps the one that the run has."""


UNCHANGED = ResumeOptions()


class RunChanges(Schema):
    """What to change about a run. Fields that are left out or null stay as they are."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")] | None = None
    """A new name, for a run that no driver plays and that waits for none."""
    tags: Tags | None = None
    """All its labels."""
    note: Note | None = None
    """A note in your own words."""


class PlannedStage(Schema):
    """A stage of an iteration, by arithmetic."""

    name: str
    """What is done."""
    seconds: float
    """How long the iteration waits for it."""
    hidden: float
    """Further seconds that it takes while the training works; they are not part of the iteration's time."""


class RunPlan(Schema):
    """How long a run takes on the service's machines, and how much of their GPUs, by arithmetic."""

    machines: str
    """The machines, in words."""
    iteration_s: float
    """Seconds of an iteration after the warm-up."""
    total_s: float
    """Seconds of the whole run."""
    gpu_hours: float
    """The hours of all GPUs for the whole run: what a cloud counts; 0 without a GPU."""
    stages: list[PlannedStage]
    """What an iteration consists of."""
    disk: int
    """Bytes of all checkpoints that exist at a time."""
    arithmetic: list[str]
    """How memory and seconds come about, one line each."""


class Rehearsal(Schema):
    """What a run would be. Nothing was stored."""

    config: Mapping[str, Any]
    """The config in full."""
    estimate: list[str]
    """What it would cost at most, one line each."""
    checks: list[str]
    """What was checked, one line each."""
    plan: RunPlan | None
    """How long it would take; null where the machines or the dimensions of its model are not known."""


class ChangedKey(Schema):
    """A key of the config that the fork changes."""

    key: str
    """Its path, such as `training.beta`."""
    before: Any
    """Its value in the run that is forked; null if it has none."""
    after: Any
    """Its value in the fork; null if it has none."""


class ForkRehearsal(Schema):
    """What a fork would be. Nothing was stored."""

    config: Mapping[str, Any]
    """The config in full."""
    changes: list[ChangedKey]
    """The keys that differ from the run that is forked."""
    checks: list[str]
    """What was checked, one line each."""
