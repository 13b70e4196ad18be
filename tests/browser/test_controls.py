"""What can be done with a run from its page and from the list: done, refused in words, asked first, seen at once."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from orchestrator.hold.lease import claim
from orchestrator.launch.registration import register_run
from store.rows import RunRow
from store.runs.runs import set_status
from store.session import Store
from tests.browser.test_hostile_text import PAYLOADS
from tests.support.browser_fixtures import Tab
from tests.support.played_run import playground_config
from tests.support.service_fixtures import Served


@pytest.fixture
def created(store: Store) -> RunRow:
    return register_run(store, playground_config("iterations=2", "prompts.playground=16", "evaluation.playground=4"))


def run_of(served: Served, name: str) -> Any:
    return served.client.get(f"/v1/runs/{name}").json()


def test_a_run_is_started_paused_and_cancelled_after_a_question(fresh: Tab, served: Served, created: RunRow) -> None:
    page = fresh.open(f"/runs/{created.name}")
    page.get_by_role("button", name="Start").click()
    page.locator(".status.queued").wait_for()
    page.get_by_text("Queued: waiting for a driver.").wait_for()
    page.get_by_role("button", name="Delete").press("Enter")
    page.get_by_text("Delete: The run is waiting for a driver; pause it first.").wait_for()
    page.get_by_role("button", name="Pause", exact=True).click()
    page.locator(".status.paused").wait_for()

    page.get_by_role("button", name="Cancel", exact=True).click()
    asked = page.get_by_role("dialog", name=f"Cancel {created.name}?")
    assert asked.evaluate("box => box.matches(':modal')")
    assert page.evaluate("document.activeElement.textContent") == "Keep it"
    assert fresh.axe() == []
    page.keyboard.press("Escape")
    asked.wait_for(state="detached")
    assert run_of(served, created.name)["status"] == "paused"
    assert page.evaluate("document.activeElement.textContent") == "Cancel", "the focus comes back"
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Cancel the run").click()
    page.locator(".status.cancelled").wait_for()
    resume = page.get_by_role("button", name=re.compile("^Pause"))
    assert resume.get_attribute("aria-disabled") == "true" and "The run is cancelled" in resume.inner_text()


def test_a_run_whose_driver_does_not_obey_is_cancelled_by_force(
    fresh: Tab, created: RunRow, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.runs.changes.FORCED_AFTER_S", 0.2)
    monkeypatch.setattr("orchestrator.hold.control.end_process", lambda _process: None)
    monkeypatch.setattr("orchestrator.hold.control._DEATH_S", 0)
    with claim(store, created, ttl_s=600):  # this process stands for a driver that hangs
        with store.transaction() as conn:
            set_status(conn, created.id, "running")
        page = fresh.open(f"/runs/{created.name}")
        page.get_by_role("button", name="Cancel", exact=True).click()
        force = page.get_by_role("checkbox", name=re.compile("^End its driver"))
        assert not force.is_checked() and fresh.axe() == []
        page.get_by_role("button", name="Cancel the run").click()
        page.get_by_text("Accepted: takes effect after the current batch.").wait_for()
        page.get_by_role("button", name="Cancel", exact=True).click()
        assert force.is_checked(), "who asks again wants more than to ask"
        page.get_by_role("button", name="Cancel the run").click()
        page.locator(".status.cancelled").wait_for()


def test_what_the_api_refuses_is_said_in_its_words(fresh: Tab, served: Served, created: RunRow, store: Store) -> None:
    page = fresh.open(f"/runs/{created.name}")
    with store.transaction() as conn:
        set_status(conn, created.id, "finished")
    page.get_by_role("button", name="Start").click()
    page.locator(".said.mistake").wait_for()
    assert f"run {created.name} is finished" in fresh.text(".said")
    assert [one for one in fresh.wrong if "409" not in one] == []
    fresh.wrong.clear()


def test_words_are_hostile_text_like_any_other_and_nobodys_are_lost(
    fresh: Tab, served: Served, created: RunRow
) -> None:
    page = fresh.open(f"/runs/{created.name}")
    page.get_by_role("button", name="Name, tags, note").click()
    assert fresh.axe() == []
    page.get_by_label("Note", exact=True).fill("\n".join(PAYLOADS[:9]))
    page.get_by_label("Tags", exact=True).fill(f"{PAYLOADS[0]}\n\n{PAYLOADS[1]}")
    page.get_by_label("Name", exact=True).fill(PAYLOADS[0])
    page.get_by_role("button", name="Save").click()
    page.locator(".mistake", has_text="String should match pattern").wait_for()
    page.get_by_label("Name", exact=True).fill("better")
    # somebody else writes meanwhile
    tag = served.client.get(f"/v1/runs/{created.name}").headers["etag"]
    served.client.patch(f"/v1/runs/{created.name}", json={"note": "theirs"}, headers={"If-Match": tag})
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Somebody else changed them").wait_for()
    page.get_by_role("dialog").get_by_text("theirs", exact=True).wait_for()
    page.get_by_role("button", name="Save").click()
    page.wait_for_url(re.compile("/runs/better$"))
    page.locator("h1", has_text="better").wait_for()
    saved = run_of(served, "better")
    assert (saved["note"], saved["tags"]) == ("\n".join(PAYLOADS[:9]), list(PAYLOADS[:2]))
    expect(page.locator(".head .tag")).to_have_text(list(PAYLOADS[:2]))
    # the page may ask for the old name once more before it goes to the new one
    assert [line for line in fresh.wrong if not re.search("404|412|422", line)] == []
    fresh.wrong.clear()


def test_a_page_that_is_looked_at_again_shows_what_was_changed_elsewhere(
    fresh: Tab, served: Served, store: Store, created: RunRow
) -> None:
    with store.transaction() as conn:
        set_status(conn, created.id, "finished")
    page = fresh.open(f"/runs/{created.name}")
    page.locator("h1", has_text=created.name).wait_for()
    tag = served.client.get(f"/v1/runs/{created.name}").headers["etag"]
    served.client.patch(f"/v1/runs/{created.name}", json={"tags": ["elsewhere"]}, headers={"If-Match": tag})
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".head .tag")).to_have_text(["elsewhere"])


def test_runs_are_deleted_and_restored_in_the_list(fresh: Tab, served: Served, created: RunRow) -> None:
    page = fresh.open("/")
    page.get_by_label(f"Manage {created.name}").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete the run").click()
    page.get_by_text("No runs yet").wait_for()
    page.get_by_label("Show deleted runs").check()
    page.get_by_label(f"Manage {created.name}").click()
    page.get_by_role("button", name="Restore", exact=True).click()
    page.get_by_text("Restored.").wait_for()
    assert fresh.axe() == []
    assert run_of(served, created.name)["deleted_at"] is None
