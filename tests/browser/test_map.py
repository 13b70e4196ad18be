"""The map: what it shows under the pointer, an area by pointer and by keyboard, and the table of it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.browser_fixtures import Tab
from tests.support.cli_fixtures import Played
from tests.support.service_fixtures import Served


@pytest.fixture(scope="module")
def mapped(played: Played, played_service: Served) -> Any:
    return played_service.client.get(f"/v1/runs/{played.name}/map").json()


def spot(tab: Tab, x: float, y: float) -> tuple[float, float]:
    """Where a place of the map is on the screen."""
    box = tab.page.locator(".plane canvas").bounding_box()
    assert box is not None
    size = box["height"]
    left = box["x"] + (box["width"] - size) / 2
    return left + 10 + x * (size - 20), box["y"] + size - 10 - y * (size - 20)


def test_a_dot_tells_its_prompt_and_opens_it(tab: Tab, played: Played, mapped: Any) -> None:
    page = tab.open(f"/runs/{played.name}/map")
    place = mapped["numbers"].index(5)
    page.mouse.move(*spot(tab, mapped["x"][place], mapped["y"][place]))
    told = page.locator(".plane .tip").inner_text()
    number = int(re.findall(r"Prompt (\d+)", told)[0])
    near = mapped["numbers"].index(number)
    assert abs(mapped["x"][near] - mapped["x"][place]) < 0.03 and mapped["starts"][near] in told
    page.mouse.down()
    page.mouse.up()
    page.get_by_role("heading", name=f"Prompt {number}", exact=True).wait_for()


def test_an_area_is_dragged_and_gives_its_prompts_as_a_table(
    tab: Tab, played: Played, played_service: Served, mapped: Any
) -> None:
    page = tab.open(f"/runs/{played.name}/map?by=operator")
    page.mouse.move(*spot(tab, 0.3, 0.3))
    page.mouse.down()
    page.mouse.move(*spot(tab, 0.5, 0.6))
    page.mouse.move(*spot(tab, 0.7, 0.8))
    page.mouse.up()
    page.wait_for_url(re.compile("area="))
    area = re.findall(r"area=([\d.%C,]+)", page.url)[0].replace("%2C", ",")
    left, low, right, high = (float(part) for part in area.split(","))
    assert (left, low, right, high) == pytest.approx((0.3, 0.3, 0.7, 0.8), abs=0.01)
    inside = [
        number
        for number, x, y in zip(mapped["numbers"], mapped["x"], mapped["y"], strict=True)
        if left <= x <= right and low <= y <= high
    ]
    assert f"{len(inside)} prompts in the area" in tab.text(".selection")
    page.get_by_role("link", name="Show as a table").click()
    page.locator("table.prompts").wait_for()
    assert "area=" in page.url
    numbers = [int(text) for text in page.locator("td.number a").all_inner_texts()]
    assert numbers == inside[:50]
    page.get_by_role("button", name="Remove the area filter").click()
    page.wait_for_url(re.compile(r"/prompts$"))


def test_an_area_is_placed_moved_and_sized_by_keyboard(tab: Tab, played: Played) -> None:
    page = tab.open(f"/runs/{played.name}/map")
    page.get_by_role("application").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile(re.escape("area=0.4%2C0.4%2C0.6%2C0.6")))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    page.wait_for_url(re.compile(re.escape("area=0.42%2C0.4%2C0.62%2C0.62")))
    selected = re.match(r"(\d+) prompts? in the area", tab.text(".selection"))
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/prompts.area="))
    tab.settled()
    assert selected is not None and page.locator("table.prompts tbody tr").count() == min(50, int(selected[1]))
    page.go_back()
    page.get_by_role("application").focus()
    page.keyboard.press("Escape")
    page.wait_for_url(re.compile("/map$"))
    assert "in the area" not in tab.text(".selection")
