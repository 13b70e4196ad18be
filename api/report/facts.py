"""The data of a report: a bounded number of the API's responses, in one object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from api.events.endpoints import list_events
from api.iterations.endpoints import list_iterations
from api.metrics.endpoints import read_metrics
from api.prompts.endpoints import get_lineage, get_prompt, list_prompts
from api.prompts.schemas import ListedPrompt, PromptDetails, Response
from api.runs.representation import shown
from api.service import Service
from api.statistics.endpoints import read_statistics
from store.rows import RunRow
from store.runs.runs import find_run
from store.session import begin_snapshot
from store.views.fingerprint import fingerprint

DRAWN = ("batch", "heldout", "diversity", "audit", "spread", "payoff", "operator_choice", "categories")
ROWS, FAMILIES, LOOKED_AT, EVENTS, STEPS = 14, 3, 100, 200, 400
LONGEST = 8_000
CHEAP = 20_000
"""The largest number of prompts for which the page includes a fingerprint, which reads every row of a run."""


def facts(service: Service, name: str, *, whole_fingerprint: bool = False) -> dict[str, Any]:
    """Everything that the page shows. Texts longer than LONGEST characters are cut, and say so."""
    with service.reading() as conn:
        row = find_run(conn, name)
        details = shown(conn, row)
    iterations = list_iterations(service, row.name)
    last = max((iteration.number for iteration in iterations.items), default=-1)
    statistics = [
        statistic for name in DRAWN for statistic in _few(name, read_statistics(service, row.name, name=[name]).items)
    ]
    best = _page(service, row, last, "-info", LOOKED_AT)
    content: dict[str, Any] = {
        "taken_at": datetime.now(UTC).isoformat(),
        "run": details.model_dump(mode="json"),
        "iterations": [iteration.model_dump(mode="json") for iteration in iterations.items],
        "statistics": [statistic.model_dump(mode="json") for statistic in statistics],
        "events": [
            event.model_dump(mode="json")
            for event in list_events(service, row.name, after=max(0, details.last_event - EVENTS), limit=EVENTS).items
        ],
        "metrics": read_metrics(service, row.name, points=STEPS).model_dump(mode="json"),
        "families": [_family(service, row, prompt) for prompt in _one_per_family(best)[:FAMILIES]],
        "prompts": [
            _sample(service, row, iteration, number)
            for iteration in _shown_iterations(last)
            for number in _shown_prompts(service, row, iteration)
        ],
        "packages": (row.code or {}).get("packages", {}),
        "fingerprint": _fingerprint(service, row, whole_fingerprint),
    }
    return cast("dict[str, Any]", _cut(content))


def _few(name: str, rows: Sequence[Any]) -> list[Any]:
    """The rows of histograms that ridgelines draw: the first, the last, and others evenly in between."""
    if name != "spread" or len(rows) <= ROWS:
        return [*rows]
    return [rows[round(place * (len(rows) - 1) / (ROWS - 1))] for place in range(ROWS)]


def _shown_iterations(last: int) -> list[int]:
    """The iterations whose prompts are shown: the first that evolves, the middle one, the last."""
    return sorted({min(1, last), (last + 1) // 2, last} - {-1})


def _page(service: Service, row: RunRow, iteration: int, sort: Any, limit: int) -> list[ListedPrompt]:
    return list_prompts(service, row.name, iteration=iteration, sort=sort, limit=limit).items if iteration >= 0 else []


def _one_per_family(prompts: Sequence[ListedPrompt]) -> list[ListedPrompt]:
    """The first prompt of each family."""
    seen: dict[int, ListedPrompt] = {}
    for prompt in prompts:
        seen.setdefault(prompt.root, prompt)
    return [*seen.values()]


def _shown_prompts(service: Service, row: RunRow, iteration: int) -> list[int]:
    """Two of an iteration's most informative prompts, of two families if possible, and one of its least informative."""
    best = _one_per_family(_page(service, row, iteration, "-info", LOOKED_AT))[:2]
    return [*dict.fromkeys(prompt.number for prompt in (*best, *_page(service, row, iteration, "info", 1)))]


def _family(service: Service, row: RunRow, prompt: ListedPrompt) -> dict[str, Any]:
    """A prompt with its ancestors and children, and the top of its family."""
    return {
        "near": get_lineage(service, row.name, prompt.number, depth=1, limit=40).model_dump(mode="json"),
        "top": get_lineage(service, row.name, prompt.root, depth=6, limit=150).model_dump(mode="json"),
    }


def _sample(service: Service, row: RunRow, iteration: int, number: int) -> dict[str, Any]:
    """A prompt with the best and worst of the responses that it was trained on, or else of the latest ones."""
    prompt = get_prompt(service, row.name, number)
    line = get_lineage(service, row.name, number, depth=0, limit=1).ancestors
    return {
        "iteration": iteration,
        "parent": line[-1].model_dump(mode="json") if line else None,
        "prompt": prompt.model_dump(mode="json", exclude={"responses"}),
        "responses": [response.model_dump(mode="json") for response in _extremes(prompt)],
    }


def _extremes(prompt: PromptDetails) -> list[Response]:
    rewarded = [
        response
        for response in prompt.responses.items
        if any(reward.value is not None for reward in response.rewards[:1])
    ]
    trained = [part.checkpoint for part in (*prompt.pairs, *prompt.advantages)] or [
        response.checkpoint for response in rewarded
    ]
    ranked = sorted(
        (response for response in rewarded if response.checkpoint == max(trained)),
        key=lambda response: (-cast("float", response.rewards[0].value), response.sample),
    )
    return [ranked[0], ranked[-1]] if len(ranked) > 1 else ranked


def _fingerprint(service: Service, row: RunRow, whole: bool) -> str | None:
    if row.prompt_count > CHEAP and not whole:
        return None
    with service.store.transaction() as conn:
        begin_snapshot(conn)
        return fingerprint(conn, row.id).digest


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{value[:LONGEST]} … (cut: {len(value) - LONGEST:,} characters more)"
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_cut(item) for item in cast("list[Any]", value)]
    if isinstance(value, Mapping):
        return {key: _cut(item) for key, item in cast("Mapping[str, Any]", value).items()}
    return value
