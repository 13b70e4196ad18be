"""Schemas of the list of studies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from fastapi import Path

from api.schema import Schema
from eva.studies.study import StudyConfig
from store.runs.studies import StudyCount
from store.runs.study_launches import StudyLaunch

StudyName = Annotated[
    str,
    Path(min_length=1, max_length=200, pattern="^[^/:]+$", description="A study's name."),
]


class StudyDriver(Schema):
    """How a service plays a study."""

    state: Literal["queued", "taken", "submitted", "ended"]
    """`queued`: waits for its turn, one study at a time; `taken`, `submitted`: has a Ray job; `ended`: has none now."""
    attempt: int
    """How many jobs it has had."""
    job: str | None
    """The latest Ray job."""
    message: str | None
    """What it waits for, or why its job ended before all runs were finished."""


class ListedStudy(Schema):
    """A study in the list."""

    name: str
    """Its name."""
    question: str
    """What it is to find out."""
    figure: str
    """The held-out figure that decides."""
    arms: list[str]
    """Its arms; without `compare` in its config, the others are compared with the first."""
    seeds: int
    """How many training seeds."""
    models: int
    """How many given models."""
    planned: int
    """Runs that it consists of."""
    counts: Mapping[str, int]
    """Its runs by status."""
    created_at: datetime
    """When it was first started."""
    driver: StudyDriver | None
    """How a service plays it; null if it was only played by `eva study`."""


class StudyPage(Schema):
    """Studies, newest first."""

    total: int
    """How many studies there are, on all pages."""
    items: list[ListedStudy]
    """The studies of this page."""
    next: str | None
    """The `cursor` of the next page; null on the last page."""


def listed(count: StudyCount, launch: StudyLaunch | None) -> ListedStudy:
    """A study as the list shows it."""
    config = StudyConfig.model_validate(count.study.config)
    return ListedStudy(
        name=count.study.name,
        question=config.question,
        figure=config.outcome.figure,
        arms=[*config.arms],
        seeds=len(config.seed_list),
        models=max(1, len(config.models)),
        planned=config.run_count,
        counts=count.by_status,
        created_at=count.study.created_at,
        driver=None if launch is None else StudyDriver.model_validate(launch),
    )
