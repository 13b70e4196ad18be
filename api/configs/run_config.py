"""The config of a run as text, and how it differs from its parent's or from a preset."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated

from fastapi import APIRouter, Query

from api.runs.requests import ChangedKey
from api.schema import RunName, Schema
from api.service import Here, secrets_in
from eva.config import RunConfig
from eva.config.changes import Change, config_differences
from eva.config.files import load_config, presets
from eva.config.yaml_text import non_default_values, to_yaml
from eva.errors import InputError
from eva.runtime.redaction import redact_json
from store.runs.runs import find_run, get_run

router = APIRouter(prefix="/v1/runs/{run}/config", tags=["configs"])

PARENT = "parent"
_OF_EACH_RUN = ("name", "seed")
"""Keys that say nothing about which preset a run comes from."""


class RunConfigText(Schema):
    """A run's config as text, and compared with another one."""

    text: str
    """The keys that are not at their defaults, as YAML. Credentials read `***`."""
    against: str
    """What it is compared with: `parent`, the run that it was forked from, or the name of a preset."""
    choices: list[str]
    """What it can be compared with."""
    changes: list[ChangedKey]
    """The keys that differ: `before` is the value there, `after` the run's."""


@router.get("")
def get_run_config(
    here: Here,
    run: RunName,
    against: Annotated[
        str | None,
        Query(
            max_length=100,
            description="`parent` or a preset to compare with. Without it: the parent of a fork, else the preset with "
            "the fewest differences.",
        ),
    ] = None,
) -> RunConfigText:
    """The config of a run as YAML, and what it changes in its parent's config or in a preset."""
    with here.reading() as conn:
        row = find_run(conn, run)
        parent = None if row.forked_from is None else get_run(conn, row.forked_from)
    config = RunConfig.model_validate(row.config)
    choices = [*([] if parent is None else [PARENT]), *presets()]
    chosen = against or (PARENT if parent is not None else _nearest(config))
    if chosen not in choices:
        raise InputError(f"against: {chosen!r}", expected=" or ".join(choices), next_move="Choose one of these")
    secrets = secrets_in(row)
    if parent is not None and chosen == PARENT:
        other, secrets = RunConfig.model_validate(parent.config), secrets | secrets_in(parent)
    else:
        other = _preset(chosen)
    return RunConfigText(
        text=to_yaml(redact_json(non_default_values(config), secrets)),
        against=chosen,
        choices=choices,
        changes=[
            ChangedKey(
                key=change.key, before=redact_json(change.kept, secrets), after=redact_json(change.given, secrets)
            )
            for change in _differences(other, config)
        ],
    )


@cache
def _preset(name: str) -> RunConfig:
    return load_config(name)


def _nearest(config: RunConfig) -> str:
    return min(presets(), key=lambda name: len(_differences(_preset(name), config)))


def _differences(before: RunConfig, after: RunConfig) -> Sequence[Change]:
    return [change for change in config_differences(before, after) if change.key not in _OF_EACH_RUN]
