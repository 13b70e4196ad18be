"""The address holds what a view shows, Back comes back to the same place, and an unknown address has a page."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.support.browser_fixtures import Tab
from tests.support.cli_fixtures import Played
from tests.support.service_fixtures import Served


def test_choices_within_a_view_survive_a_reload(tab: Tab, played: Played, played_service: Served) -> None:
    base = f"/runs/{played.name}"
    page = tab.open(base)
    page.get_by_role("button", name="sampled at T = 1").click()
    page.wait_for_url(re.compile("mode=sampled"))
    page.reload()
    tab.settled()
    assert page.get_by_role("button", name="sampled at T = 1").get_attribute("aria-pressed") == "true"
    tab.open(f"{base}/evolution")
    page.get_by_label("Pool of").select_option("1")
    page.wait_for_url(re.compile("pool=1"))
    page.reload()
    tab.settled()
    assert page.get_by_label("Pool of").input_value() == "1"
    tab.open(f"{base}/training")
    page.get_by_role("button", name="smoothed", exact=True).click()
    page.wait_for_url(re.compile("smooth=0.8"))
    card = page.get_by_role("region", name="Loss", exact=True)
    assert card.locator("path.line").count() == 2 and card.locator(".rule-name").count() == 3
    chart = card.locator(".chart svg")
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 90)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 90)
    page.mouse.up()
    page.wait_for_url(re.compile(r"steps=\d-\d"))
    whole = page.get_by_text(re.compile(r"^Steps \d to \d of 0 to 8\.$"))
    page.reload()
    whole.wait_for()
    chart.focus()
    page.keyboard.press("0")
    page.wait_for_url(re.compile(r"/training\?smooth=0.8$"))
    page.keyboard.press("+")
    page.wait_for_url(re.compile(r"steps=2-6"))
    page.get_by_role("button", name="on top of each other").click()
    page.wait_for_url(re.compile(r"trainings=overlaid$"))
    assert card.locator(".legend li").all_inner_texts() == ["policy 1", "policy 2", "policy 3"]
    assert tab.axe() == []
    answered = played_service.client.get(f"/v1{base}/prompts", params={"iteration": 1, "sort": "-depth"}).json()
    number = next(
        prompt["number"]
        for prompt in answered["items"]
        if len(
            {
                response["checkpoint"]
                for response in played_service.client.get(f"/v1{base}/prompts/{prompt['number']}").json()["responses"][
                    "items"
                ]
            }
        )
        > 1
    )
    tab.open(f"{base}/prompts/{number}")
    policy = page.get_by_role("group", name="Policy").get_by_role("button").first
    policy.click()
    page.wait_for_url(re.compile(r"policy=\d"))
    page.reload()
    tab.settled()
    assert policy.get_attribute("aria-pressed") == "true"


def test_back_comes_back_to_the_same_place(tab: Tab, played: Played) -> None:
    page = tab.open(f"/runs/{played.name}/prompts")
    link = page.locator("td.number a").nth(40)
    link.scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    assert before > 0
    link.click()
    page.get_by_role("heading", name=re.compile(r"^Prompt \d+$")).wait_for()
    page.go_back()
    page.locator("td.number a").nth(40).wait_for()
    page.wait_for_function(f"() => Math.abs(scrollY - {before}) < 5")


def test_an_unknown_address_has_a_page(tab: Tab, played: Played) -> None:
    page = tab.open(f"/runs/{played.name}/nothing")
    expect(page.get_by_role("heading", name="Page not found")).to_be_visible()
    assert page.title() == "Page not found – eva" and tab.axe() == []
    page.get_by_role("link", name=f"Overview of {played.name}").click()
    page.locator("h1", has_text=played.name).wait_for()
