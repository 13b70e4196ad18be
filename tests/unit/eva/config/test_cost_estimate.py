import pytest

from eva.config.cost_estimate import Prices, estimate_cost, gpu_hours
from tests.support.fakes import fake_config


def test_the_arithmetic_of_a_run_is_shown_stage_by_stage() -> None:
    config = fake_config(
        generation={"n": 4, "max_tokens": 100},
        training={"batch": 8, "epochs": 2, "max_length": 200},
        evolving={"evolver": {"kind": "evol_instruct", "model": "openai/x", "max_tokens": 600}, "attempts": 2},
    )
    lines = estimate_cost(config, 40, 9, parameters=1_000_000, prices=Prices(1e-6, 2e-6))
    # warm-up 40 x 4, then twice (40 + 32) x 4, and 9 held-out prompts twice over four policies
    assert lines[5].startswith("tokens to generate: 808 responses x 100 = 80,800 at most; x 2 x 1,000,000 parameters")
    assert lines[6].startswith("tokens to train on: 30 steps x 8 pairs x 2 x 200 = 96,000 at most; x 8 x")
    assert lines[7].startswith("evolver: 80 requests if no child is refused, x 2 at most")
    assert lines[7].endswith("80 x (400 + 600 prompt, 600 reply) = 128,000")
    assert lines[8].endswith("80 x (1000 x $1 + 600 x $2) / 1,000,000 = $0.18 if no child is refused, $0.35 at most")


def test_the_rule_of_thumb_for_gpu_hours() -> None:
    # 9 billion parameters: 10,000 prompts x 6 responses x 2,048 tokens, 2 operations each, at 46.8 TFLOP/s
    assert gpu_hours(60_000 * 2048, 9 * 10**9, 2, 0.15) == pytest.approx(60_000 * 2048 * 18e9 / 46.8e12 / 3600)


def test_unknown_figures_are_left_out() -> None:
    lines = estimate_cost(fake_config(warm_start=False, training={"enabled": False}), 24, 0)
    assert not any("GPU-hours" in line or "$" in line or "evolver" in line for line in lines)
    assert lines[-1].startswith("tokens to train on: 0 steps")


def test_a_control_without_a_creator_evolves_nothing_and_judges_its_prompts_once() -> None:
    same = estimate_cost(fake_config(batch_from="same_prompts"), 24, 0)
    assert "no creator: every iteration trains on all seed prompts" in same
    assert "responses per iteration, 4 per prompt: 96 in the warm-up, then at most 96" in same
    new = fake_config(batch_from="new_prompts", prompts={"playground": 24, "per_iteration": 8}, warm_start=False)
    lines = estimate_cost(new, 24, 0)
    assert "no creator: every iteration trains on the next 8 seed prompts" in lines
    assert "responses per iteration, 4 per prompt: then at most 32" in lines


def test_the_chunks_of_a_batch_and_their_hand_overs_are_told_with_their_cost() -> None:
    def told(sync_every: int | None, parameters: int | None = None) -> list[str]:
        config = fake_config(training={"batch": 4, "epochs": 2, "sync_every": sync_every})
        return [line for line in estimate_cost(config, 40, 9, parameters) if line.startswith("chunks")]

    assert told(None) == []
    assert told(4) == ["chunks per iteration: 5 of 8 prompts, 4 steps each; hand-overs to the engines: 4"]
    (priced,) = told(4, 500_000_000)
    assert priced.endswith("4, 2 GB in float32 each; written: 8 GB, which every engine reads")
    (single,) = told(40)
    assert single.endswith("hand-overs to the engines: 0, because a whole batch fits into a chunk")
