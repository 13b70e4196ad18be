from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from cli.report.view import show_report
from store.views.summary.schema import read_summary

HOSTILE = "[bold red]x[/] [link=http://a]y[/link] \x1b[2J\x1b]0;owned\x07 \u202e tail"


def score(accuracy: float, reward: float, *, binary: bool = True) -> dict[str, Any]:
    return {
        "accuracy": accuracy,
        "low": max(0.0, accuracy - 0.05),
        "high": min(1.0, accuracy + 0.05),
        "n": 100,
        "correct": round(100 * accuracy),
        "reward": reward,
        "reward_error": 0.02,
        "binary": binary,
    }


def modes(checkpoint: int, accuracy: float, reward: float, *, binary: bool = True) -> dict[str, Any]:
    both = score(accuracy, reward, binary=binary)
    return {"checkpoint": checkpoint, "greedy": both, "sampled": both}


def member(number: int, *, on_path: bool = True, **changes: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "number": number,
        "parent": None if number == 0 else 0,
        "operator": None if number == 0 else "deepening",
        "depth": min(number, 1),
        "iteration": None if number == 0 else 1,
        "text": f"prompt {number}",
        "on_path": on_path,
        "info": 0.5,
        "checkpoint": 0,
        "best": {"text": "good", "reward": 1.0},
        "worst": {"text": "bad", "reward": 0.0},
    }
    return facts | changes


def iteration() -> dict[str, Any]:
    return {
        "iteration": 0,
        "warm_up": True,
        "prompts": 256,
        "reward_mean": 0.7,
        "reward_best": 1.0,
        "reward_worst": 0.2,
        "info_mean": 0.4,
        "degenerate": {"unanswered": 2, "equal_rewards": 9},
        "sampled": None,
        "children": None,
        "batch": None,
        "batch_reward_mean": 0.7,
        "batch_info_mean": 0.4,
        "pairs": 93,
        "skipped": {"no_gap": 5},
        "steps": 6,
        "dropped": {},
        "loss": 0.61,
        "margin": 0.3,
        "responses": 1536,
        "sampled_tokens": 17_000,
        "cost_usd": None,
        "heldout": {"hard": modes(1, 0.4, 0.4)},
        "diversity": None,
        "audit": None,
        "seconds": 9.0,
    }


def facts(**changes: Any) -> dict[str, Any]:
    report: dict[str, Any] = {
        "schema": 1,
        "run": {
            "name": "demo-abcd",
            "status": "finished",
            "error": None,
            "iteration": 1,
            "iterations": 1,
            "seed": 42,
            "forked_from": None,
            "stage": None,
            "prompts": 256,
            "model": "playground",
            "reward": "verifier",
            "metric": "gap",
            "loss": "dpo",
            "success": 1.0,
            "config_hash": "0" * 64,
            "created_at": "2026-01-31T12:00:00+00:00",
            "started_at": None,
            "finished_at": None,
        },
        "heldout": {"hard": {"before": modes(0, 0.1, 0.1), "after": modes(1, 0.4, 0.4)}},
        "win_rates": {},
        "iterations": [iteration()],
        "family": [member(0), member(1), member(2, on_path=False, operator="breadth")],
        "example": {
            "split": "hard",
            "item": 3,
            "text": "a hard prompt",
            "answers": [
                {"checkpoint": 0, "text": "lazy", "reward": 0.2, "correct": False, "reason": None},
                {"checkpoint": 1, "text": "full", "reward": 1.0, "correct": True, "reason": None},
            ],
        },
        "operations": [{"iteration": 0, "operations": 2, "prompts": 90, "info": 0.39}],
        "timings": {
            "wall": 103.0,
            "stages": 90.0,
            "by_stage": {"train": 30.0, "judge_batch": 60.0},
            "restarts": 0,
        },
    }
    return report | changes


def shown(report: dict[str, Any], width: int = 100, *, colour: bool = False) -> str:
    console = Console(
        width=width,
        file=io.StringIO(),
        force_terminal=colour,
        color_system="truecolor" if colour else None,
        highlight=False,
    )
    with console.capture() as capture:
        show_report(read_summary(report), console)
    return capture.get()


def test_what_services_were_paid_is_summed_over_the_iterations() -> None:
    paid = {"evolving": 0.25, "rewards": 1.5, "held_out": 0.125}
    report = facts(iterations=[iteration() | {"cost_usd": paid}, iteration() | {"cost_usd": paid}, iteration()])
    assert "cost: 3.75 US dollars (evolving 0.50, rewards 3.00, held-out 0.25)" in shown(report)
    assert "cost:" not in shown(facts())


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(width: int) -> None:
    splits = ("easy", "medium", "hard")
    worst = modes(0, 1.0, 0.9, binary=False)
    report = facts(heldout={split: {"before": worst, "after": modes(1, 1.0, 0.95)} for split in splits})
    report["iterations"][0] |= {
        "heldout": {split: modes(1, 1.0, 0.95) for split in splits},
        "sampled": 64,
        "children": {"accepted": 256, "refused": {"known": 100}, "given_up": 0},
        "sampled_tokens": 2_340_000,
    }
    text = shown(report, width)
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    assert "100 (95–100)" in text
    assert "2.3 M" in text
    assert "…" not in text


def test_the_report_shows_before_and_after_with_what_training_took() -> None:
    lines = shown(facts()).splitlines()
    before = next(line for line in lines if "0 (given)" in line)
    after = next(line for line in lines if line.strip().startswith("1 ") and "greedy" in line)
    change = next(line for line in lines if "change" in line)
    assert "10 (5–15)" in before
    assert after.split() == ["1", "greedy", "40", "(35–45)", "93", "6", "17", "k"]
    assert "+30" in change


def test_what_was_left_out_is_counted_by_reason() -> None:
    text = shown(facts())
    assert "not judged: 2 unanswered" in text
    assert "no pair: 5 no gap" in text


@pytest.mark.parametrize(("low", "shown_as"), [(0.25, "+30 (25, 35)"), (-0.02, "+30 (-2, 35)")])
def test_a_change_has_its_interval_and_a_colour_only_if_it_is_not_chance(low: float, shown_as: str) -> None:
    report = facts()
    interval = {"value": 0.3, "low": low, "high": 0.35}
    report["heldout"]["hard"]["change"] = {
        "greedy": {"items": 40, "accuracy": interval, "reward": None},
        "sampled": None,
    }
    change = next(line for line in shown(report).splitlines() if "change" in line)
    assert shown_as in change
    coloured = next(line for line in shown(report, colour=True).splitlines() if "change" in line)
    assert ("32m" in coloured) == (low > 0)


def test_rewards_without_right_and_wrong_responses_are_shown_as_means() -> None:
    graded = {"before": modes(0, 0.0, 0.31, binary=False), "after": modes(1, 0.0, 0.55, binary=False)}
    report = facts(heldout={"mine": graded})
    report["iterations"][0]["heldout"] = {"mine": graded["after"]}
    text = shown(report)
    assert "Mean held-out reward" in text
    assert "0.310 ±0.020" in text
    assert "+0.240" in text
    assert "accuracy" not in text


def test_graded_rewards_show_accuracy_and_the_mean() -> None:
    graded = {"before": modes(0, 0.1, 0.31, binary=False), "after": modes(1, 0.4, 0.55, binary=False)}
    report = facts(heldout={"mine": graded})
    text = shown(report)
    assert "Held-out accuracy" in text
    assert "mean reward, greedy: mine 0.31 → 0.55" in text


def test_a_run_without_held_out_sets_and_family_shows_the_rest() -> None:
    report = facts(heldout={}, family=[], example=None, operations=[])
    report["iterations"][0]["heldout"] = {}
    text = shown(report)
    assert "What happened" in text
    assert "Held-out" not in text
    assert "family" not in text


def test_a_run_that_has_not_begun_is_shown() -> None:
    timings = {"wall": None, "stages": 0.0, "by_stage": {}, "restarts": 0}
    report = facts(heldout={}, family=[], example=None, operations=[], iterations=[], timings=timings)
    report["run"] |= {"status": "created", "iteration": 0}
    assert shown(report).startswith("demo-abcd  created  iteration 0 (1 of 1)")


def test_a_failed_run_shows_its_error_and_an_open_one_its_stage() -> None:
    report = facts()
    report["run"] |= {
        "status": "failed",
        "error": "the engine died",
        "stage": {"name": "train", "done": 3, "total": 9},
    }
    text = shown(report)
    assert "the engine died" in text
    assert "training 3/9" in text


def test_texts_of_models_are_data_and_neither_markup_nor_control() -> None:
    best = {"text": HOSTILE, "reward": 1.0}
    report = facts(family=[member(0, text=HOSTILE, best=best), member(1, operator=HOSTILE, text=HOSTILE)])
    report["run"] |= {"name": HOSTILE, "error": HOSTILE}
    report["heldout"] = {HOSTILE: report["heldout"]["hard"]}
    report["iterations"][0] |= {"heldout": {}, "skipped": {HOSTILE: 1}}
    report["example"] |= {"text": HOSTILE, "split": HOSTILE}
    report["example"]["answers"][0] |= {"text": HOSTILE}
    text = shown(report)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert text.count("[bold red]x[/] [link=http://a]y[/link]") >= 6
    assert "owned\x07" not in shown(report, colour=True)


def test_long_texts_are_shortened() -> None:
    report = facts(family=[member(0, text="word " * 1000)])
    assert len(shown(report)) < 6000


def test_a_response_without_a_reward_shows_the_reason() -> None:
    report = facts()
    report["example"]["answers"][0] |= {
        "text": "",
        "reward": None,
        "reason": "the verifier raised ValueError",
    }
    assert "(the verifier raised ValueError)" in shown(report)
