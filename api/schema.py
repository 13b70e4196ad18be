"""The base class of all schemas, and the parameters that many endpoints share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict
from starlette.convertors import StringConvertor, register_url_convertor

PAGE, LARGEST_PAGE = 50, 200
LARGEST_INTEGER, LARGEST_SMALL = 2**31 - 1, 2**15 - 1


class Schema(BaseModel):
    """A part of a request or a response. Unknown keys in a request are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, from_attributes=True)


class _BeforeVerb(StringConvertor):
    """A run's name in a path. It ends before a colon, where a verb begins: `NAME:pause`."""

    regex = "[^/:]+"


register_url_convertor("run", _BeforeVerb())


def _written(given: object) -> object:
    if isinstance(given, str) and ":" not in given:
        raise ValueError("a date and time such as 2026-01-31T12:00:00Z")
    return given


Moment = Annotated[AwareDatetime, BeforeValidator(_written)]
"""A date and time in text. A bare number is refused: it would be read as seconds since 1970."""

RunName = Annotated[
    str,
    Path(
        min_length=1,
        max_length=200,
        pattern="^[^/:]+$",
        description="A run's name, the unique beginning of one, or `last`.",
    ),
]
PromptNumber = Annotated[int, Path(ge=0, le=LARGEST_INTEGER, description="A prompt's number in its run.")]
PageSize = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="The most items to return.")]
Cursor = Annotated[str | None, Query(max_length=400, description="`next` of the previous page.")]
