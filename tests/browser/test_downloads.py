"""Every chart of every view is taken away as PNG, as CSV, and as SVG unless it is drawn on a canvas."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from orchestrator.watch.listener import NoListener
from store.session import Store
from tests.support.browser_fixtures import Tab, open_tab
from tests.support.cli_fixtures import Played
from tests.support.fakes import FakeEvolver, always, fake_config, fake_roles
from tests.support.service_fixtures import Pair, Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHARTS = "main :is(svg[role=img]:not(.spark), svg.tree, canvas, .timeline)"
FORMULAS = tuple("=+-@")
TEXTS_OF_SVG = """(svg) => {
    const parsed = new DOMParser().parseFromString(svg, "image/svg+xml");
    return [...parsed.querySelectorAll("svg > text, g text")].map((text) => text.textContent.trim());
}"""


def taken(page: Page, card: Locator, kind: str) -> Path:
    with page.expect_download() as download:
        card.locator(f"button[aria-label$='as {kind}']").click()
    assert download.value.suggested_filename.endswith(f".{kind.lower()}")
    return download.value.path()


def check_downloads(tab: Tab, most: int | None = None) -> int:
    """How many figures the open view has; each (or the first `most`) gives a picture with more than its ground, and
    rows under names."""
    page = tab.page
    assert not page.locator(CHARTS).evaluate_all("all => all.filter(e => !e.closest('.figure')).map(e => e.outerHTML)")
    cards = page.locator("section.figure").all()
    for card in cards[:most]:
        name = card.get_attribute("aria-label")
        head, *rows = csv.reader(io.StringIO(taken(page, card, "CSV").read_text(), newline=""))
        assert len(set(head)) == len(head) > 1 and all(head), name
        assert rows and all(len(row) == len(head) for row in rows), name
        for cell in (cell for row in rows for cell in row if cell.startswith(FORMULAS)):
            float(cell)
        with Image.open(taken(page, card, "PNG")) as image:
            seen = card.locator(".figure-body").bounding_box()
            assert seen is not None and image.width >= seen["width"] and image.height >= seen["height"], name
            colours = image.convert("RGB").getcolors(2**24) or []
            corner = image.convert("RGB").crop((image.width - 120, 30, image.width - 40, 70))
            assert len(corner.getcolors(2**16) or []) > 5, f"{name}: the name of the run is not in the picture"
            assert len(colours) > 20 and max(count for count, _ in colours) < 0.999 * image.width * image.height, name
        check_vector(page, card, name)
    return len(cards)


def check_vector(page: Page, card: Locator, name: str | None) -> None:
    """The SVG of a figure needs nothing but itself, and has the figure's title, its run's name and its words."""
    button = card.locator("button[aria-label$='as SVG']")
    assert button.count() == int(not card.locator("canvas").count()), name
    if not button.count():
        return
    svg = taken(page, card, "SVG").read_text()
    assert not re.search(r"var\(|light-dark|oklab|class=|style=|https?://(?!www\.w3\.org)", svg), name
    texts = page.evaluate(TEXTS_OF_SVG, svg)
    assert texts[0] == name and len(texts) > 5, name
    assert all(run in page.url + page.title() for run in texts[1].split(", ")), name
    assert len(set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', svg))) > 2, f"{name} has no colours"


def test_every_figure_of_every_view_has_both(tab: Tab, played: Played) -> None:
    base = f"/runs/{played.name}"
    views = ("", "/lineage", "/map", "/training", "/evolution")
    figures = {view: check_downloads(tab) for view in views if tab.open(base + view)}
    assert figures == {"": 5, "/lineage": 1, "/map": 1, "/training": 2, "/evolution": 7}


def test_compared_runs_have_both_too(browser: Browser, pair_service: Pair) -> None:
    tab = open_tab(browser, pair_service.served.url)
    tab.open(f"/compare?run={pair_service.names[0]}&run={pair_service.names[1]}")
    assert check_downloads(tab) >= 5
    assert not tab.wrong
    tab.page.context.close()


def test_a_name_is_no_formula_in_a_spreadsheet(
    browser: Browser, served: Served, store: Store, store_settings: Settings
) -> None:
    class Formulas(FakeEvolver):
        operators = ('=HYPERLINK("//evil.example")', "@SUM(A1)", "+1", " -1+1")

    run = register_run(store, fake_config(iterations=2))
    drive(store, store_settings, run, NoListener(), build=always(fake_roles(evolver=Formulas())))
    tab = open_tab(browser, served.url)
    page = tab.open(f"/runs/{run.name}/evolution")
    told = taken(page, page.get_by_role("region", name="Gain by operator"), "CSV").read_text()
    names = {row[0] for row in csv.reader(io.StringIO(told, newline=""))} - {"operator"}
    assert names and all(name.startswith("'") for name in names), json.dumps(sorted(names))
    assert not tab.wrong
    tab.page.context.close()
