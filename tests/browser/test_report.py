"""The report of a run: one file, opened from disk, that says what the dashboard says and asks for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.test_downloads import check_downloads
from tests.support.browser_fixtures import open_tab
from tests.support.cli_fixtures import Played
from tests.support.service_fixtures import Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_disk_and_asks_for_nothing(
    browser: Browser, played_service: Served, played: Played, tmp_path: Path, scheme: str
) -> None:
    file = tmp_path / "report.html"
    answer = played_service.client.get(f"/v1/runs/{played.name}/report")
    assert answer.headers["content-disposition"] == f'attachment; filename="{played.name}.html"'
    file.write_bytes(answer.content)
    tab = open_tab(browser, "", scheme)
    tab.page.context.set_offline(True)
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    page = tab.open(file.as_uri())
    assert asked == [file.as_uri()]
    assert page.locator("h2.part-title").all_inner_texts() == [
        "Evolution",
        "Lineages",
        "Prompts and responses",
        "Training",
        "Config, and how to reproduce the run",
    ]
    assert tab.axe() == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    if scheme == "light":
        _check_inside(page, played_service, played)
        assert check_downloads(tab, 1) == 16
    assert not tab.wrong
    tab.page.context.close()


def _check_inside(page: Page, service: Served, played: Played) -> None:
    batches = service.client.get(f"/v1/runs/{played.name}/statistics", params={"name": "batch"}).json()["items"]
    chart = page.get_by_role("img", name="Best, mean and worst reward by iteration")
    chart.focus()
    page.keyboard.press("ArrowRight")
    assert f"{batches[0]['data']['reward_mean']:.2f}" in page.locator(".tip").inner_text()
    tree = page.get_by_role("tree").first
    before = tree.locator(".node").count()
    tree.locator(".node[aria-expanded=true] .turn").first.click()
    assert tree.locator(".node").count() < before
    tree.locator(".node[aria-expanded=false] .turn").first.click()
    assert tree.locator(".node").count() >= before
    assert page.locator(".response.best").count() == page.locator(".response.worst").count() > 0
    assert f"eva run {played.name}.yaml" in page.inner_text("main")
