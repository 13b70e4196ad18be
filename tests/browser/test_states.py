"""Runs that are not finished: empty, playing, failed; and a store without any."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace

import pytest

from eva.config import RunConfig
from eva.errors import RewarderDiedError
from eva.roles import Roles
from eva.settings import Settings
from eva.types import PromptResponses, Request
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from orchestrator.watch.listener import NoListener
from store.rows import RunRow
from store.session import Store
from tests.browser.test_views import VIEWS
from tests.support.browser_fixtures import Tab
from tests.support.played_run import LazySolver, lazily, lazy_roles, playground_config


@pytest.fixture
def created(store: Store) -> RunRow:
    return register_run(store, playground_config("iterations=2", "prompts.playground=16", "evaluation.playground=4"))


def test_a_store_without_runs_says_how_to_start_one(fresh: Tab) -> None:
    fresh.open("/")
    assert "No runs yet" in fresh.text() and "eva demo" in fresh.text()


def test_what_an_unplayed_run_lacks_is_said_in_every_view(fresh: Tab, created: RunRow, store: Store) -> None:
    fresh.open(f"/runs/{created.name}")
    assert "No batch has been judged yet" in fresh.text() and "created" in fresh.text()
    assert f"press Start, or run eva resume {created.name}" in fresh.text()
    page = fresh.open(f"/runs/{created.name}/prompts")
    assert page.locator("tbody tr").count() == 16
    fresh.open(f"/runs/{created.name}/prompts/3")
    assert "No responses yet" in fresh.text() and "so it was not trained on" in fresh.text()
    fresh.open(f"/runs/{created.name}/lineage")
    assert fresh.page.locator(".node").count() == 1
    walked(
        fresh,
        created.name,
        register_run(store, playground_config("prompts.playground=16", "evaluation.playground=4")).name,
    )


def test_a_run_that_plays_is_seen_to_move_without_a_reload(
    fresh: Tab, created: RunRow, store: Store, store_settings: Settings
) -> None:
    page = fresh.page
    page.goto(f"{fresh.base}/runs/{created.name}")
    page.get_by_text("0 of 2").wait_for()
    page.evaluate("window.sameVisit = true")
    player = threading.Thread(target=lambda: drive(store, store_settings, created, NoListener(), build=lazily))
    player.start()
    page.get_by_text("2 of 2").wait_for()
    page.locator(".status.finished").wait_for()
    card = page.get_by_role("region", name="Reward of the batch", exact=True)
    card.locator("path.line").first.wait_for(state="attached")
    player.join(timeout=60)
    assert page.evaluate("window.sameVisit")
    assert page.locator(".timeline-row").count() == 2


def test_every_view_of_a_run_that_plays_and_of_one_that_failed(
    fresh: Tab, created: RunRow, store: Store, store_settings: Settings
) -> None:
    other = register_run(store, playground_config("prompts.playground=16", "evaluation.playground=4"))
    solver = HeldSolver()
    player = threading.Thread(target=_play_until_it_fails, args=(store, store_settings, created, solver))
    player.start()
    page = fresh.page
    try:
        assert solver.reached.wait(60)
        walked(fresh, created.name, other.name, axe=False)
        page.goto(f"{fresh.base}/runs/{created.name}")
        page.locator(".status.running").wait_for()
        page.locator(".now").wait_for()
        assert fresh.axe() == []
        page.get_by_text("The engines take over the new policy, before the first held-out prompt.").wait_for()
        assert "0 of 0" not in fresh.text(".overview-head")
        page.get_by_role("button", name="Pause", exact=True).click()
        page.get_by_text("asked to pause, takes effect").wait_for()
        page.evaluate("window.sameVisit = true")
    finally:
        solver.released.set()
        player.join(timeout=60)
    page.locator(".status.failed").wait_for()
    assert page.evaluate("window.sameVisit"), "that it failed was seen without a reload"
    assert "The run failed: the reward of <b>node-3</b> is away" in fresh.text("[role=alert]")
    assert f"eva run --resume {created.name}" in fresh.text("[role=alert]")
    walked(fresh, created.name, other.name)


class HeldSolver(LazySolver):
    """Answers as the initial model; what the first trained policy is asked waits, and then fails."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.released = threading.Event(), threading.Event()

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        if self.policy is not None and self.policy.number:
            self.reached.set()
            assert self.released.wait(60)
            raise RewarderDiedError("the reward of <b>node-3</b> is away")
        yield from super().generate(requests)


def _play_until_it_fails(store: Store, settings: Settings, run: RunRow, solver: HeldSolver) -> None:
    def build(config: RunConfig, *_: object, **told: object) -> AbstractContextManager[Roles]:
        return nullcontext(replace(lazy_roles(config), generator=solver))

    with suppress(RewarderDiedError):
        drive(store, settings, run, NoListener(), build=build)


def walked(tab: Tab, name: str, other: str, *, axe: bool = True) -> None:
    """Every view: nothing serious by axe, nothing wider than its window; the fixture holds that nothing went wrong."""
    views = ["/runs/{run}/prompts/3", f"/compare?run={other}&run={{run}}", "/launch?fork={run}"]
    for view in [*(one for one in VIEWS if "prompts/" not in one), *views]:
        page = tab.open(view.format(run=name))
        assert not axe or tab.axe() == [], view
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), view
    assert tab.page.locator("h1", has_text=f"Fork {name}").count()
