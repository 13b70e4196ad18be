"""Groups of runs: their mean success on held-out prompts, and the keys of the config in which runs differ."""

from __future__ import annotations

import json
import os
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.runs.parameters import CreatedAfter, CreatedBefore, Deleted, OfConfig, OfStatus, Tag, Words
from api.schema import Schema
from api.service import Here
from eva.config.changes import flatten
from eva.measures.statistics import mean_interval
from eva.runtime.redaction import redact_json, secrets_of
from store.views.run_lists.pages import GroupedRun, RunFilter, runs_to_group

router = APIRouter(prefix="/v1/groups", tags=["runs"])

MOST_RUNS, MOST_GROUPS = 1000, 200


class SetMean(Schema):
    """The mean over a group's runs of their newest policy's greedy success on a held-out set."""

    split: str
    """The held-out set."""
    runs: int
    """How many runs of the group have evaluated more than one policy on it; the others do not count."""
    mean: float
    """The mean over these runs."""
    low: float | None
    """Lower end of its 95 % interval over runs (Student's t); null for a single run."""
    high: float | None
    """Upper end."""


class RunGroup(Schema):
    """Runs that have a tag, or a value of a key, in common."""

    value: Any
    """The tag or the value; null for the runs that have none."""
    runs: list[str]
    """Their names, newest first."""
    seconds: float
    """The mean of the seconds that their own stages took."""
    heldout: list[SetMean]
    """How they do on held-out prompts."""


class RunGroups(Schema):
    """Groups of runs, the largest first."""

    items: list[RunGroup]
    """The groups; at most 200. A run with several tags is in several."""
    truncated: bool
    """Whether there are more runs, of which only the newest 1,000 were grouped, or more groups."""


class DifferingKey(Schema):
    """A key in which the configs of runs differ."""

    key: str
    """Its path, such as `training.beta`."""
    values: int
    """How many different values it has."""


class DifferingKeys(Schema):
    """The keys in which the configs of runs differ."""

    items: list[DifferingKey]
    """The keys, in alphabetical order."""


@router.get("")
def list_groups(
    here: Here,
    by: Annotated[
        str,
        Query(
            pattern=r"^(tag|config\..+)$", max_length=200, description="`tag`, or `config.KEY` such as `config.seed`."
        ),
    ],
    status: OfStatus = None,
    tag: Tag = None,
    words: Words = None,
    config: OfConfig = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    deleted: Deleted = False,
) -> RunGroups:
    """Runs in groups, with the mean success of their newest policies."""
    wanted = RunFilter(status or (), None, tag, words, created_after, created_before, deleted, config or ())
    with here.reading() as conn:
        rows = runs_to_group(conn, wanted, MOST_RUNS + 1)
    groups: defaultdict[str, list[GroupedRun]] = defaultdict(list)
    for run in rows[:MOST_RUNS]:
        for value in _values(run, by):
            groups[json.dumps(value, sort_keys=True)].append(run)
    ranked = sorted(groups.items(), key=lambda item: (item[0] == "null", -len(item[1]), item[0]))
    return RunGroups(
        items=[_group(json.loads(value), runs) for value, runs in ranked[:MOST_GROUPS]],
        truncated=len(rows) > MOST_RUNS or len(ranked) > MOST_GROUPS,
    )


@router.get("/keys")
def list_differing_keys(here: Here) -> DifferingKeys:
    """The keys of the config that tell runs apart: columns to show, sort and group a list by."""
    with here.reading() as conn:
        rows = runs_to_group(conn, RunFilter(), MOST_RUNS)
    configs = [_config(run) for run in rows]
    keys = sorted({key for config in configs for key in config})
    counts = {key: len({json.dumps(config.get(key), sort_keys=True) for config in configs}) for key in keys}
    return DifferingKeys(items=[DifferingKey(key=key, values=count) for key, count in counts.items() if count > 1])


def _config(run: GroupedRun) -> Mapping[str, Any]:
    return flatten(redact_json(run.config, secrets_of(run.config, os.environ)))


def _values(run: GroupedRun, by: str) -> Sequence[Any]:
    """The values by which a run is grouped: all its tags, or the one value of a key."""
    return run.tags or (None,) if by == "tag" else (_config(run).get(by.removeprefix("config.")),)


def _group(value: Any, runs: Sequence[GroupedRun]) -> RunGroup:
    return RunGroup(
        value=value,
        runs=[run.name for run in runs],
        seconds=statistics.fmean(run.seconds for run in runs),
        heldout=[*_means(runs)],
    )


def _means(runs: Sequence[GroupedRun]) -> Iterator[SetMean]:
    by_set: dict[str, list[float]] = {}
    for run in runs:
        for split, success in run.successes.items():
            by_set.setdefault(split, []).append(success)
    for split, values in sorted(by_set.items()):
        mean = statistics.fmean(values)
        interval = mean_interval(mean, statistics.stdev(values) if len(values) > 1 else None, len(values))
        low, high = interval or (None, None)
        yield SetMean(split=split, runs=len(values), mean=mean, low=low, high=high)
