"""What a creator with weights of its own has earned, by iteration."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter

from api.schema import RunName, Schema
from api.service import Here
from store.game.evolutions import creator_figures
from store.runs.runs import find_run

router = APIRouter(prefix="/v1/runs/{run}/creator", tags=["creator"])


class CreatorIteration(Schema):
    """What the creator's replies of one iteration were worth."""

    iteration: int
    """The iteration, from 0."""
    replies: int
    """Its replies, refused ones included."""
    accepted: int
    """Replies that no check refused."""
    children: int
    """Accepted replies that became prompts: the others repeated a child of the same iteration."""
    judged: int
    """Replies with a reward: refused ones, and those whose child was in the batch."""
    trained: int
    """Replies with an advantage, which the creator is trained on unless it is frozen."""
    regret: float | None
    """Mean informativeness of the children in the batch; null if there were none."""
    likeness: float | None
    """Mean likeness of the children to other children and to earlier prompts, 0 to 1; null if there were none."""
    reward: float | None
    """Mean reward of the judged replies; null if there were none."""
    spread: float | None
    """Standard deviation of the rewards; null if there are fewer than two."""


class CreatorIterations(Schema):
    """What the creator has earned."""

    items: list[CreatorIteration]
    """All iterations in which a creator with weights of its own has been rewarded, in order."""


@router.get("")
def read_creator(here: Here, run: RunName) -> CreatorIterations:
    """The parts of the creator's reward by iteration. Empty for runs whose creator has no weights of its own."""
    with here.reading() as conn:
        rows = creator_figures(conn, find_run(conn, run).id)
    return CreatorIterations(items=[CreatorIteration.model_validate(asdict(row)) for row in rows])
