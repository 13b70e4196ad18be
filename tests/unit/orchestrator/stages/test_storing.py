"""Results are stored by a thread of their own: the stage goes on meanwhile, and learns of whatever goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from eva.errors import DiskFullError
from eva.settings import Settings
from eva.types import PromptResponses, RewardedResponses
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from orchestrator.stages import stage
from orchestrator.watch.listener import NoListener
from store.game import responses
from store.runs import runs
from store.session import Store
from store.views.fingerprint import fingerprint
from tests.support.fakes import FakeGenerator, FakeRewarder, always, fake_config, fake_roles

WAIT_S = 10.0


class Watched(FakeRewarder):
    """Rewards the fifth prompt only while a write is being made, and says when ten more are rewarded."""

    def __init__(self) -> None:
        self.writing, self.ten_more = threading.Event(), threading.Event()

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        for index, one in enumerate(super().reward(prompts)):
            if index == 4:
                assert self.writing.wait(WAIT_S)
            if index == 14:
                self.ten_more.set()
            yield one


def in_writer() -> bool:
    return threading.current_thread().name.endswith("writer")


def test_a_stage_goes_on_while_its_results_are_stored(
    store: Store, store_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that takes until ten more prompts are rewarded would otherwise never end."""
    monkeypatch.setattr(stage, "FLUSH_RESULTS", 4)
    run, rewarder, copy = register_run(store, fake_config(iterations=1)), Watched(), responses.copy_responses
    waited: list[bool] = []

    def slow(*given: Any) -> None:
        if in_writer() and not waited:
            rewarder.writing.set()
            waited.append(rewarder.ten_more.wait(WAIT_S))
        copy(*given)

    monkeypatch.setattr(responses, "copy_responses", slow)
    drive(store, store_settings, run, NoListener(), build=always(fake_roles(rewarder=rewarder)))
    assert waited == [True]


def test_a_write_that_fails_stops_the_run_with_its_reason_and_nothing_is_generated_twice(
    store: Store, store_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = fake_config(iterations=1)
    undisturbed = register_run(store, config)
    drive(store, store_settings, undisturbed, NoListener(), build=always(fake_roles()))
    monkeypatch.setattr(stage, "FLUSH_RESULTS", 4)
    run, engines, copy = register_run(store, config), FakeGenerator(), responses.copy_responses

    def full(*given: Any) -> None:
        if in_writer():
            raise DiskFullError("the disk of the database is full")
        copy(*given)

    with monkeypatch.context() as patched:
        patched.setattr(responses, "copy_responses", full)
        with pytest.raises(DiskFullError, match="the disk of the database is full"):
            drive(store, store_settings, run, NoListener(), build=always(fake_roles(generator=engines)), retry_s=0.01)
    with store.transaction() as conn:
        row = runs.get_run(conn, run.id)
    assert row.status == "paused" and "the disk of the database is full" in (row.error or "")
    drive(store, store_settings, run, NoListener(), build=always(fake_roles(generator=engines)))
    with store.transaction() as conn:
        assert fingerprint(conn, run.id) == fingerprint(conn, undisturbed.id)
    assert set(engines.asked.values()) == {1}, "the batch that failed was stored when the stage ended"
