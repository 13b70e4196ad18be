"""What the trainer is handed: the pairs of an iteration or of all, with rewards or win rates."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eva.config import RunConfig
from eva.errors import InputError
from eva.settings import Settings
from eva.solver.losses import bradley_terry_win_rate, reward_spread
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.game import batches, responses
from store.session import Store
from tests.support.fakes import FakeTrainer, Recorder, always, fake_config, fake_roles
from workers.rewards import model_class


def play(store: Store, folder: Path, training: dict[str, Any]) -> tuple[FakeTrainer, int, RunConfig]:
    config, trainer = fake_config(training=training, iterations=2), FakeTrainer()
    run = register_run(store, config)
    settings = Settings(data_dir=folder, database_url=None, ray_address=None)
    drive(store, settings, run, Recorder(), build=always(fake_roles(trainer=trainer)), ttl_s=2.0)
    return trainer, run.id, config


def pairs_of(trainer: FakeTrainer, job: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(trainer.jobs[job].pairs_path).read_text().splitlines()]


def test_the_pairs_of_sppo_carry_win_rates_over_all_responses_of_their_prompt(store: Store, tmp_path: Path) -> None:
    trainer, run, config = play(store, tmp_path, {"loss": "sppo", "win_rates": "bradley_terry"})
    rewarder = model_class(config.reward).name_of(config.reward)
    for iteration in (0, 1):
        pairs = pairs_of(trainer, iteration)
        numbers = [pair["number"] for pair in pairs]
        with store.transaction() as conn:
            judged = responses.read_reward_table(conn, run, iteration, rewarder, numbers, config.generation.n)
        assert len(pairs) > 5
        for pair, rewards_N in zip(pairs, judged.rewards_P_N, strict=True):
            usable_N = rewards_N[np.isfinite(rewards_N)]
            win_rates_N = (1 / (1 + np.exp(usable_N[None, :] - usable_N[:, None]))).mean(axis=1)
            assert pair["chosen_reward"] == pytest.approx(win_rates_N.max())
            assert pair["rejected_reward"] == pytest.approx(win_rates_N.min())


def test_other_losses_get_the_rewards_as_they_are(store: Store, tmp_path: Path) -> None:
    trainer, _, _ = play(store, tmp_path, {})
    assert any(pair["chosen_reward"] > 1 for pair in pairs_of(trainer, 0))


def test_training_from_scratch_gets_the_pairs_of_all_iterations_in_order(store: Store, tmp_path: Path) -> None:
    trainer, _, _ = play(store, tmp_path, {"mode": "scratch", "loss": "sppo", "win_rates": "bradley_terry"})
    first, both = pairs_of(trainer, 0), pairs_of(trainer, 1)
    assert both[: len(first)] == first
    assert len(both) > len(first)
    assert all(0 < pair["rejected_reward"] < pair["chosen_reward"] < 1 for pair in both)


def test_a_run_whose_win_rates_teach_nothing_stops_with_the_reason(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"within \.49 to \.51 .*training\.win_rate_scale, which is 1e\+06"):
        play(store, tmp_path, {"loss": "sppo", "win_rates": "bradley_terry", "win_rate_scale": 1e6})


def test_the_scale_of_the_first_batch_holds_for_the_whole_run(store: Store, tmp_path: Path) -> None:
    trainer, run, config = play(
        store, tmp_path, {"loss": "sppo", "win_rates": "bradley_terry", "win_rate_scale": "spread"}
    )
    rewarder = model_class(config.reward).name_of(config.reward)
    with store.transaction() as conn:
        tables = [
            responses.read_reward_table(
                conn, run, iteration, rewarder, batches.read_batch_numbers(conn, run, iteration), config.generation.n
            )
            for iteration in (0, 1)
        ]
    scale = reward_spread(tables[0].rewards_P_N)
    assert scale is not None and scale != pytest.approx(reward_spread(tables[1].rewards_P_N))
    rewards_of = dict(zip(tables[1].numbers_P.tolist(), tables[1].rewards_P_N, strict=True))
    for pair in pairs_of(trainer, 1):
        rewards_N = rewards_of[pair["number"]]
        assert pair["chosen_reward"] == pytest.approx(bradley_terry_win_rate(rewards_N, np.nanmax(rewards_N), scale))
