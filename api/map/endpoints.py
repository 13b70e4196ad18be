"""The map: prompts on a plane, near where their words are alike."""

from __future__ import annotations

from fastapi import APIRouter

from api.map.map_cache import UNTIL, Drawn
from api.schema import RunName, Schema
from api.service import Here
from store.runs.runs import find_run

router = APIRouter(prefix="/v1/runs/{run}/map", tags=["prompts"])


class Faithfulness(Schema):
    """How much of nearness in words a map keeps, measured over some of its prompts."""

    prompts: int
    """Over how many."""
    neighbours: int
    """How many neighbours of each are looked at."""
    share: float
    """Share of a prompt's most alike texts that are its nearest on the map, too."""
    trustworthiness: float
    """1 where nobody near on the map is far in words (Venna and Kaski 2001); about 0.5 by chance."""


class PromptMap(Schema):
    """Prompts on a plane. Lists of one length tell of the same prompts, in number order."""

    iteration: int
    """It shows what was made before this one."""
    prompts: int
    """How many prompts that is; the map shows at most 10,000 of them, as many of each iteration."""
    landmarks: int
    """Prompts that it was fitted on; the others are placed among them."""
    landmarks_until: int
    """The last iteration whose prompts are landmarks."""
    settled: bool
    """Whether all landmarks are made: then no prompt moves any more."""
    faithful: Faithfulness | None
    """How faithful it is; null for fewer than 30 prompts."""
    faithful_later: Faithfulness | None
    """The same among prompts of later iterations than the landmarks'."""
    operators: list[str]
    """Mutations, in the order of their names."""
    numbers: list[int]
    """Numbers of the prompts."""
    x: list[float]
    """Where they lie across, 0 to 1; the axis has no meaning of its own."""
    y: list[float]
    """Where they lie upwards, 0 to 1."""
    born: list[int]
    """The iterations that made them; -1 for seed prompts."""
    operator: list[int | None]
    """Places of their mutations in `operators`; null for seed prompts."""
    info: list[float | None]
    """How informative they were when they were first judged."""
    starts: list[str]
    """The beginnings of their texts."""


@router.get("")
def read_map(here: Here, run: RunName) -> PromptMap:
    """Where do the prompts lie, by what they say? The first time after an iteration it takes seconds."""
    with here.reading() as conn:
        row = find_run(conn, run)
    return _shown(here.atlas.of(row, here.reading))


def _shown(drawn: Drawn) -> PromptMap:
    operators = sorted({one.operator for one in drawn.prompts if one.operator is not None})
    places = {name: place for place, name in enumerate(operators)}
    kept, later = (None if one is None else Faithfulness.model_validate(one) for one in (drawn.kept, drawn.kept_later))
    return PromptMap(
        iteration=drawn.iteration,
        prompts=drawn.total,
        landmarks=drawn.landmarks,
        landmarks_until=UNTIL,
        settled=drawn.settled,
        faithful=kept,
        faithful_later=later,
        operators=operators,
        numbers=[one.number for one in drawn.prompts],
        x=_along(drawn, 0),
        y=_along(drawn, 1),
        born=[one.born for one in drawn.prompts],
        operator=[None if one.operator is None else places[one.operator] for one in drawn.prompts],
        info=[*drawn.infos_P],
        starts=[one.text for one in drawn.prompts],
    )


def _along(drawn: Drawn, axis: int) -> list[float]:
    return [float(value) for value in drawn.places_P_2[:, axis]]
