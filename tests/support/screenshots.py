"""Pictures of every view, light, dark and narrow: `make screenshots ARGS="RUN"` (a run of the data directory; default:
last). Runs are compared where there are two that have played.

They go to docs/screenshots; git keeps those that the README shows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from api.service import Service
from eva.settings import read_settings
from store.game import prompts
from store.runs.runs import find_run
from store.session import open_store
from store.views.report import family_members, most_evolved_root
from store.views.run_lists.pages import RunFilter, run_page
from tests.support.browser_fixtures import open_tab
from tests.support.service_fixtures import serving
from tests.support.structure import ROOT
from tests.support.tools import chromium

if TYPE_CHECKING:
    from sqlalchemy import Connection

FOLDER = ROOT / "docs" / "screenshots"
PATIENCE_MS = 180_000
"""The first map of a run takes six seconds of computing, so a busy machine may need a minute for it."""
SHOTS = {"light": ("light", 1280), "dark": ("dark", 1280), "narrow": ("light", 390)}


def views(conn: Connection, name: str) -> Iterator[tuple[str, str]]:
    """Name and address of every view of a run; of prompts, one of its most telling family."""
    run = find_run(conn, name)
    base, newest = f"/runs/{run.name}", max(run.iteration - 1, 0)
    root = most_evolved_root(conn, run.id)
    family = [] if root is None else family_members(conn, run.id, root)
    number = max((one.depth, one.info or 0, one.number) for one in family)[2] if family else 0
    line = [one.number for one in prompts.ancestors(conn, run.id, number)]
    yield from {
        "runs": "/",
        "overview": base,
        "prompts": f"{base}/prompts?iteration={newest}&sort=-info",
        "prompt": f"{base}/prompts/{line[len(line) // 2]}",
        "lineage": f"{base}/lineage?prompt={number}",
        "map": f"{base}/map",
        "evolution": f"{base}/evolution",
        "training": f"{base}/training",
        "samples": f"{base}/samples?difference=any",
        "config": f"{base}/config",
        "log": f"{base}/log",
        "files": f"{base}/files",
        "choose": "/launch",
        "launch": "/launch?preset=playground",
        "yaml": "/launch?preset=playground&as=yaml",
        "fork": f"/launch?fork={run.name}&at={newest}",
        "studies": "/studies",
        "webhooks": "/webhooks",
    }.items()
    others = [
        row.run.name for row in run_page(conn, RunFilter(), 9, None) if row.run.id != run.id and row.run.iteration
    ]
    if others:
        yield "compare", f"/compare?run={run.name}&run={others[0]}"


def main(name: str) -> None:
    from playwright.sync_api import sync_playwright

    settings = read_settings()
    store = open_store(settings)
    with store.transaction() as conn:
        wanted = dict(views(conn, name))
    FOLDER.mkdir(exist_ok=True)
    with serving(Service(store, settings)) as served, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for shot, (scheme, width) in SHOTS.items():
            tab = open_tab(browser, served.url, scheme, width)
            tab.page.context.set_default_timeout(PATIENCE_MS)
            for view, address in wanted.items():
                tab.open(address).screenshot(path=FOLDER / f"{view}-{shot}.png")
            assert not tab.wrong, tab.wrong
        browser.close()
    store.close()
    print(f"{len(SHOTS) * len(wanted)} pictures in {FOLDER}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["last"]))
