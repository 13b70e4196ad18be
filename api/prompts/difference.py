"""What an evolution changed, word by word."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from api.prompts.endpoints import existing_prompt
from api.schema import LARGEST_INTEGER, PromptNumber, RunName, Schema
from api.service import Here
from eva.errors import NotFoundError
from eva.measures.text_difference import difference
from store.runs.runs import find_run

router = APIRouter(prefix="/v1/runs/{run}/prompts", tags=["prompts"])


class Stretch(Schema):
    """A part of one text or of both."""

    kind: Literal["same", "removed", "added"]
    """`same`: in both texts; `removed`: only in the earlier one; `added`: only in the later one."""
    text: str
    """The part."""


class Difference(Schema):
    """What changed from one prompt to another."""

    number: int
    """The requested prompt."""
    against: int
    """The prompt that it is compared with."""
    operator: str | None
    """The mutation that made it; null for a seed prompt."""
    stretches: list[Stretch]
    """Together, all but the added ones are the text of `against`, and all but the removed ones are the prompt's."""
    truncated: bool
    """Whether the change was too long to compare word by word, and is given as one change."""


@router.get("/{number}/difference")
def get_difference(
    here: Here,
    run: RunName,
    number: PromptNumber,
    against: Annotated[
        int | None, Query(ge=0, le=LARGEST_INTEGER, description="The prompt to compare with, instead of the parent.")
    ] = None,
) -> Difference:
    """What an evolution changed, word by word: compared with the parent, or with another prompt."""
    with here.reading() as conn:
        row = find_run(conn, run)
        prompt = existing_prompt(conn, row, number)
        compared = prompt.parent if against is None else against
        if compared is None:
            raise NotFoundError(
                f"prompt {number} of run {row.name} is a seed prompt, so it has no parent",
                expected="an evolved prompt, or another prompt to compare it with",
                next_move=f"Request /v1/runs/{row.name}/prompts/{number}/difference?against=NUMBER",
            )
        other = existing_prompt(conn, row, compared)
    stretches, whole = difference(other.text, prompt.text)
    return Difference(
        number=number,
        against=other.number,
        operator=prompt.operator,
        truncated=not whole,
        stretches=[Stretch.model_validate(stretch) for stretch in stretches],
    )
