"""A study in the dashboard and as a page: what it says, what its dots open, and that axe finds nothing serious."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.test_downloads import check_downloads
from tests.support.browser_fixtures import open_tab
from tests.support.played_study import NAME
from tests.support.service_fixtures import Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_a_study_reads_well_in_both_themes_and_on_a_phone(
    browser: Browser, study_service: Served, scheme: str, width: int
) -> None:
    tab = open_tab(browser, study_service.url, scheme, width)
    for view in ("/studies", f"/studies/{NAME}"):
        page = tab.open(view)
        assert tab.axe() == [], view
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), view
    assert not tab.wrong
    tab.page.context.close()


def test_the_dots_of_a_study_open_its_runs(browser: Browser, study_service: Served) -> None:
    report = study_service.client.get(f"/v1/studies/{NAME}").json()
    tab = open_tab(browser, study_service.url)
    page = tab.open("/")
    page.get_by_role("link", name="Studies").click()
    tab.settled()
    page.get_by_role("link", name=NAME, exact=True).click()
    tab.settled()

    forest = page.get_by_role("region", name="Comparisons").locator("tbody tr")
    assert forest.count() == 2
    one = report["comparisons"][0]
    assert f"{abs(one['difference']['value']):.3f}" in forest.first.inner_text()
    assert forest.first.locator("circle.mark").count() == len(one["pairs"]) == 3
    assert "A/A" in forest.nth(1).inner_text()
    curves = page.get_by_role("region", name="Outcome over iterations")
    assert curves.locator("path.line").count() == 3 and curves.locator("path.band").count() >= 2
    runs = page.get_by_role("region", name="Runs of the study")
    assert "an engine died" in runs.inner_text()

    forest.first.locator("circle.mark").first.click()
    page.wait_for_url(lambda url: "/compare?" in url)
    tab.settled()
    assert all(one["pairs"][0][arm] in tab.text() for arm in ("first", "second"))
    page.go_back()
    tab.settled()
    dot = page.get_by_role("region", name="Arms").locator("circle.mark").first
    name = (dot.locator("title").text_content() or "").partition(":")[0]
    dot.click()
    page.wait_for_url(lambda url: url.endswith(f"/runs/{name}"))
    tab.settled()
    assert not tab.wrong
    tab.page.context.close()


def test_the_page_of_a_study_opens_from_disk_and_asks_for_nothing(
    browser: Browser, study_service: Served, tmp_path: Path
) -> None:
    file = tmp_path / "study.html"
    file.write_bytes(study_service.client.get(f"/v1/studies/{NAME}/report").content)
    tab = open_tab(browser, "")
    tab.page.context.set_offline(True)
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    page = tab.open(file.as_uri())
    assert asked == [file.as_uri()] and tab.axe() == []
    titles = page.locator(".figure h2").all_inner_texts()
    assert titles == ["Paired differences", "Outcome by arm", "Outcome over iterations"]
    assert check_downloads(tab, 1) == 3
    assert not tab.wrong
    tab.page.context.close()
