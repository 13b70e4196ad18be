"""The part of a report about win rates: every policy against the baseline of each held-out set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from cli.terminal.formats import ROOMY, number, plain_table
from cli.terminal.safe_text import one_line

LONGEST_SET = 16
LONGEST_REWARDER = 40


def win_rates_view(by_set: Mapping[str, Sequence[Mapping[str, Any]]], width: int) -> Iterator[RenderableType]:
    """A row per set and policy, what the last one gained, and what could not be compared."""
    table = plain_table(width)
    table.add_column("set", no_wrap=True)
    table.add_column("policy", no_wrap=True)
    roomy = width >= ROOMY
    for heading in ("won", "length-controlled", *(["Elo"] if roomy else []), "characters"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, rows in by_set.items():
        for place, row in enumerate(rows):
            table.add_row(
                Text("" if place else one_line(name, LONGEST_SET)),
                f"{row['checkpoint']}" + (" (given)" if row["checkpoint"] == 0 else ""),
                _interval(row["win_rate"], 100, 1),
                _interval(row["length_controlled"], 100, 1),
                *([_interval(row["elo"], 1, 0)] if roomy else []),
                f"{number(row['length'], 0)}/{number(row['baseline_length'], 0)}",
            )
    yield table
    for name, rows in by_set.items():
        if rows[-1]["gain"] is not None:
            value, low, high = (f"{100 * rows[-1]['gain'][key]:+.1f}" for key in ("value", "low", "high"))
            yield Text(
                f"{one_line(name, LONGEST_SET)}: policy {rows[-1]['checkpoint']} wins {value} points more than "
                f"the given one ({low} to {high}, paired by prompt)",
                style="dim",
            )
        if (style := rows[-1].get("style_controlled")) is not None:
            value, low, high = (f"{100 * style[key]:.1f}" for key in ("value", "low", "high"))
            yield Text(
                f"{one_line(name, LONGEST_SET)}: in the baseline's style (length, lists, headers, bold) policy "
                f"{rows[-1]['checkpoint']} would win {value} % ({low}–{high})",
                style="dim",
            )
        if (found := rows[-1].get("self_preference")) is not None:
            yield _self_preference(name, found)
    missing = sum(row["missing"] for rows in by_set.values() for row in rows)
    if missing:
        yield Text(f"without a preference: {missing:,}", style="dim")


def _self_preference(name: str, found: Mapping[str, Any]) -> Text:
    judge, second = (one_line(found[key], LONGEST_REWARDER) for key in ("rewarder", "second_rewarder"))
    value, low, high = (f"{100 * found['bias'][key]:+.1f}" for key in ("value", "low", "high"))
    return Text(
        f"{one_line(name, LONGEST_SET)}: {judge} prefers its own model's answers by {value} points ({low} to "
        f"{high}) beyond {second}: {100 * found['judge']['value']:.1f} % against "
        f"{100 * found['second']['value']:.1f} % won, {found['prompts']:,} prompts",
        style="dim",
    )


def _interval(interval: Mapping[str, float] | None, scale: float, digits: int) -> Text:
    if interval is None:
        return Text("·")
    value, low, high = (f"{scale * interval[key]:.{digits}f}" for key in ("value", "low", "high"))
    return Text.assemble(value, (f" ({low}–{high})", "dim"))
