"""Uploads of prompt files, which configs of later requests may name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool

from api.schema import Schema
from api.security.guards import UPLOADS, SlowBodyError
from api.service import Here
from eva.prompts.uploads import MOST_BYTES, arriving, check_upload, ending_of, keep

router = APIRouter(prefix=UPLOADS, tags=["configs"])

LONGEST_S = 600.0
_SHOWN, _LONGEST_SHOWN = 3, 300

_BODY = {
    "requestBody": {
        "required": True,
        "description": f"The file itself, at most {MOST_BYTES // 2**20} MiB.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class PromptFileUpload(Schema):
    """A prompt file that the service has kept, and what is in it."""

    name: str
    """What a config calls it: a value of `prompts.path`, or of another key that names a prompt file."""
    bytes: int
    """Its size as it was sent."""
    prompts: int
    """How many different prompts it has."""
    repeated: int
    """Rows that were left out because an earlier one has the same prompt."""
    empty: Mapping[str, int]
    """Rows without a prompt that were left out, by reason."""
    cut: Mapping[str, int]
    """Rows whose end was ignored, by what it was."""
    joined: Mapping[str, int]
    """Rows in which a second column was joined to the prompt, by that column."""
    unused: list[str]
    """Columns that no prompt came from."""
    first: list[str]
    """The first prompts, shortened."""


@router.post("", status_code=201, openapi_extra=_BODY)
async def upload_prompt_file(
    here: Here,
    request: Request,
    name: Annotated[str, Query(min_length=1, max_length=1000, description="Its name, whose ending says what it is.")],
    field: Annotated[str | None, Query(max_length=200, description="The column of the prompts.")] = None,
    topic_field: Annotated[str | None, Query(max_length=200, description="The column of their topics.")] = None,
    system_field: Annotated[str | None, Query(max_length=200, description="The column of system prompts.")] = None,
    skip_empty: Annotated[bool, Query(description="Leave rows without a prompt out, and count them.")] = False,
) -> PromptFileUpload:
    """Send a file of prompts (JSON Lines, JSON, CSV, TSV, Parquet, or a prompt per line), read as a launch reads it.

    The columns are those of the config's `prompts`. Sending an equal file again gives the same name.
    """
    ending = ending_of(name)
    shown = repr(name[-100:])
    with arriving(here.settings.uploads_dir, ending) as upload:
        try:
            async with asyncio.timeout(LONGEST_S):
                async for chunk in request.stream():
                    await run_in_threadpool(upload.add, chunk)
        except TimeoutError:
            raise SlowBodyError(
                f"the file had not arrived after {LONGEST_S:g} seconds",
                expected="the whole file within that time",
                next_move="Send it again over a faster connection, or compress it",
            ) from None
        upload.file.flush()
        check = partial(check_upload, skip_empty=skip_empty)
        found = await run_in_threadpool(here.check, check, upload.path, shown, field, topic_field, system_field)
        kept = await run_in_threadpool(keep, upload, ending)
    return PromptFileUpload(
        name=kept,
        bytes=upload.size,
        prompts=len(found.prompts),
        repeated=found.repeated,
        empty=found.empty,
        cut=found.cut,
        joined=found.joined,
        unused=list(found.unused),
        first=[prompt.text[:_LONGEST_SHOWN] for prompt in found.prompts[:_SHOWN]],
    )
