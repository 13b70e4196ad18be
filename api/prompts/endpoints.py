"""Prompts: lists, one prompt, its responses, its family."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import Connection

from api.cursors import read_cursor, write_cursor
from api.prompts.parameters import (
    Area,
    Born,
    Depth,
    InfoMax,
    InfoMin,
    OfIteration,
    Operator,
    Order,
    Root,
    Text,
    Topic,
    Words,
)
from api.prompts.reasons import reasons
from api.prompts.schemas import (
    Lineage,
    Message,
    PromptDetails,
    PromptPage,
    Responses,
    details_of,
    in_page,
    relative_of,
    responses_of,
)
from api.schema import LARGEST_SMALL, PAGE, Cursor, PageSize, PromptNumber, RunName
from api.service import Here, Service, secrets_in
from eva.config import Gate
from eva.errors import InputError, NotFoundError
from eva.runtime.redaction import redact_json
from eva.types import Prompt
from store.game import batches, prompts
from store.rows import RunRow
from store.runs.runs import find_run
from store.views import prompt_details
from store.views.prompt_lists.pages import PageStart, PromptFilter, count_prompts, page_start_after, prompt_page
from store.views.report import read_infos

router = APIRouter(prefix="/v1/runs/{run}/prompts", tags=["prompts"])

SHOWN_RESPONSES, MOST_RESPONSES = 200, 1024
Checkpoint = Annotated[int | None, Query(ge=0, le=LARGEST_SMALL, description="Only responses of this policy.")]


@router.get("")
def list_prompts(
    here: Here,
    run: RunName,
    iteration: OfIteration = None,
    born: Born = None,
    operator: Operator = None,
    info_min: InfoMin = None,
    info_max: InfoMax = None,
    depth: Depth = None,
    root: Root = None,
    topic: Topic = None,
    text: Text = None,
    words: Words = None,
    area: Area = None,
    sort: Order = "number",
    limit: PageSize = PAGE,
    cursor: Cursor = None,
) -> PromptPage:
    """The prompts of a run. `info` is that of `iteration`; without it, from the first time each prompt was judged."""
    if info_min is not None and info_max is not None and info_min > info_max:
        raise InputError(
            f"info_min {info_min:g} is above info_max {info_max:g}",
            expected="info_min <= info_max",
            next_move="Swap them",
        )
    numbers = None if area is None else _numbers_in(here, run, area)
    prompt_filter = PromptFilter(
        iteration, born, operator, info_min, info_max, depth, root, topic, text, words, numbers
    )
    with here.reading() as conn:
        run_id = find_run(conn, run).id
        rows = prompt_page(conn, run_id, prompt_filter, sort, limit + 1, _place(cursor, sort))
        total = count_prompts(conn, run_id, prompt_filter)
    page = rows[:limit]
    return PromptPage(
        total=total,
        items=[in_page(row) for row in page],
        next=_cursor(page_start_after(page[-1], sort), sort) if len(rows) > limit else None,
    )


@router.get("/{number}")
def get_prompt(here: Here, run: RunName, number: PromptNumber, checkpoint: Checkpoint = None) -> PromptDetails:
    """One prompt: its responses, their rewards, and why it was trained on."""
    with here.reading() as conn:
        row = find_run(conn, run)
        prompt = existing_prompt(conn, row, number)
        responses = prompt_details.read_responses(conn, row.id, number, SHOWN_RESPONSES + 1, checkpoint)
        return details_of(
            prompt,
            children=prompt_details.count_children(conn, row.id, number),
            origin=prompt_details.read_origin(conn, row.id, number),
            parts=prompt_details.read_participations(conn, row.id, number),
            pairs=prompt_details.read_prompt_pairs(conn, row.id, number),
            advantages=prompt_details.read_prompt_advantages(conn, row.id, number),
            why=list(reasons(prompt, batches.why_trained(conn, row.id, number), _gate_of(row))),
            quarantined=redact_json(prompt_details.read_quarantines(conn, row.id, number), secrets_in(row)),
            responses=responses_of(responses, SHOWN_RESPONSES, secrets_in(row)),
        )


def _gate_of(row: RunRow) -> Gate | None:
    evolving: dict[str, Any] = row.config.get("evolving") or {}
    gate: dict[str, Any] | None = evolving.get("gate")
    return None if gate is None else Gate.model_validate(gate)


@router.get("/{number}/responses")
def list_responses(here: Here, run: RunName, number: PromptNumber, checkpoint: Checkpoint = None) -> Responses:
    """The responses to a prompt. Those of a single checkpoint are always returned in full."""
    with here.reading() as conn:
        row = find_run(conn, run)
        existing_prompt(conn, row, number)
        responses = prompt_details.read_responses(conn, row.id, number, MOST_RESPONSES + 1, checkpoint)
    return responses_of(responses, MOST_RESPONSES, secrets_in(row))


@router.get("/{number}/lineage")
def get_lineage(
    here: Here,
    run: RunName,
    number: PromptNumber,
    depth: Annotated[int, Query(ge=0, le=1000, description="How many evolutions to go below the prompt.")] = 10,
    limit: Annotated[
        int, Query(ge=1, le=1000, description="The most ancestors, and the most descendants, to return: the nearest.")
    ] = 200,
) -> Lineage:
    """The ancestors and descendants of a prompt."""
    with here.reading() as conn:
        row = find_run(conn, run)
        existing_prompt(conn, row, number)
        line = prompts.ancestors(conn, row.id, number)
        below = prompts.descendants(conn, row.id, number, depth + 1, limit + 1)
        shown = [prompt.number for prompt in (*line[-limit - 1 :], *below)]
        infos, facts = read_infos(conn, row.id, shown), prompts.family_facts(conn, row.id, shown)
    near = [prompt for prompt in below if prompt.distance <= depth][:limit]
    above = line[:-1][-limit:]
    return Lineage(
        context=[Message.model_validate(message) for message in line[-1].context],
        prompt=relative_of(line[-1], 0, infos, facts),
        ancestors=[relative_of(prompt, place - len(above), infos, facts) for place, prompt in enumerate(above)],
        descendants=[relative_of(prompt, prompt.distance, infos, facts) for prompt in near],
        truncated=len(near) < len(below) or len(above) < len(line) - 1,
    )


def existing_prompt(conn: Connection, run: RunRow, number: int) -> Prompt:
    """Reads the prompt with this number. Raises NotFoundError."""
    rows = prompts.read_prompts(conn, run.id, [number])
    if not rows:
        raise NotFoundError(
            f"run {run.name} has no prompt {number}",
            expected=f"a number from 0 to {run.prompt_count - 1}",
            next_move=f"List them at /v1/runs/{run.name}/prompts",
        )
    return rows[0]


def _numbers_in(here: Service, run: str, area: str) -> tuple[int, ...]:
    """The numbers of the prompts that the map shows in an area."""
    with here.reading() as conn:
        row = find_run(conn, run)
    left, low, right, high = map(float, area.split(","))
    return tuple(here.maps.of(row, here.reading).inside(left, low, right, high))


def _cursor(place: PageStart, sort: str) -> str:
    return write_cursor(sort, place.value, place.number)


def _place(cursor: str | None, sort: str) -> PageStart | None:
    values = read_cursor(cursor, str, float, int)
    if values is None:
        return None
    if values[0] != sort:
        raise InputError(
            f"the cursor belongs to a list sorted by {values[0]!r}, but the request sorts by {sort!r}",
            expected="the same sort on every page",
            next_move="Start without a cursor",
        )
    return PageStart(values[1], values[2])
