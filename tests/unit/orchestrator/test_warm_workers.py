"""What one run leaves to the next: taken once, ended if nobody takes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from eva.config import JudgeReward, MockReward, RewardConfig
from eva.settings import Settings
from orchestrator.warm_workers import Rewarder, WarmWorkers
from workers.fleet.fleet import Fleet
from workers.training.trainer import LocalTrainer


class Worker:
    """A trainer, process or rewarder that knows whether it was ended."""

    def __init__(self) -> None:
        self.ended = False

    def end(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    def release(self) -> Worker:
        return self


@pytest.fixture
def warm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WarmWorkers:
    @contextmanager
    def no_ray(settings: Settings) -> Iterator[None]:
        yield

    monkeypatch.setattr("orchestrator.warm_workers.ray_connection", no_ray)
    monkeypatch.setattr("orchestrator.warm_workers.keep_engines", lambda fleet, folder: None)
    return WarmWorkers(Settings(tmp_path, None, None))


def keep(warm: WarmWorkers, process: Worker, *rewarders: tuple[RewardConfig, Worker]) -> list[Rewarder]:
    fleet, trainer = cast("Fleet", None), cast("LocalTrainer", process)
    return warm.keep(fleet, Path(), trainer, [(config, cast("Any", worker)) for config, worker in rewarders])


MOCK, OTHER = MockReward(kind="mock"), MockReward(kind="mock", seed=5)
BOUNDED = JudgeReward(kind="judge", model="openai/judge", max_cost_usd=1.0)


def test_what_a_run_has_left_is_taken_once(warm: WarmWorkers) -> None:
    process, rewarder = Worker(), Worker()
    with warm:
        assert warm.take_process() is None and warm.take_rewarder(MOCK) is None
        keep(warm, process, (MOCK, rewarder))
        assert warm.take_rewarder(OTHER) is None
        assert cast("Any", warm.take_rewarder(MOCK)) is rewarder and warm.take_rewarder(MOCK) is None
        assert cast("Any", warm.take_process()) is process and warm.take_process() is None
    assert not process.ended and not rewarder.ended, "who takes a worker ends it"


def test_what_nobody_takes_is_ended(warm: WarmWorkers) -> None:
    process, first, second = Worker(), Worker(), Worker()
    with warm:
        keep(warm, Worker(), (MOCK, first))
        warm.end_rewarders()
        assert first.ended
        keep(warm, process, (MOCK, second))
    assert process.ended and second.ended


def test_a_rewarder_with_a_budget_is_not_kept_because_it_counts_what_its_run_has_spent(warm: WarmWorkers) -> None:
    with warm:
        bounded, free = Worker(), Worker()
        assert keep(warm, Worker(), (BOUNDED, bounded), (MOCK, free)) == [free]
        assert warm.take_rewarder(BOUNDED) is None
