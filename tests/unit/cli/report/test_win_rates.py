"""Win rates in the report of a run: every policy, its intervals, and what could not be compared."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console, Group

from cli.report.view import win_rates_view
from cli.terminal.progress import outcome
from store.views.summary.schema import WinRate, read_part


def interval(value: float, spread: float) -> dict[str, float]:
    return {"value": value, "low": value - spread, "high": value + spread}


def row(checkpoint: int, won: float | None, **changes: Any) -> dict[str, Any]:
    share = None if won is None else interval(won, 0.04)
    return {
        "checkpoint": checkpoint,
        "prompts": 805,
        "win_rate": share,
        "error": None,
        "wins": None,
        "losses": None,
        "ties": None,
        "length_controlled": share and share | {"coefficient": 0.1},
        "style_controlled": share and share | {"coefficients": {}},
        "missing": 0,
        "elo": None if won is None else interval(1000 + 1000 * (won - 0.5), 20),
        "gain": None,
        "length": 812.4,
        "baseline_length": 1500.0,
    } | changes


def shown(by_set: dict[str, list[dict[str, Any]]], width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    rows = {name: [read_part(WinRate, row) for row in rows] for name, rows in by_set.items()}
    console.print(Group(*win_rates_view(rows, width)))
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue] - a StringIO
    assert all(len(line) <= width for line in text.splitlines())
    return text


def test_every_policy_is_shown_with_its_intervals_in_80_and_in_100_columns() -> None:
    by_set = {
        "alpaca": [row(0, 0.2), row(10, 0.412, gain=interval(0.212, 0.031), missing=3)],
        "[bold]\x1b[2J" + "x" * 40: [row(0, None, length=None)],
    }
    for width in (80, 100):
        text = shown(by_set, width)
        assert "0 (given)" in text and "41.2 (37.2–45.2)" in text and "812/1,500" in text
        assert ("912 (892–932)" in text) == (width == 100)
        assert "\x1b" not in text and "·" in text
    assert "policy 10 wins +21.2 points more than the given one (+18.1 to +24.3" in shown(by_set, 100)
    assert "in the baseline's style (length, lists, headers, bold) policy 10 would win 41.2 % (37.2–45.2)" in " ".join(
        shown(by_set, 100).split()
    )
    assert "without a preference: 3" in shown(by_set, 80)


def test_a_judge_that_prefers_its_own_model_is_shown_with_both_win_rates() -> None:
    bias = {
        "prompts": 805,
        "rewarder": "judge:openai/m:pairwise",
        "second_rewarder": "pointwise:\x1bother",
        "judge": interval(0.61, 0.03),
        "second": interval(0.487, 0.03),
        "bias": interval(0.123, 0.04),
    }
    text = " ".join(shown({"alpaca": [row(1, 0.39, self_preference=bias)]}, 100).split())
    assert (
        "judge:openai/m:pairwise prefers its own model's responses by +12.3 points (+8.3 to +16.3) beyond "
        "pointwise:␛other: 61.0 % against 48.7 % won, 805 prompts"
    ) in text


def test_progress_shows_the_win_rate() -> None:
    assert outcome("evaluate", {"win_rate": {"a": 0.512, "b": None}}, 24) == "24 requests, 51% won"
    assert outcome("evaluate", {}, 24) == "24 requests"
