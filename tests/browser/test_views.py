"""Each view on a finished run: it shows what the API says, works by keyboard, and axe finds nothing serious."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.browser_fixtures import PATIENCE_MS, Tab, open_tab
from tests.support.cli_fixtures import Played
from tests.support.service_fixtures import Pair, Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

VIEWS = [
    "/",
    "/runs/{run}",
    "/runs/{run}/prompts?iteration=1&sort=-info",
    "/runs/{run}/prompts/100",
    "/runs/{run}/lineage",
    "/runs/{run}/map?area=0.2,0.2,0.7,0.7",
    "/runs/{run}/training",
    "/runs/{run}/evolution",
    "/runs/{run}/samples",
    "/runs/{run}/config",
    "/runs/{run}/log",
    "/runs/{run}/files",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, played_service: Served, played: Played, scheme: str) -> None:
    tab = open_tab(browser, played_service.url, scheme, 900 if scheme == "dark" else 1440)
    for view in VIEWS:
        page = tab.open(view.format(run=played.name))
        assert tab.axe() == [], view
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{view} is wider than its window"
    assert not tab.wrong
    tab.page.context.close()


def test_runs_lead_to_a_run(tab: Tab, played: Played) -> None:
    page = tab.open("/")
    row = page.locator("table.runs tbody tr", has_text=played.name)
    assert "finished" in row.inner_text() and "3 of 3" in row.inner_text()
    assert row.locator("svg.spark").count() == 1
    assert re.search(r"\d+ → \d+%", row.inner_text())
    row.get_by_role("link", name=played.name).click()
    tab.settled()
    assert page.url.endswith(f"/runs/{played.name}") and page.title() == f"{played.name} · Overview – eva"


def test_marked_runs_are_compared(browser: Browser, pair_service: Pair) -> None:
    tab = open_tab(browser, pair_service.served.url)
    page = tab.open("/")
    for name in pair_service.names:
        page.get_by_label(f"Select {name}").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_role("region", name="Config", exact=True).wait_for()
    tab.settled()
    asked = pair_service.served.client.get("/v1/compare", params={"run": list(pair_service.names)}).json()
    assert page.get_by_role("region", name="Config", exact=True).locator("tbody tr").count() == len(asked["config"])
    assert page.get_by_role("region", name="Mean reward of the batch").locator("path.line").count() == 2
    page.get_by_role("button", name="by time").click()
    assert tab.axe() == []
    assert not tab.wrong
    tab.page.context.close()


def test_filters_of_runs_live_in_the_address(tab: Tab) -> None:
    page = tab.open("/")
    page.get_by_label("Status").select_option("failed")
    page.get_by_text("No run matches these filters").wait_for()
    assert "status=failed" in page.url
    page.go_back()
    page.locator("table.runs").wait_for()


def test_the_overview_draws_the_stored_figures(tab: Tab, played: Played, played_service: Served) -> None:
    page = tab.open(f"/runs/{played.name}")
    batches = played_service.client.get(f"/v1/runs/{played.name}/statistics", params={"name": "batch"}).json()["items"]
    card = page.get_by_role("region", name="Reward of the batch", exact=True)
    card.get_by_role("button", name="Numbers").click()
    cells = card.locator("tbody tr").all_inner_texts()
    assert [cell.split("\t")[2] for cell in cells] == [f"{row['data']['reward_mean']:.2f}" for row in batches]
    chart = card.locator(".chart svg")
    assert chart.locator("path.line").count() == 3
    chart.focus()
    page.keyboard.press("ArrowRight")
    assert f"{batches[0]['data']['reward_mean']:.2f}" in card.locator(".tip").inner_text()
    assert page.get_by_role("region", name="Held-out evaluation").locator(".whisker").count() == 12


def test_the_outcome_comes_first_on_the_overview(tab: Tab, played: Played, played_service: Served) -> None:
    page = tab.open(f"/runs/{played.name}")
    (hard, *_) = played_service.client.get(f"/v1/runs/{played.name}").json()["outcome"]
    said = f"hard {100 * hard['first']['success']:.0f} → {100 * hard['newest']['success']:.0f}%"
    assert page.locator(".head .outcome li").first.inner_text().startswith(said)
    assert page.locator(".two > section h2").first.inner_text() == "Held-out evaluation"


def test_prompts_are_filtered_sorted_and_paged_by_the_server(tab: Tab, played: Played, played_service: Served) -> None:
    page = tab.open(f"/runs/{played.name}/prompts")
    page.get_by_label("In pool or batch of").select_option("2")
    page.wait_for_url(re.compile("iteration=2"))
    page.get_by_role("link", name="Info in iteration 2").click()
    page.wait_for_url(re.compile("sort=-info"))
    listed = played_service.client.get(
        f"/v1/runs/{played.name}/prompts", params={"iteration": 2, "sort": "-info", "limit": 50}
    ).json()
    # until its answer arrives, the page shows the earlier list, which may begin with the same prompt
    expect(page.locator("td.asks")).to_have_text(
        [prompt["text"] for prompt in listed["items"]], use_inner_text=True, timeout=PATIENCE_MS
    )
    page.get_by_role("link", name="Next 50").click()
    page.get_by_role("link", name="First page").wait_for()


def test_a_prompt_shows_what_changed_and_why_it_was_trained_on(
    tab: Tab, played: Played, played_service: Served
) -> None:
    asked = played_service.client.get(
        f"/v1/runs/{played.name}/prompts", params={"iteration": 2, "sort": "-info", "born": 2}
    ).json()
    number = asked["items"][0]["number"]
    prompt = played_service.client.get(f"/v1/runs/{played.name}/prompts/{number}").json()
    page = tab.open(f"/runs/{played.name}/prompts/{number}")
    page.locator(".asked ins").first.wait_for()
    kept = page.evaluate(
        "[...document.querySelector('.asked pre').childNodes].filter(n => n.nodeName !== 'DEL')"
        ".map(n => n.textContent).join('')"
    )
    assert kept == prompt["text"]
    assert page.locator(".because li").all_inner_texts() == prompt["why"]
    (pair,) = prompt["pairs"]
    assert f"{pair['chosen_reward']:.2f}" in tab.text(".response.best")
    assert f"{pair['rejected_reward']:.2f}" in tab.text(".response.worst")
    shown = [float(value) for value in page.locator(".ranked .number").all_inner_texts()]
    assert shown == sorted(shown, reverse=True) and len(shown) == 6


def test_next_and_previous_follow_the_list_by_keyboard(tab: Tab, played: Played) -> None:
    page = tab.open(f"/runs/{played.name}/prompts?iteration=1&sort=-info")
    numbers = page.locator("td.number a").all_inner_texts()
    page.locator("td.number a").first.click()
    page.get_by_role("heading", name=f"Prompt {numbers[0]}").wait_for()
    for key, number in (("j", numbers[1]), ("j", numbers[2]), ("k", numbers[1])):
        page.keyboard.press(key)
        page.get_by_role("heading", name=re.compile(rf"^Prompt {number}\b")).wait_for()
        assert page.url.endswith(f"/prompts/{number}")


def test_what_the_api_refuses_is_shown_in_its_words(browser: Browser, played_service: Served) -> None:
    tab = open_tab(browser, played_service.url)
    page = tab.page
    page.goto(f"{tab.base}/runs/nope")
    page.get_by_text("there is no run 'nope'").wait_for()
    assert "List the runs" in tab.text()
    assert all("404" in one for one in tab.wrong)
    tab.page.context.close()


def test_a_family_opens_closes_and_is_walked_by_keyboard(tab: Tab, played: Played, played_service: Served) -> None:
    deepest = played_service.client.get(f"/v1/runs/{played.name}/prompts", params={"sort": "-depth", "limit": 1}).json()
    number, depth = deepest["items"][0]["number"], deepest["items"][0]["depth"]
    page = tab.open(f"/runs/{played.name}/lineage?prompt={number}")
    selected = page.locator(".node.selected")
    assert selected.get_attribute("aria-level") == str(depth + 1)
    page.get_by_role("tree").focus()
    page.keyboard.press("ArrowLeft")
    parent = deepest["items"][0]["parent"]
    page.locator(f"#prompt-{parent}.selected").wait_for()
    before = page.locator(".node").count()
    page.keyboard.press("ArrowLeft")
    page.locator(f"#prompt-{parent}[aria-expanded=false]").wait_for()
    assert page.locator(".node").count() < before
    page.keyboard.press("ArrowRight")
    page.locator(f"#prompt-{parent}[aria-expanded=true]").wait_for()
    page.get_by_role("button", name="Seed", exact=True).click()
    page.wait_for_url(re.compile(f"prompt={deepest['items'][0]['root']}"))
    page.get_by_role("button", name="Deepest").click()
    page.locator(f'.node.selected[aria-level="{depth + 1}"]').wait_for()
    page.get_by_role("tree").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=re.compile(r"^Prompt \d+$")).first.wait_for()


def test_training_draws_every_logged_step(tab: Tab, played: Played, played_service: Served) -> None:
    page = tab.open(f"/runs/{played.name}/training")
    asked = played_service.client.get(f"/v1/runs/{played.name}/metrics", params={"name": "loss"}).json()["items"][0]
    card = page.get_by_role("region", name="Loss", exact=True)
    card.get_by_role("button", name="Numbers").click()
    assert [float(row.split("\t")[4]) for row in card.locator("tbody tr").all_inner_texts()] == [
        round(value, 2) for value in asked["values"]
    ]
    # a line of its own for every training
    assert (card.locator("path.line").get_attribute("d") or "").count("M") == len(set(asked["checkpoints"]))


def test_evolution_draws_what_was_sampled_and_what_operators_gained(
    tab: Tab, played: Played, played_service: Served
) -> None:
    page = tab.open(f"/runs/{played.name}/evolution")
    spreads = played_service.client.get(f"/v1/runs/{played.name}/statistics", params={"name": "spread"}).json()["items"]
    ridges = page.get_by_role("region", name="Informativeness of the pool")
    assert ridges.locator("path.ridge.sampled").count() == len(spreads) == 2
    paid = page.get_by_role("region", name="Gain by operator")
    operators = {
        one["operator"]
        for row in played_service.client.get(f"/v1/runs/{played.name}/statistics", params={"name": "payoff"}).json()[
            "items"
        ]
        for one in row["data"]
    }
    assert {row.split("\t")[0] for row in paid.locator("tbody tr").all_inner_texts()} == operators
    drift = page.get_by_role("region", name="Gain by operator and iteration")
    assert drift.get_by_role("img").count() == len(operators)
    dots = page.get_by_role("region", name="Regret and reward").locator("circle.mark")
    assert dots.count() == sum(None not in dot[1:3] for dot in spreads[-1]["data"]["dots"])
    dots.last.click()
    page.get_by_role("heading", name=re.compile(r"^Prompt \d+$")).first.wait_for()


def test_families_and_the_choice_of_operators_are_drawn(tab: Tab, played: Played, played_service: Served) -> None:
    families = played_service.client.get(f"/v1/runs/{played.name}/families").json()
    listed = played_service.client.get(f"/v1/runs/{played.name}/prompts", params={"root": families["items"][0]["root"]})
    assert families["items"][0]["descendants"] == listed.json()["total"] - 1
    assert families["total"] == 48 and all(
        sum(family["members"][n] for family in families["items"]) <= size for n, size in enumerate(families["sizes"])
    )
    known = {"worth": 0.41, "error": 0.02, "attempts": 30, "probability": 0.95}
    unknown = {"worth": None, "error": None, "attempts": 0, "probability": 0.05}
    beliefs = [{"operator": "breadth", **unknown}, {"operator": "deepening", **known}]

    def with_choice(route: Route) -> None:
        body = route.fetch().json()
        body["items"] += [{"iteration": n, "name": "operator_choice", "data": beliefs} for n in (1, 2)]
        route.fulfill(json=body)

    tab.page.route(re.compile(r"/statistics\?"), with_choice)
    page = tab.open(f"/runs/{played.name}/evolution")
    choice = page.get_by_role("region", name="Choice of operators")
    assert choice.locator("path.line").count() == 2
    assert [row.split("\t")[0::2] for row in choice.locator("tbody tr").all_inner_texts()] == [
        ["deepening", "0.41", "95.0%"],
        ["breadth", "–", "5.0%"],
    ]
    assert tab.axe() == []
    bands = page.get_by_role("region", name="Population").locator(".family-band")
    assert bands.count() == len(families["items"])
    bands.first.hover()
    assert families["items"][0]["text"] in page.locator(".family-tip").inner_text()
    bands.first.click()
    page.wait_for_url(re.compile(rf"/lineage\?prompt={families['items'][0]['root']}$"))


def test_topics_drift_where_prompts_carry_them(tab: Tab, played: Played, played_service: Served) -> None:
    shares = {f"topic {n}": (8 - n) / 36 for n in range(8)}
    found = played_service.client.get(
        f"/v1/runs/{played.name}/statistics", params={"name": ["spread", "payoff", "diversity"]}
    ).json()
    for row in found["items"]:
        if row["name"] == "diversity":
            row["data"]["topics"] = shares
    tab.page.route(re.compile(r"/statistics\?"), lambda route: route.fulfill(json=found))
    topics = tab.open(f"/runs/{played.name}/evolution").get_by_role("region", name="Topics of the batch")
    assert topics.locator(".legend").inner_text().split("\n")[-1] == "2 others"
    topics.get_by_role("button", name="Numbers").click()
    rows = [row.split("\t") for row in topics.locator("tbody tr").all_inner_texts()]
    assert {(topic, float(share)) for _, topic, share in rows} == {
        (topic, round(share, 2)) for topic, share in shares.items()
    }


def test_reward_and_gap_are_charted_by_category(tab: Tab, played: Played) -> None:
    def with_categories(route: object) -> None:
        answer = route.fetch()  # type: ignore[attr-defined]
        body = answer.json()
        for iteration in (0, 1):
            body["items"] += [{"iteration": iteration, "name": "categories", "data": figures_of(iteration)}]
        route.fulfill(json=body)  # type: ignore[attr-defined]

    def figures_of(iteration: int) -> list[dict[str, object]]:
        figures = {"prompts": 12, "rewarded": 12, "reward": 0.25 + iteration / 4, "reward_interval": [0.125, 0.75]}
        gaps = {"informative": 11, "gap": 0.5, "gap_interval": [0.25, 0.75]}
        return [{"category": name, "share": 0.5} | figures | gaps for name in ("coding", "math")]

    tab.page.route(re.compile("/statistics"), with_categories)
    page = tab.open(f"/runs/{played.name}/evolution")
    for title in ("Reward by category", "Reward gap by category"):
        chart = page.get_by_role("region", name=title)
        assert "coding" in chart.inner_text() and "math" in chart.inner_text()
