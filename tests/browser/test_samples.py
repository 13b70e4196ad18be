"""Held-out prompts with the responses of several policies side by side, and those of any prompt."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.support.browser_fixtures import Tab
from tests.support.cli_fixtures import Played
from tests.support.service_fixtures import Served


def test_policies_are_seen_side_by_side_where_they_differ(tab: Tab, played: Played, played_service: Served) -> None:
    page = tab.open(f"/runs/{played.name}/samples")
    assert page.locator("section.card article").count() == 2 * 10
    page.get_by_label("Held-out set").select_option("hard")
    page.get_by_label("Policy 3 against 0").select_option("better")
    page.wait_for_url(re.compile("difference=better"))
    asked = played_service.client.get(
        f"/v1/runs/{played.name}/heldout", params={"split": "hard", "difference": "better"}
    ).json()
    expect(page.locator("section.card h2").first).to_have_text(f"hard, prompt {asked['items'][0]['item']}")
    tab.settled()
    before, after = asked["items"][0]["responses"]
    card = page.locator("section.card").first
    assert [float(reward) for reward in card.locator("header .number").all_inner_texts()] == [
        round(before["reward"], 2),
        round(after["reward"], 2),
    ]
    assert card.locator("ins").count() > 0, "what changed is marked"
    page.get_by_label("mark what changed").uncheck()
    expect(card.locator("ins")).to_have_count(0)
    assert card.locator("article pre").last.inner_text() == after["text"]
    page.get_by_role("checkbox", name="1", exact=True).check()
    expect(page.locator("section.card").first.locator("article")).to_have_count(3)
    page.reload()
    tab.settled()
    assert page.locator("section.card").first.locator("article").count() == 3
    assert tab.axe() == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_a_prompt_shows_the_best_response_of_each_policy(tab: Tab, played: Played, played_service: Served) -> None:
    answered = played_service.client.get(f"/v1/runs/{played.name}/prompts", params={"iteration": 1}).json()["items"]
    policies_of: dict[int, list[int]] = {}
    for prompt in answered:
        found = played_service.client.get(f"/v1/runs/{played.name}/prompts/{prompt['number']}").json()
        policies_of[prompt["number"]] = sorted({response["checkpoint"] for response in found["responses"]["items"]})
    number, policies = next((number, some) for number, some in policies_of.items() if len(some) > 1)
    page = tab.open(f"/runs/{played.name}/prompts/{number}")
    card = page.get_by_role("region", name="Policies side by side")
    assert [name.split("\n")[0] for name in card.locator("article header").all_inner_texts()] == [
        f"Policy {policy}" for policy in policies
    ]


def test_characters_that_hide_are_seen(tab: Tab, played: Played) -> None:
    def with_hidden(route: object) -> None:
        answer = route.fetch()  # type: ignore[attr-defined]
        body = answer.json()
        body["items"][0]["text"] = "pay \u202eevil\u200b now 👩\u200d🔬"
        route.fulfill(json=body)  # type: ignore[attr-defined]

    tab.page.route(re.compile("/heldout"), with_hidden)
    page = tab.open(f"/runs/{played.name}/samples")
    hidden = page.locator(".hidden-character")
    assert [one.get_attribute("data-code") for one in hidden.all()] == ["U+202E", "U+200B"]


def test_a_later_turn_is_shown_below_what_each_policy_responded_before_it(tab: Tab, played: Played) -> None:
    said = {"text": "Aloha! A week in Hawaii.", "finish": "stop", "tokens": 6, "reward": 0.75, "reason": None}

    def as_second_turn(route: object) -> None:
        answer = route.fetch()  # type: ignore[attr-defined]
        body = answer.json()
        prompt = body["items"][0]
        prompt |= {"turn": 2, "context": [{"role": "user", "content": "Write a travel blog."}]}
        for response in prompt["responses"]:
            response["earlier"] = [said | {"text": f"{said['text']} By policy {response['checkpoint']}."}]
        route.fulfill(json=body)  # type: ignore[attr-defined]

    tab.page.route(re.compile("/heldout"), as_second_turn)
    card = tab.open(f"/runs/{played.name}/samples").locator("section.card").first
    assert card.locator("h3").all_inner_texts() == ["Turn 1", "Turn 2"]
    assert card.locator("article").count() == 4
    assert "By policy 0." in card.locator("article").first.inner_text()
    assert card.inner_text().index("Write a travel blog.") < card.inner_text().index("Turn 2")
