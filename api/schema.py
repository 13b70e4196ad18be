"""What every schema of the API is made of."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict

PAGE, LARGEST_PAGE = 50, 200
LARGEST_INTEGER, LARGEST_SMALL = 2**31 - 1, 2**15 - 1


class Schema(BaseModel):
    """A part of an answer or a request. Unknown keys of a request are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, from_attributes=True)


RunName = Annotated[str, Path(max_length=200, description="A run's name, the unique beginning of one, or `last`.")]
PromptNumber = Annotated[int, Path(ge=0, le=LARGEST_INTEGER, description="A prompt's number in its run.")]
PageSize = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=400, description="`next` of the page before.")]
