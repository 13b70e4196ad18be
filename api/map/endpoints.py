"""The map of a run: prompts on a plane, close together where their words are similar."""

from __future__ import annotations

from fastapi import APIRouter

from api.map_cache import UNTIL, DrawnMap
from api.schema import RunName, Schema
from api.service import Here
from store.runs.runs import find_run

router = APIRouter(prefix="/v1/runs/{run}/map", tags=["prompts"])


class Faithfulness(Schema):
    """How well a map preserves which texts are similar, measured on some of its prompts."""

    prompts: int
    """How many prompts it is measured on."""
    neighbours: int
    """How many neighbours of each prompt are compared."""
    share: float
    """The share of a prompt's most similar texts that are also its nearest on the map."""
    trustworthiness: float
    """1 if no neighbours on the map differ in words (Venna and Kaski 2001); about 0.5 by chance."""


class PromptMap(Schema):
    """Prompts on a plane. All lists of the same length describe the same prompts, in number order."""

    iteration: int
    """It shows the prompts that were made before this iteration."""
    prompts: int
    """How many prompts that is. The map shows at most 10,000 of them, equally many of each iteration."""
    landmarks: int
    """How many prompts it was fitted on; the others are placed among them."""
    landmarks_until: int
    """The last iteration whose prompts are landmarks."""
    settled: bool
    """Whether all landmarks exist, so that no prompt moves any more."""
    faithful: Faithfulness | None
    """How faithful the map is; null for fewer than 30 prompts."""
    faithful_later: Faithfulness | None
    """The same for prompts of later iterations than the landmarks."""
    operators: list[str]
    """The mutations, sorted by name."""
    numbers: list[int]
    """The numbers of the prompts."""
    x: list[float]
    """Their horizontal positions, from 0 to 1. The axis has no meaning of its own."""
    y: list[float]
    """Their vertical positions, from 0 to 1."""
    born: list[int]
    """The iterations that made them; -1 for seed prompts."""
    operator: list[int | None]
    """The indexes of their mutations in `operators`; null for seed prompts."""
    info: list[float | None]
    """Their informativeness when they were first judged."""
    starts: list[str]
    """The first characters of their texts."""


@router.get("")
def read_map(here: Here, run: RunName) -> PromptMap:
    """The run's prompts on a plane, by what they say. The first request after an iteration takes seconds."""
    with here.reading() as conn:
        row = find_run(conn, run)
    return _shown(here.maps.of(row, here.reading))


def _shown(drawn: DrawnMap) -> PromptMap:
    operators = sorted({prompt.operator for prompt in drawn.prompts if prompt.operator is not None})
    places = {name: place for place, name in enumerate(operators)}
    faithful, faithful_later = (
        None if kept is None else Faithfulness.model_validate(kept) for kept in (drawn.kept, drawn.kept_later)
    )
    return PromptMap(
        iteration=drawn.iteration,
        prompts=drawn.total,
        landmarks=drawn.landmarks,
        landmarks_until=UNTIL,
        settled=drawn.settled,
        faithful=faithful,
        faithful_later=faithful_later,
        operators=operators,
        numbers=[prompt.number for prompt in drawn.prompts],
        x=_along(drawn, 0),
        y=_along(drawn, 1),
        born=[prompt.born for prompt in drawn.prompts],
        operator=[None if prompt.operator is None else places[prompt.operator] for prompt in drawn.prompts],
        info=[*drawn.infos_P],
        starts=[prompt.text for prompt in drawn.prompts],
    )


def _along(drawn: DrawnMap, axis: int) -> list[float]:
    return [float(value) for value in drawn.places_P_2[:, axis]]
