"""The query parameters of a list of prompts."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from api.prompts.schemas import Sort
from api.schema import LARGEST_INTEGER, LARGEST_SMALL

_AREA = r"^(0(\.\d{1,6})?|1(\.0{1,6})?)(,(0(\.\d{1,6})?|1(\.0{1,6})?)){3}$"

OfIteration = Annotated[
    int | None, Query(ge=0, le=LARGEST_SMALL, description="Only the pool and the batch of this iteration.")
]
Born = Annotated[
    int | None,
    Query(ge=-1, le=LARGEST_SMALL, description="Only prompts that this iteration made; -1: seed prompts."),
]
Operator = Annotated[str | None, Query(max_length=200, description="Only prompts that this mutation made.")]
InfoMin = Annotated[float | None, Query(allow_inf_nan=False, description="Only prompts at least this informative.")]
InfoMax = Annotated[float | None, Query(allow_inf_nan=False, description="Only prompts at most this informative.")]
Depth = Annotated[
    int | None, Query(ge=0, le=LARGEST_SMALL, description="Only prompts this many evolutions from their seed prompt.")
]
Root = Annotated[int | None, Query(ge=0, le=LARGEST_INTEGER, description="Only the family of this seed prompt.")]
Topic = Annotated[str | None, Query(max_length=500, description="Only prompts with this topic.")]
Text = Annotated[
    str | None, Query(max_length=500, description="Only prompts whose text contains this, in upper or lower case.")
]
Words = Annotated[
    str | None,
    Query(
        max_length=500,
        description="Only prompts with these words, in any order and case;"
        ' `"these words"` next to each other, `or`, `-without`.',
    ),
]
Area = Annotated[
    str | None,
    Query(
        pattern=_AREA,
        max_length=80,
        description="Only prompts that the run's map shows in this area: `left,low,right,high`, each from 0 to 1.",
    ),
]
Order = Annotated[Sort, Query(description="Order; a minus puts the largest first.")]
