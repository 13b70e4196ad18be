"""What lists of runs are sorted by: a column, a figure, or a key of the config, as JSON values; and filters by keys."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, cast, func, literal, null, or_
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH

from eva.errors import InputError
from store.postgres.values import clean_json, clean_text
from store.schema.tables import runs
from store.views.run_lists.outcomes import BEST_HELDOUT, NEWEST_BATCH, NEWEST_HELDOUT
from store.views.run_lists.spending import own_cost, own_seconds, own_steps, own_tokens

_JSON_NULL = literal(None, JSONB(none_as_null=False))
_OF_SET = '$[*] ? (@.mode == "greedy" && @.split == $split).'
_HELDOUT = {
    "heldout": (NEWEST_HELDOUT, "accuracy"),
    "change": (NEWEST_HELDOUT, "change"),
    "best": (BEST_HELDOUT, "accuracy"),
}


def sort_value(by: str) -> ColumnElement[Any]:
    """Part of a query of runs: the value of this order, NULL where a run has none. Raises InputError if it is unknown.

    `created`, `name`, `status`, `iteration`, `prompts`, `seed`; what it has spent: `seconds`, `tokens`, `steps`,
    `cost`; `reward` and `info` of the newest batch; `heldout.SET` and `change.SET`, the newest policy's greedy success
    on a held-out set and its change since the initial model; `best.SET`, that of its best policy; `config.KEY`.
    """
    columns: dict[str, ColumnElement[Any]] = {
        "created": runs.c.id,
        "name": runs.c.name,
        "status": runs.c.status,
        "iteration": runs.c.iteration,
        "prompts": runs.c.prompt_count,
        "seed": runs.c.seed,
        "seconds": own_seconds(),
        "tokens": own_tokens(),
        "steps": own_steps(),
        "cost": own_cost(),
    }
    kind, _, name = clean_text(by).partition(".")
    if by in columns:
        return func.to_jsonb(columns[by], type_=JSONB)
    if by in ("reward", "info"):
        return func.nullif(NEWEST_BATCH[f"{by}_mean"], _JSON_NULL, type_=JSONB)
    if kind in _HELDOUT and name:
        scores, figure = _HELDOUT[kind]
        path = cast(_OF_SET + figure, JSONPATH)
        found = func.jsonb_path_query_first(scores, path, literal({"split": name}, JSONB), type_=JSONB)
        return func.nullif(found, _JSON_NULL, type_=JSONB)
    if kind == "config" and name:
        return config_value(name)
    raise InputError(
        f"sort: {by!r}",
        expected=f"{', '.join(columns)}, reward, info, heldout.SET, change.SET, best.SET or config.KEY",
        next_move="Choose one of these; a minus in front puts the largest first",
    )


def config_value(key: str) -> ColumnElement[Any]:
    """Part of a query of runs: the value of a dotted key of the config, NULL where it is missing or null."""
    return func.nullif(runs.c.config[tuple(clean_text(key).split("."))], _JSON_NULL, type_=JSONB)


def config_is(condition: str) -> ColumnElement[bool]:
    """Part of a query of runs: whether a key of the config has a value, as `training.loss=rloo`.

    The value is JSON (`0.1`, `true`, `"0.1"`, `[1, 2]`) or, if it is not, a text; `null` is a key without a value.
    Raises InputError for a condition without a key.
    """
    key, equals, text = condition.partition("=")
    if not key or not equals:
        raise InputError(
            f"config: {condition[:100]!r}",
            expected="a key and its value, such as training.loss=rloo",
            next_move="Write it as KEY=VALUE",
        )
    value = config_value(key)
    if text == "null":
        return value.is_(null())
    as_text = value == literal(text, JSONB)
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return as_text
    return or_(as_text, value == literal(clean_json(parsed), JSONB(none_as_null=False)))
