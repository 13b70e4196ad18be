"""A report on a terminal, readable in 80 columns. Texts of models are shown as data, never as markup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.report.quality import quality_sections
from cli.report.stories import example_view, family_view, operations_view
from cli.report.win_rates import win_rates_view
from cli.terminal.formats import ROOMY, amount, doing, duration, number, place, plain_table
from cli.terminal.safe_text import one_line, printable

Facts = Mapping[str, Any]

WIDEST = 100
REASONS = {
    "not judged": "degenerate",
    "refused": "refused",
    "no pair": "skipped",
    "not trained on": "dropped",
}
NOT_JUDGED = ("unanswered", "too_few_rewards")
LONGEST_SPLIT = 16
MODES = {"greedy": "greedy", "sampled": "T = 1"}
_STATUS_STYLES = {
    "finished": "green",
    "running": "cyan",
    "failed": "red",
    "cancelled": "red",
    "paused": "yellow",
}


def show_report(report: Facts, console: Console) -> None:
    """Print the whole report."""
    width = min(console.width, WIDEST)
    console.print(Group(*_sections(report, width)), width=width)


def _sections(report: Facts, width: int) -> Iterator[RenderableType]:
    yield _headline(report)
    if report["iterations"]:
        yield from _titled(
            "What happened",
            _iterations(report["iterations"], width),
            *_refused(report["iterations"]),
            *_cost(report["iterations"]),
        )
    if report["heldout"]:
        yield from _titled(*_heldout(report, width))
    if report["win_rates"]:
        title = "Greedy answers against the baseline's: % won, 95 % intervals"
        yield from _titled(title, *win_rates_view(report["win_rates"], width))
    for title, parts in quality_sections(report["iterations"], width):
        yield from _titled(title, *parts)
    if report["operations"]:
        yield from _titled(
            "Mean info by number of operations" + (" (prompts in the batch)" if width >= ROOMY else ""),
            operations_view(report["operations"], width),
        )
    if report["family"]:
        yield from _titled("A family of prompts, from its seed", family_view(report["family"], width))
    if report["example"]:
        yield from _titled(
            f"A held-out prompt ({printable(report['example']['split'])}), answered by each policy",
            example_view(report["example"], width),
        )
    if report["timings"]["by_stage"]:
        yield from _titled("Where the time went", _timings(report["timings"]))


def _titled(title: str, *parts: RenderableType) -> Iterator[RenderableType]:
    yield Text()
    yield Text(title, style="bold")
    for part in parts:
        yield Padding(part, (0, 0, 0, 2), expand=False)


def _headline(report: Facts) -> Text:
    run = report["run"]
    parts = [
        f"{run['iterations']} iterations"
        if run["status"] == "finished"
        else place(run["iteration"], run["iterations"]),
        *([f"{doing(stage['name'])} {stage['done']:,}/{stage['total']:,}"] if (stage := run["stage"]) else []),
        f"{run['prompts']:,} prompts",
        f"seed {run['seed']}",
    ]
    if (wall := report["timings"]["wall"]) is not None:
        parts.append(duration(wall))
    line = Text.assemble(
        (printable(run["name"]), "bold"),
        "  ",
        (run["status"], _STATUS_STYLES.get(run["status"], "")),
        "  ",
        (" · ".join(parts), "dim"),
    )
    if (origin := run["forked_from"]) is not None:
        line.append(
            f"\nforked from {printable(origin['run'])} at the start of iteration {origin['iteration']}; "
            "what came before is its",
            style="dim",
        )
    if run["error"]:
        line.append(f"\n{printable(run['error'])}", style="red")
    return line


def _iterations(iterations: Sequence[Facts], width: int) -> Table:
    table = plain_table(width)
    table.add_column("iteration", no_wrap=True)
    for heading in ("prompts", "reward", "info", "sampled", "accepted", "refused", "pairs", "loss", "margin"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in iterations:
        children: Facts = row["children"] or {}
        refused = sum(children["refused"].values()) if children else None
        table.add_row(
            f"{row['iteration']}" + (" warm-up" if row["warm_up"] else ""),
            number(row["prompts"]),
            number(row["reward_mean"]),
            number(row["info_mean"]),
            number(row["sampled"]),
            number(children.get("accepted")),
            number(refused),
            number(row["pairs"]),
            number(row["loss"], 3),
            number(row["margin"], 2),
        )
    return table


def _refused(iterations: Sequence[Facts]) -> Iterator[Text]:
    """What was left out and why, summed over all iterations."""
    for title, key in REASONS.items():
        total: Counter[str] = Counter()
        for row in iterations:
            counts: Facts | None = row["children"] if key == "refused" else row
            total.update(counts[key] if counts else {})
        if key == "degenerate":
            # the others are of info 0, which the mean already shows
            total = Counter({reason: total[reason] for reason in NOT_JUDGED if total[reason]})
        if total:
            reasons = ", ".join(
                f"{count:,} {printable(reason.replace('_', ' '))}" for reason, count in total.most_common()
            )
            yield Text(f"{title}: {reasons}", style="dim")


def _cost(iterations: Sequence[Facts]) -> Iterator[Text]:
    """What services were paid, where any were."""
    total: Counter[str] = Counter()
    for row in iterations:
        total.update(row["cost_usd"] or {})
    if any(total.values()):
        parts = ", ".join(f"{name.replace('_', '-')} {cost:.2f}" for name, cost in total.items())
        yield Text(f"cost: {total.total():.2f} US dollars ({parts})", style="dim")


def _heldout(report: Facts, width: int) -> tuple[str, RenderableType, *tuple[RenderableType, ...]]:
    """Accuracy with intervals where answers can be right; the mean reward where none ever is."""
    splits = [*report["heldout"]]
    rows = _checkpoints(report)
    scores = [score for _, at, _ in rows for modes in at.values() for mode in MODES if (score := modes[mode])]
    by_reward = not any(score["correct"] for score in scores) and not all(score["binary"] for score in scores)
    cell = _reward if by_reward else _accuracy
    table = plain_table(width)
    table.add_column("policy", no_wrap=True)
    table.add_column("", no_wrap=True, style="dim")
    for heading in (*splits, "pairs", "steps", "tokens"):
        table.add_column(Text(one_line(heading, LONGEST_SPLIT)), justify="right", no_wrap=True)
    for label, at, spent in rows:
        for mode, name in MODES.items():
            first = mode == "greedy"
            cells = [cell(_of(at, split, mode)) for split in splits]
            table.add_row(label if first else "", name, *cells, *(spent if first else ("", "", "")))
    if len(rows) > 1:
        table.add_section()
        _add_change(table, rows[0][1], rows[-1][1], splits, by_reward)
    if by_reward:
        return "Mean held-out reward (± standard error)", table
    title = "Held-out accuracy, % (95 % interval)"
    return (title, table) if all(score["binary"] for score in scores) else (title, table, _rewards_line(report))


def _checkpoints(report: Facts) -> list[tuple[str, Facts, tuple[str, str, str]]]:
    """Label, scores by split, and what it took so far: usable pairs, optimiser steps, sampled tokens."""
    before = {split: at["before"] for split, at in report["heldout"].items() if at["before"]}
    rows: list[tuple[str, Facts, tuple[str, str, str]]] = [("0 (given)", before, ("", "", ""))] if before else []
    pairs = steps = tokens = 0
    for row in report["iterations"]:
        pairs, steps = pairs + (row["pairs"] or 0), steps + (row["steps"] or 0)
        tokens += row["sampled_tokens"] or 0
        if row["heldout"]:
            rows.append((str(row["iteration"] + 1), row["heldout"], (number(pairs), number(steps), amount(tokens))))
    return rows


def _of(at: Facts, split: str, mode: str) -> Facts | None:
    scores: Facts | None = at.get(split)
    return scores[mode] if scores else None


def _accuracy(score: Facts | None) -> Text:
    if score is None:
        return Text("·")
    return Text.assemble(
        f"{100 * score['accuracy']:.0f}", (f" ({100 * score['low']:.0f}–{100 * score['high']:.0f})", "dim")
    )


def _reward(score: Facts | None) -> Text:
    if score is None or score["reward"] is None:
        return Text("·")
    error = score["reward_error"]
    return Text.assemble(f"{score['reward']:.3f}", (f" ±{error:.3f}" if error is not None else "", "dim"))


def _add_change(table: Table, before: Facts, after: Facts, splits: Sequence[str], by_reward: bool) -> None:
    for mode, name in MODES.items():
        cells = [_change(_of(before, split, mode), _of(after, split, mode), by_reward) for split in splits]
        table.add_row("change" if mode == "greedy" else "", name, *cells, "", "", "")


def _change(before: Facts | None, after: Facts | None, by_reward: bool) -> Text:
    key = "reward" if by_reward else "accuracy"
    if not before or not after or before[key] is None or after[key] is None:
        return Text("·")
    change = after[key] - before[key]
    return Text(
        f"{change:+.3f}" if by_reward else f"{100 * change:+.0f}",
        style="bold green" if change > 0 else "bold red" if change < 0 else "bold",
    )


def _rewards_line(report: Facts) -> Text:
    shown = [
        f"{printable(split)} {number(before['reward'])} → {number(after['reward'])}"
        for split, at in report["heldout"].items()
        if at["before"] and at["after"] and (before := at["before"]["greedy"]) and (after := at["after"]["greedy"])
    ]
    return Text("mean reward, greedy: " + " · ".join(shown) if shown else "", style="dim")


def _timings(timings: Facts) -> Text:
    spent = sorted(timings["by_stage"].items(), key=lambda item: -item[1])
    parts = [f"{doing(stage)} {duration(seconds)}" for stage, seconds in spent if seconds >= 0.05]
    if timings["wall"] is not None and (rest := timings["wall"] - timings["stages"]) >= 1:
        parts.append(f"starting and all else {duration(rest)}")
    total = f"{duration(timings['wall'])} in all: " if timings["wall"] is not None else ""
    return Text(total + " · ".join(parts), style="dim")
