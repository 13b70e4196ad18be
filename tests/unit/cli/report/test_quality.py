"""Diversity and audit in the report: every figure under its heading, breaches shown, no section without data."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.report.test_view import facts, iteration, shown

DIVERSITY: dict[str, Any] = {
    "distinct_1": 0.11,
    "distinct_2": 0.22,
    "distinct_3": 0.33,
    "expected_distinct": 0.44,
    "vendi": 498.76,
    "vendi_texts": 500,
    "length_entropy": 1.23,
    "near_duplicates": 0.0123,
    "effective_roots": 9_876.54,
    "effective_topics": 12.34,
    "topics": {"letters": 1.0},
    "response_distinct_1": 0.5,
    "response_distinct_2": 0.66,
    "response_distinct_3": 0.7,
    "response_texts": 500,
    "breaches": [],
}
BREACHES = [
    {"figure": "vendi", "value": 498.76, "bound": 499.0, "text": "vendi is 498.8, below 499", "pauses": False},
    {"figure": "distinct_2", "value": 0.22, "bound": 0.3, "text": "distinct_2 is 0.22, below 0.3", "pauses": True},
]
AUDIT: dict[str, Any] = {
    "rewarder": "judge:m:pairwise",
    "responses": 60_000,
    "cost_usd": 12.5,
    "features": {
        name: {"raw": raw, "within": -0.5, "partial": -0.25}
        for name, raw in (("length", -0.75), ("lists", 0.125), ("headers", None), ("bold", 0.5))
    },
    "parts": {"unreadable": 0.015, "disagreement": 0.2},
    "position": {"first": -0.04, "disagreement": 0.2},
    "second": {
        "rewarder": "mock:[bold]\x1b",
        "prompts": 200,
        "kendall": -0.31,
        "spearman": 0.42,
        "pairs": 0.815,
        "verbosity": {"pairs": 3000, "longer_wins": 0.5, "correlation": 0.0},
    },
    "verbosity": {"pairs": 150_000, "longer_wins": 0.6255, "correlation": 0.3},
}


def told(width: int = 100, **figures: Any) -> list[str]:
    report = facts(iterations=[iteration(), iteration() | {"iteration": 1} | figures])
    return shown(report, width).splitlines()


def section(lines: list[str], title: str) -> list[list[str]]:
    """The cells of a section's rows, its headings first."""
    start = lines.index(title) + 1
    rows = [line for line in lines[start : lines.index("", start)] if "─" not in line]
    return [[cell.strip() for cell in row.split("  ") if cell.strip()] for row in rows]


def test_diversity_has_a_row_per_iteration_that_measured_it() -> None:
    assert section(told(diversity=DIVERSITY), "Diversity of the batch") == [
        ["iteration", "distinct-2", "expected", "vendi", "lengths", "near dup", "roots", "topics", "responses"],
        ["1", "0.22", "0.44", "498.8", "1.23", "1.2 %", "9,876.5", "12.3", "0.66"],
    ]


def test_figures_that_no_iteration_has_get_no_column() -> None:
    headings, _ = section(told(diversity=DIVERSITY | {"effective_topics": None}), "Diversity of the batch")
    assert "topics" not in headings and "roots" in headings


def test_a_figure_beyond_its_bound_is_shown_with_its_consequence() -> None:
    lines = [line.strip() for line in told(diversity=DIVERSITY | {"breaches": BREACHES})]
    assert "iteration 1: vendi is 498.8, below 499 (warned)" in lines
    assert "iteration 1: distinct_2 is 0.22, below 0.3 (pauses the run)" in lines


def test_the_audit_shows_correlations_agreement_and_position_bias() -> None:
    lines = told(audit=AUDIT)
    assert section(lines, "Reward against length and formatting (correlation: raw / partial)") == [
        ["iteration", "length", "lists", "headers", "bold", "longer wins"],
        ["1", "-0.75 / -0.25", "+0.12 / -0.25", "· / -0.25", "+0.50 / -0.25", "62.5 %"],
    ]
    assert section(lines, "Agreement of the reward with mock:[bold]␛") == [
        ["iteration", "kendall", "spearman", "pairs alike", "longer wins", "prompts"],
        ["1", "-0.31", "+0.42", "81.5 %", "50.0 %", "200"],
    ]
    assert section(lines, "Does the order in which two responses are shown matter?") == [
        ["iteration", "shown first", "order matters", "unreadable", "US dollars"],
        ["1", "-0.04", "20.0 %", "1.5 %", "12.50"],
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_no_column_is_cut_at_any_width(width: int) -> None:
    lines = told(width, diversity=DIVERSITY, audit=AUDIT)
    assert all(len(line) <= width for line in lines)
    assert not any("…" in line for line in lines)


def test_a_run_without_diversity_and_audit_shows_neither() -> None:
    text = "\n".join(told())
    assert "Diversity" not in text and "correlation" not in text and "Does" not in text


def test_an_audit_without_formatting_and_without_an_auditor_shows_length_alone() -> None:
    nothing = {"raw": None, "within": None, "partial": None}
    features = {"length": {"raw": 0.5, "within": 0.4, "partial": None}, "lists": nothing, "headers": nothing}
    lines = told(audit={"rewarder": "mock", "responses": 9, "features": features})
    assert section(lines, "Reward against length and formatting (correlation: raw / partial)") == [
        ["iteration", "length"],
        ["1", "+0.50 / ·"],
    ]
    assert not any(line.startswith(("Agreement", "Does")) for line in lines)
