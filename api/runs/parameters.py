"""The query parameters that select runs, for lists and groups."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from api.runs.schemas import Status
from api.schema import Moment

OfStatus = Annotated[list[Status] | None, Query(description="Only runs with this status; may be repeated.")]
Tag = Annotated[str | None, Query(max_length=200, description="Only runs with this tag.")]
Words = Annotated[
    str | None,
    Query(
        max_length=200,
        description="Only runs that have each of these words somewhere in their name, note or tags, in any case, or "
        "in whose config it is true, as `training.loss=rloo` may be.",
    ),
]
OfConfig = Annotated[
    list[Annotated[str, Query(max_length=500, pattern="^[^=]+=")]] | None,
    Query(
        max_length=20,
        description="Only runs whose config has this value under this key, as `training.loss=rloo`; may be repeated. "
        "The value is JSON, or else a text; `null` is a key without a value.",
    ),
]
CreatedAfter = Annotated[Moment | None, Query(description="Only runs created at this time or later.")]
CreatedBefore = Annotated[Moment | None, Query(description="Only runs created before this time.")]
Deleted = Annotated[bool, Query(description="Include deleted runs.")]
