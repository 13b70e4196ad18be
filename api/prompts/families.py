"""The families of prompts: what each seed prompt grew into, and its part of each batch."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.schema import RunName, Schema
from api.service import Here
from store.runs.runs import find_run
from store.views.population.families import read_families

router = APIRouter(prefix="/v1/runs/{run}/families", tags=["prompts"])

LONGEST = 300


class PromptFamily(Schema):
    """A seed prompt and everything that came from it."""

    root: int
    """The number of the seed prompt."""
    text: str
    """Its text; the first 300 characters."""
    descendants: int
    """How many prompts came from it, directly or not, in batches or not."""
    members: list[int]
    """How many of the family are in the batch of each of `iterations`."""


class PromptFamilies(Schema):
    """Families of prompts, those with the most descendants first."""

    items: list[PromptFamily]
    """The largest families."""
    total: int
    """How many families there are: as many as seed prompts."""
    iterations: list[int]
    """The iterations that have a batch."""
    sizes: list[int]
    """How many prompts the batch of each of them has; those beyond `items` are of other families."""


@router.get("")
def list_families(
    here: Here,
    run: RunName,
    limit: Annotated[int, Query(ge=1, le=200, description="The most families to return.")] = 40,
) -> PromptFamilies:
    """The population of a run, family by family: which seed prompts took over, and which died out."""
    with here.reading() as conn:
        families = read_families(conn, find_run(conn, run).id, limit, LONGEST)
    return PromptFamilies(
        items=[
            PromptFamily(
                root=row.root,
                text=row.text,
                descendants=row.descendants,
                members=[row.members.get(iteration, 0) for iteration in families.sizes],
            )
            for row in families.rows
        ],
        total=families.count,
        iterations=list(families.sizes),
        sizes=list(families.sizes.values()),
    )
