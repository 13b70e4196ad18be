"""Compares every view of the dashboard in Chromium over a run of a million prompts with one of a thousand.

    python -m benchmarks.dashboard [--prompts 1000000] [--times 5] [--folder PATH] [--json]

It measures the first useful paint of each view, from the address to its main content, and the interactions that query
the server: filter, sort, page, next prompt, expand a family, hover over the map. The times should be the same for both
runs; both include the browser's own time. The store is that of benchmarks.service; `--folder` keeps it, or names one
that was kept.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from api.service import Service
from benchmarks.measuring import machine
from benchmarks.service import SMALL, filled
from eva.settings import Settings
from store.session import Store, open_store
from tests.support.service_fixtures import serving
from tests.support.tools import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

PATIENCE_MS = 120_000
_THERE = """wanted => document.querySelector(wanted) && !document.querySelector('.waiting')
    && !document.querySelector("main [aria-busy='true']")"""
_CHANGED = """([place, before]) => document.querySelector(place) && document.querySelector(place).textContent !== before
    && !document.querySelector("main [aria-busy='true']")"""
_FIRST = "table.prompts tbody td.number a"


@dataclass(frozen=True)
class Seen:
    """The median milliseconds of one view or interaction."""

    what: str
    small_ms: float
    large_ms: float

    @property
    def ratio(self) -> float:
        return self.large_ms / self.small_ms


@dataclass(frozen=True)
class Visit:
    """A browser page of one run; each method is a timed step that leaves the page where it ends."""

    page: Page
    base: str
    run: str
    prompts: int

    def open(self, path: str, wanted: str) -> None:
        self.page.goto(f"{self.base}{path.replace('RUN', self.run)}")
        self.page.wait_for_function(_THERE, arg=wanted)

    def change(self, act: Callable[[], object], place: str) -> None:
        """Performs an action and waits until the content at `place` changes."""
        before = self.page.locator(place).first.inner_text()
        act()
        self.page.wait_for_function(_CHANGED, arg=[place, before])

    def fold(self, wanted: str) -> None:
        """Closes the seed's branch, or opens it again."""
        self.page.locator(".node .turn").first.dispatch_event("click")
        self.page.wait_for_function(_THERE, arg=f".node[aria-level='1'][aria-expanded={wanted}]")

    def hover(self) -> None:
        box = self.page.locator(".plane canvas").bounding_box()
        assert box is not None
        for part in range(20, 80):
            self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * part / 100)
            if self.page.locator(".plane .tip").count():
                return


def steps(visit: Visit) -> Iterator[tuple[str, Callable[[], None]]]:
    """Returns the timed steps, in an order in which each starts on the page that it needs."""
    page, deep = visit.page, visit.prompts - 1 - visit.prompts // 8
    yield "runs", lambda: visit.open("/", "table.runs tbody tr")
    yield "overview", lambda: visit.open("/runs/RUN", ".overview-head")
    yield "evolution", lambda: visit.open("/runs/RUN/evolution", "main .card")
    yield "training", lambda: visit.open("/runs/RUN/training", "main path.line")
    yield "prompts", lambda: visit.open("/runs/RUN/prompts", _FIRST)
    yield (
        "  filter by iteration made in",
        lambda: visit.change(lambda: (page.get_by_label("Made in").fill("2"), page.keyboard.press("Enter")), _FIRST),
    )
    yield "  next page", lambda: visit.change(page.get_by_role("link", name="Next 50").click, _FIRST)
    yield "  sort by info", lambda: visit.change(page.get_by_role("link", name="Info").click, _FIRST)
    yield "prompts of a pool, by info", lambda: visit.open("/runs/RUN/prompts?iteration=2&sort=-info", _FIRST)
    yield "  next page of it", lambda: visit.change(page.get_by_role("link", name="Next 50").click, _FIRST)
    yield "prompt", lambda: visit.open(f"/runs/RUN/prompts/{deep}", ".ranked li")
    yield "  next prompt (j)", lambda: visit.change(lambda: page.keyboard.press("j"), "main h1")
    yield "lineage", lambda: visit.open(f"/runs/RUN/lineage?prompt={deep}", ".node")
    yield "  jump to its seed", lambda: visit.change(page.get_by_role("button", name="Its seed").click, ".chosen h2")
    yield "  close the family", lambda: visit.fold("false")
    yield "  open the family", lambda: visit.fold("true")
    yield "map, drawn", lambda: visit.open("/runs/RUN/map", ".plane canvas")
    yield "map, again", lambda: visit.open("/runs/RUN/map", ".plane canvas")
    yield "  hover", visit.hover
    yield "  the prompts of an area", lambda: visit.open("/runs/RUN/prompts?area=0.3,0.3,0.6,0.6", _FIRST)


def timed(page: Page, store: Store, settings: Settings, run: str, prompts: int, times: int) -> dict[str, float]:
    """Returns the median of each step after a warm-up round; each round has its own service, which computes the map."""
    found: dict[str, list[float]] = {}
    for turn in range(times + 1):
        with serving(Service(store, settings)) as served:
            for name, step in steps(Visit(page, served.url, run, prompts)):
                began = time.perf_counter()
                step()
                found.setdefault(name, []).append(1000 * (time.perf_counter() - began))
        if turn == 0:
            found.clear()
    return {name: median(values) for name, values in found.items()}


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="folder of the filled store, new or kept from before")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings((options.folder or Path(folder)) / "data", None, None)
        store = open_store(settings)
        runs = [(filled(store, "small", SMALL), SMALL), (filled(store, "large", options.prompts), options.prompts)]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(PATIENCE_MS)
            few, many = (timed(page, store, settings, run, count, options.times) for run, count in runs)
            browser.close()
        store.close()
    show([Seen(name, few[name], many[name]) for name in few], options.prompts, as_json=options.json)


def show(found: list[Seen], prompts: int, *, as_json: bool) -> None:
    if as_json:
        print(
            json.dumps(
                {
                    "machine": machine(),
                    "prompts": prompts,
                    "views": [asdict(one) | {"ratio": one.ratio} for one in found],
                }
            )
        )
        return
    print(f"the dashboard over {prompts:,} prompts, against {SMALL:,}\n  on {machine()}")
    print(f"  {'view or interaction':<32} {'small ms':>9} {'large ms':>9} {'ratio':>7}")
    for one in found:
        print(f"  {one.what:<32} {one.small_ms:9.0f} {one.large_ms:9.0f} {one.ratio:7.2f}")


if __name__ == "__main__":
    main()
