"""What policies responded to held-out prompts: all of them, those where they differ, page by page."""

from __future__ import annotations

from typing import Any

import pytest

from store.game.heldout import read_heldout_responses
from tests.support.cli_fixtures import Played
from tests.support.service_fixtures import Served


def get(served: Served, **params: Any) -> Any:
    answer = served.client.get("/v1/runs/last/heldout", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def walk(served: Served, **params: Any) -> list[Any]:
    items: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = get(served, limit=7, **params, **cursor)
        items += page["items"]
        if page["next"] is None:
            assert page["total"] == len(items)
            return items
        cursor = {"cursor": page["next"]}


def test_every_held_out_prompt_has_the_responses_of_the_first_and_the_newest_policy(
    played_service: Served, played: Played
) -> None:
    page = get(played_service)
    assert (page["splits"], page["policies"], page["shown"]) == (["easy", "hard", "medium"], [0, 1, 2, 3], [0, 3])
    prompts = walk(played_service)
    assert [(prompt["split"], prompt["item"]) for prompt in prompts] == [
        (split, item) for split in page["splits"] for item in range(30)
    ]
    with played.store.transaction() as conn:
        stored = read_heldout_responses(conn, played.run_id, 3, "hard", "greedy")
    found = [prompt["responses"][1] for prompt in prompts if prompt["split"] == "hard"]
    assert [(row["checkpoint"], row["text"], row["reward"]) for row in found] == [
        (3, row.text, row.reward) for row in stored
    ]


@pytest.mark.parametrize(
    ("difference", "holds"),
    [
        ("any", lambda before, after: after != before),
        ("better", lambda before, after: after > before),
        ("worse", lambda before, after: after < before),
        ("same", lambda before, after: after == before),
    ],
)
def test_prompts_are_found_where_two_policies_differ(played_service: Served, difference: str, holds: Any) -> None:
    everything = walk(played_service, split="hard", policy=[1, 3])
    wanted = [
        prompt["item"] for prompt in everything if holds(*(response["reward"] for response in prompt["responses"]))
    ]
    found = walk(played_service, split="hard", policy=[3, 1], difference=difference)
    assert [prompt["item"] for prompt in found] == wanted
    assert [response["checkpoint"] for prompt in found for response in prompt["responses"]] == [1, 3] * len(wanted)


def test_sampled_responses_and_texts_are_found(played_service: Served) -> None:
    text = get(played_service, limit=1)["items"][0]["text"]
    (prompt,) = walk(played_service, mode="sampled", text=text.upper(), policy=2)
    assert prompt["text"] == text and {row["checkpoint"] for row in prompt["responses"]} == {2}


def test_a_run_without_evaluations_has_prompts_and_no_responses(played_service: Served) -> None:
    assert walk(played_service, policy=99, difference="any") == []
    assert all(prompt["responses"] == [] for prompt in walk(played_service, policy=99))
