"""The report of a study on a terminal, readable in 80 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.terminal.formats import amount, number, plain_table
from cli.terminal.safe_text import one_line, printable
from eva.studies.schema import (
    ExploratoryDifference,
    HeldoutOverlap,
    MatchProof,
    StudyArm,
    StudyComparison,
    StudyDifference,
    StudyInterval,
    StudyReport,
    StudyRun,
)

WIDEST = 100
LONGEST_ARM, LONGEST_FIGURE, LONGEST_ERROR = 22, 34, 60
MOST_FAILED = 10
_VERDICTS = {"better": "bold green", "worse": "bold red", "equivalent": "green", "unresolved": "yellow"}
_QUANTITIES = {"steps": "optimiser steps in each iteration", "responses": "responses", "tokens": "tokens"}


def show_study(report: StudyReport, console: Console) -> None:
    """Prints the whole report."""
    width = min(console.width, WIDEST)
    console.print(Group(*_sections(report, width)), width=width)


def _sections(report: StudyReport, width: int) -> Iterator[RenderableType]:
    yield _headline(report)
    finished = any(arm.outcome is not None for arm in report.arms)
    if finished:
        yield from _titled("Outcome by arm (mean, 95 % interval)", _arms(report.arms, width))
    if report.comparisons:
        title = "Paired differences (95 % interval over seeds and held-out prompts)"
        yield from _titled(title, _differences(report.comparisons, width), *remarks(report.comparisons))
    if finished:
        yield from _titled("Can it be trusted?", *doubts(report))
    if any(len(arm.curve) > 1 for arm in report.arms):
        yield from _titled("Outcome after each iteration", _curves(report.arms, width))
    if report.exploratory:
        title = "Exploratory: figures that were not named beforehand"
        yield from _titled(title, _exploratory(report.exploratory, width))
    failed = [run for run in report.runs if run.status in ("failed", "cancelled")]
    if failed:
        yield from _titled("Runs that failed or were cancelled; their pairs are left out", *_failed(failed))


def _titled(title: str, *parts: RenderableType) -> Iterator[RenderableType]:
    yield Text()
    yield Text(title, style="bold")
    for part in parts:
        yield Padding(part, (0, 0, 0, 2), expand=False)


def _headline(report: StudyReport) -> Text:
    finished = report.counts.get("finished", 0)
    others = [f"{count} {status.replace('_', ' ')}" for status, count in report.counts.items() if status != "finished"]
    line = Text.assemble(
        (printable(report.name), "bold"),
        "  ",
        (f"{finished} of {report.planned} runs finished", "green" if finished == report.planned else "cyan"),
        (f" ({', '.join(others)})" if others else "", "dim"),
    )
    if report.question:
        line.append(f"\n{printable(report.question)}")
    outcome = report.outcome
    margin = "" if outcome.equivalent_within is None else f"; within ±{outcome.equivalent_within:g} is equivalent"
    seeds, models = len(report.seeds), len(report.models)
    line.append(
        f"\n{printable(outcome.figure)}, {outcome.better} is better{margin}"
        f"\n{len(report.arms)} arms x {seeds} seed{'s' * (seeds > 1)} x {models} given model{'s' * (models > 1)}",
        style="dim",
    )
    return line


def _arms(arms: Sequence[StudyArm], width: int) -> Table:
    paid = any(arm.costs and arm.costs.dollars for arm in arms)
    table = plain_table(width)
    table.add_column("arm", no_wrap=True)
    for heading in ("outcome", "sd", "runs", "resp.", "tokens", "steps", "pairs", "sec.", *(["$"] if paid else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    for arm in arms:
        costs = arm.costs
        table.add_row(
            Text(one_line(arm.name, LONGEST_ARM)),
            mean(arm.outcome),
            number(arm.outcome and arm.outcome.deviation, 3),
            number(arm.outcome.runs if arm.outcome else 0),
            *(
                [
                    amount(round(value))
                    for value in (costs.responses, costs.tokens, costs.steps, costs.pairs, costs.seconds)
                ]
                if costs
                else ["·"] * 5
            ),
            *([number(costs and costs.dollars, 2)] if paid else []),
        )
    return table


def _differences(comparisons: Sequence[StudyComparison], width: int) -> Table:
    table = plain_table(width)
    table.add_column("arms")
    for heading in ("difference", "p", "Holm", "detectable"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for each in comparisons:
        verdict = "A/A" if each.repeats else each.verdict or "one seed"
        table.add_row(
            _pair(each.first, each.second),
            signed(each.difference),
            p_value(each),
            "" if each.p_adjusted is None else f"{each.p_adjusted:.3f}",
            number(each.detectable, 3),
            Text(verdict, style=_VERDICTS.get(verdict, "dim")),
        )
    return table


def remarks(comparisons: Sequence[StudyComparison]) -> Iterator[Text]:
    """What differs between two arms besides the outcome, and the difference on each given model."""
    for each in comparisons:
        label = f"{one_line(each.first, LONGEST_ARM)} − {one_line(each.second, LONGEST_ARM)}"
        if each.unequal:
            parts = ", ".join(
                f"{cost.quantity} {_cost(cost.first)} against {_cost(cost.second)}" for cost in each.unequal
            )
            yield Text(f"{label}: unequal in {parts}", style="dim")
        if each.models:
            parts = ", ".join(f"{one_line(of.model, LONGEST_ARM)} {of.difference.value:+.3f}" for of in each.models)
            yield Text(f"{label}: by given model {parts}", style="dim")
        if each.difference.left_out:
            yield Text(f"{label}: {each.difference.left_out:,} held-out prompts lack a value", style="dim")


def doubts(report: StudyReport) -> Iterator[Text]:
    """What a reader should know before believing a difference: what was equal, noise, held-out prompts."""
    if report.match is not None:
        yield _match(report.match)
    else:
        yield Text("held equal: nothing; what the arms cost is beside them", style="yellow")
    repeats = report.repeats
    if repeats.total:
        good = repeats.outcome_covered is not False
        yield Text(
            f"A/A: {repeats.covered} of {repeats.total} intervals of repeated arms cover 0"
            + ("" if good else "; the one of the outcome does not"),
            style="green" if good else "red",
        )
    else:
        yield Text("A/A: no finished arm is repeated, so the noise is not checked", style="yellow")
    if report.contamination is not None:
        yield _contamination(report.contamination)
    if any(not each.p_is_exact for each in report.comparisons):
        yield Text(
            "p: sign flips were drawn at random, because there are too many seeds to count them all", style="dim"
        )


def _match(match: MatchProof) -> Text:
    what = f"held equal: at most {match.limit:,} {_QUANTITIES[match.quantity]}"
    if match.held:
        return Text(f"{what}, in every run", style="green")
    used = ", ".join(
        f"{one_line(use.arm, LONGEST_ARM)} {_cost(use.least)}"
        + (f" to {_cost(use.most)}" if use.most > use.least else "")
        for use in match.used
    )
    return Text(f"{what}; not all arms used the same: {used}", style="yellow")


def _contamination(found: HeldoutOverlap) -> Text:
    if not found.equal and not found.near:
        return Text(
            f"held out: none of the {found.heldout:,} prompts is like the {found.trained_on:,} trained on",
            style="green",
        )
    return Text(
        f"held out: of {found.heldout:,} prompts, {found.equal:,} were trained on, and {found.near:,} are nearly equal "
        f"to one of the {found.trained_on:,} trained on",
        style="red" if found.equal else "yellow",
    )


def _curves(arms: Sequence[StudyArm], width: int) -> Table:
    last = max(point.iteration for arm in arms for point in arm.curve)
    room = max(2, (width - LONGEST_ARM - 4) // 7)
    shown = range(max(0, last + 1 - room), last + 1)
    table = plain_table(width)
    table.add_column("arm", no_wrap=True)
    for iteration in shown:
        table.add_column(str(iteration), justify="right", no_wrap=True)
    for arm in arms:
        by_iteration = {point.iteration: point.outcome.value for point in arm.curve}
        values = [by_iteration.get(iteration) for iteration in shown]
        table.add_row(
            Text(one_line(arm.name, LONGEST_ARM)), *("" if value is None else f" {value:.3f}" for value in values)
        )
    return table


def _exploratory(differences: Sequence[ExploratoryDifference], width: int) -> Table:
    table = plain_table(width)
    table.add_column("figure", overflow="fold")
    table.add_column("arms")
    for heading in ("difference", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in differences:
        figure = each.figure.removeprefix("heldout.")
        table.add_row(
            Text(one_line(figure, LONGEST_FIGURE)),
            _pair(each.first, each.second),
            signed(each.difference),
            p_value(each),
        )
    return table


def _failed(runs: Sequence[StudyRun]) -> Iterator[Text]:
    for run in runs[:MOST_FAILED]:
        reason = f": {one_line(run.error, LONGEST_ERROR)}" if run.error else ""
        yield Text(f"{printable(run.name)} {run.status}{reason}", style="red")
    if len(runs) > MOST_FAILED:
        left = Counter(run.status for run in runs[MOST_FAILED:])
        yield Text(f"and {', '.join(f'{count} more {status}' for status, count in left.items())}", style="red")


def _pair(first: str, second: str) -> Text:
    return Text(f"{one_line(first, LONGEST_ARM)} − {one_line(second, LONGEST_ARM)}")


def mean(interval: StudyInterval | None) -> Text:
    """A mean with its interval."""
    if interval is None:
        return Text("·")
    ends = "" if interval.low is None else f" ({interval.low:.3f}–{interval.high:.3f})"
    return Text.assemble(f"{interval.value:.3f}", (ends, "dim"))


def signed(interval: StudyInterval) -> Text:
    """A difference with its interval."""
    ends = "" if interval.low is None else f" ({interval.low:+.3f} to {interval.high:+.3f})"
    return Text.assemble(f"{interval.value:+.3f}", (ends, "dim"))


def p_value(difference: StudyDifference) -> str:
    """The p of a difference."""
    return f"{difference.p:.3f}" if difference.p >= 0.001 else "<0.001"


def _cost(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"
