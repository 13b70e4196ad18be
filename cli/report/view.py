"""A report on a terminal, readable in 80 columns. Texts of models are shown as data, never as markup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.report.examples import difficulty_view, example_view, family_view
from cli.report.quality import quality_sections
from cli.terminal.formats import ROOMY, amount, doing, duration, number, place, plain_table
from cli.terminal.safe_text import one_line, printable
from store.views.summary.schema import (
    BeforeAfter,
    Interval,
    Iteration,
    RunSummary,
    Score,
    SelfPreference,
    SetChange,
    SetScores,
    Timings,
    WinRate,
)

Mode = Literal["greedy", "sampled"]

WIDEST = 100
NOT_JUDGED = ("unanswered", "too_few_rewards")
LONGEST_SET, LONGEST_REWARDER = 16, 40
MODES: Mapping[Mode, str] = {"greedy": "greedy", "sampled": "T = 1"}
_STATUS_STYLES = {
    "finished": "green",
    "running": "cyan",
    "failed": "red",
    "cancelled": "red",
    "paused": "yellow",
}


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A policy in the table of held-out scores, and what it took so far: pairs or responses, steps, sampled tokens."""

    label: str
    by_set: Mapping[str, SetScores]
    spent: tuple[str, str, str]

    def score(self, name: str, mode: Mode) -> Score | None:
        """The policy's score on a set in a mode."""
        scores = self.by_set.get(name)
        return scores and (scores.greedy if mode == "greedy" else scores.sampled)


def show_report(summary: RunSummary, console: Console) -> None:
    """Prints the whole report."""
    width = min(console.width, WIDEST)
    console.print(Group(*_sections(summary, width)), width=width)


def _sections(summary: RunSummary, width: int) -> Iterator[RenderableType]:
    yield _headline(summary)
    iterations = summary.iterations
    if iterations:
        yield from _titled("What happened", _iterations(iterations, width), *_left_out(iterations), *_cost(iterations))
    if taught := [row for row in iterations if row.creator is not None]:
        yield from _titled("What the creator's replies were worth", _creator(taught, width))
    if summary.heldout:
        yield from _titled(*_heldout(summary, width))
    if summary.win_rates:
        title = "Greedy responses against the baseline's: % won, 95 % intervals"
        yield from _titled(title, *win_rates_view(summary.win_rates, width))
    for title, parts in quality_sections(iterations, width):
        yield from _titled(title, *parts)
    if summary.operations:
        yield from _titled(
            "Mean info by number of operations" + (" (prompts in the batch)" if width >= ROOMY else ""),
            difficulty_view(summary.operations, width),
        )
    if summary.family:
        yield from _titled("A family of prompts, from its seed", family_view(summary.family, width))
    if summary.example:
        yield from _titled(
            f"A held-out prompt ({printable(summary.example.split)}), answered by each policy",
            example_view(summary.example, width),
        )
    if summary.timings.by_stage:
        yield from _titled("Where the time went", _timings(summary.timings))


def _titled(title: str, *parts: RenderableType) -> Iterator[RenderableType]:
    yield Text()
    yield Text(title, style="bold")
    for part in parts:
        yield Padding(part, (0, 0, 0, 2), expand=False)


def _headline(summary: RunSummary) -> Text:
    run = summary.run
    parts = [
        f"{run.iterations} iterations" if run.status == "finished" else place(run.iteration, run.iterations),
        *([f"{doing(run.stage.name)} {run.stage.done:,}/{run.stage.total:,}"] if run.stage else []),
        f"{run.prompts:,} prompts",
        f"seed {run.seed}",
    ]
    if summary.timings.wall is not None:
        parts.append(duration(summary.timings.wall))
    line = Text.assemble(
        (printable(run.name), "bold"),
        "  ",
        (run.status, _STATUS_STYLES.get(run.status, "")),
        "  ",
        (" · ".join(parts), "dim"),
    )
    if (origin := run.forked_from) is not None:
        line.append(
            f"\nforked from {printable(origin.run)} at the start of iteration {origin.iteration}; "
            "it shares the history before that",
            style="dim",
        )
    if run.error:
        line.append(f"\n{printable(run.error)}", style="red")
    return line


def _iterations(iterations: Sequence[Iteration], width: int) -> Table:
    table = plain_table(width)
    table.add_column("iteration", no_wrap=True)
    learned = _learned_from(iterations)
    for heading in ("prompts", "pool\nreward", "info", "sampled", "accepted", "refused", learned, "loss", "margin"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in iterations:
        table.add_row(
            f"{row.iteration}" + (" warm-up" if row.warm_up else ""),
            number(row.prompts),
            number(row.reward_mean),
            number(row.info_mean),
            number(row.sampled),
            number(row.children and row.children.accepted),
            number(row.children and sum(row.children.refused.values())),
            number(_taught(row)),
            number(row.loss, 3),
            number(row.margin, 2),
        )
    return table


def _creator(iterations: Sequence[Iteration], width: int) -> Table:
    table = plain_table(width)
    table.add_column("iteration", no_wrap=True)
    for heading in ("reward", "regret", "likeness", "learned from", "steps"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in iterations:
        if (step := row.creator) is not None:
            figures = (step.reward, step.regret, step.likeness, step.trained, step.steps)
            table.add_row(str(row.iteration), *map(number, figures))
    return table


def _learned_from(iterations: Sequence[Iteration]) -> str:
    """What the run's loss trains on: pairs, or every response."""
    return "responses" if any(row.weighed for row in iterations) else "pairs"


def _taught(row: Iteration) -> int | None:
    return row.weighed.responses if row.weighed else row.pairs


def _left_out(iterations: Sequence[Iteration]) -> Iterator[Text]:
    """What was left out and why, summed over all iterations."""
    not_judged: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    taught_nothing: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    not_trained_on: Counter[str] = Counter()
    for row in iterations:
        # the other reasons give info 0, which the mean already shows
        not_judged.update({reason: row.degenerate.get(reason, 0) for reason in NOT_JUDGED})
        refused.update(row.children.refused if row.children else {})
        taught_nothing.update(row.skipped)
        left_out.update(row.weighed.left_out if row.weighed else {})
        not_trained_on.update(row.dropped)
    for title, total in (
        ("not judged", +not_judged),
        ("refused", refused),
        ("no pair" if _learned_from(iterations) == "pairs" else "prompts that taught nothing", taught_nothing),
        ("responses left out", left_out),
        ("not trained on", not_trained_on),
    ):
        if total:
            reasons = ", ".join(
                f"{count:,} {printable(reason.replace('_', ' '))}" for reason, count in total.most_common()
            )
            yield Text(f"{title}: {reasons}", style="dim")


def _cost(iterations: Sequence[Iteration]) -> Iterator[Text]:
    """What services were paid, where any were."""
    total: dict[str, float] = {}
    for row in iterations:
        for name, cost in (row.cost_usd or {}).items():
            total[name] = total.get(name, 0.0) + cost
    if any(total.values()):
        parts = ", ".join(f"{name.replace('_', '-')} {cost:.2f}" for name, cost in total.items())
        yield Text(f"cost: {sum(total.values()):.2f} US dollars ({parts})", style="dim")


def _heldout(summary: RunSummary, width: int) -> tuple[str, RenderableType, *tuple[RenderableType, ...]]:
    """Accuracy with intervals where responses can be right; the mean reward where none ever is."""
    sets = [*summary.heldout]
    rows = _policies(summary)
    scores = [
        score for row in rows for name in row.by_set for mode in MODES if (score := row.score(name, mode)) is not None
    ]
    binary = all(score.binary for score in scores)
    by_reward = not binary and not any(score.correct for score in scores)
    cell = _reward if by_reward else _accuracy
    table = plain_table(width)
    table.add_column("policy", no_wrap=True)
    table.add_column("", no_wrap=True, style="dim")
    for heading in (*sets, _learned_from(summary.iterations), "steps", "tokens"):
        table.add_column(Text(one_line(heading, LONGEST_SET)), justify="right", no_wrap=True)
    for row in rows:
        for mode, heading in MODES.items():
            first = mode == "greedy"
            cells = [cell(row.score(name, mode)) for name in sets]
            table.add_row(row.label if first else "", heading, *cells, *(row.spent if first else ("", "", "")))
    if len(rows) > 1:
        table.add_section()
        for mode, heading in MODES.items():
            cells = [_change(summary.heldout[name], mode, by_reward) for name in sets]
            table.add_row("change" if mode == "greedy" else "", heading, *cells, "", "", "")
    if by_reward:
        return "Mean held-out reward (± standard error)", table
    title = "Held-out accuracy, % (95 % interval)"
    return (title, table) if binary else (title, table, _rewards_line(summary))


def _policies(summary: RunSummary) -> list[PolicyRow]:
    """The initial model and every evaluated policy, in order."""
    before = {name: scores.before for name, scores in summary.heldout.items() if scores.before is not None}
    rows = [PolicyRow("0 (given)", before, ("", "", ""))] if before else []
    taught = steps = tokens = 0
    for row in summary.iterations:
        taught, steps = taught + (_taught(row) or 0), steps + (row.steps or 0)
        tokens += row.sampled_tokens or 0
        if row.heldout:
            spent = (number(taught), number(steps), amount(tokens))
            rows.append(PolicyRow(str(row.iteration + 1), row.heldout, spent))
    return rows


def _accuracy(score: Score | None) -> Text:
    if score is None:
        return Text("·")
    return Text.assemble(f"{100 * score.accuracy:.0f}", (f" ({100 * score.low:.0f}–{100 * score.high:.0f})", "dim"))


def _reward(score: Score | None) -> Text:
    if score is None or score.reward is None:
        return Text("·")
    error = score.reward_error
    return Text.assemble(f"{score.reward:.3f}", (f" ±{error:.3f}" if error is not None else "", "dim"))


def _change(scores: BeforeAfter, mode: Mode, by_reward: bool) -> Text:
    """The change since the initial model with its interval, paired by prompt; in colour if 0 is not inside."""
    figure = _paired(scores.change, mode, by_reward) or _difference(scores, mode, by_reward)
    if figure is None:
        return Text("·")
    scale, places = (1, 3) if by_reward else (100, 0)
    value, low, high = (scale * part for part in (figure.value, figure.low, figure.high))
    style = "bold green" if low > 0 else "bold red" if high < 0 else "bold"
    reach = "" if low == high else f" ({low:.{places}f}, {high:.{places}f})"
    return Text.assemble((f"{value:+.{places}f}", style), (reach, "dim"))


def _paired(change: SetChange | None, mode: Mode, by_reward: bool) -> Interval | None:
    own = change and (change.greedy if mode == "greedy" else change.sampled)
    return own and (own.reward if by_reward else own.accuracy)


def _difference(scores: BeforeAfter, mode: Mode, by_reward: bool) -> Interval | None:
    """The plain difference, for summaries of older versions, which have no intervals of changes."""
    before, after = (part and getattr(part, mode) for part in (scores.before, scores.after))
    was, now = (score and (score.reward if by_reward else score.accuracy) for score in (before, after))
    return None if was is None or now is None else Interval(now - was, now - was, now - was)


def _rewards_line(summary: RunSummary) -> Text:
    shown = [
        f"{printable(name)} {number(before.reward)} → {number(after.reward)}"
        for name, scores in summary.heldout.items()
        if (before := scores.before and scores.before.greedy) and (after := scores.after and scores.after.greedy)
    ]
    return Text("mean reward, greedy: " + " · ".join(shown) if shown else "", style="dim")


def win_rates_view(by_set: Mapping[str, Sequence[WinRate]], width: int) -> Iterator[RenderableType]:
    """A row per set and policy, what the last policy gained, and how many prompts could not be compared."""
    table = plain_table(width)
    table.add_column("set", no_wrap=True)
    table.add_column("policy", no_wrap=True)
    roomy = width >= ROOMY
    for heading in ("won", "length-controlled", *(["Elo"] if roomy else []), "characters"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, rows in by_set.items():
        for index, row in enumerate(rows):
            table.add_row(
                Text("" if index else one_line(name, LONGEST_SET)),
                f"{row.checkpoint}" + (" (given)" if row.checkpoint == 0 else ""),
                _interval(row.win_rate, 100, 1),
                _interval(row.length_controlled, 100, 1),
                *([_interval(row.elo, 1, 0)] if roomy else []),
                f"{number(row.length, 0)}/{number(row.baseline_length, 0)}",
            )
    yield table
    for name, rows in by_set.items():
        label, last = one_line(name, LONGEST_SET), rows[-1]
        if (gain := last.gain) is not None:
            yield Text(
                f"{label}: policy {last.checkpoint} wins {100 * gain.value:+.1f} points more than the given one "
                f"({100 * gain.low:+.1f} to {100 * gain.high:+.1f}, paired by prompt)",
                style="dim",
            )
        if last.control_reason is not None:
            yield Text(f"{label}: no win rate at equal length or style: {printable(last.control_reason)}", style="dim")
        if (styled := last.style_controlled) is not None:
            yield Text(
                f"{label}: in the baseline's style (length, lists, headers, bold) policy {last.checkpoint} would win "
                f"{100 * styled.value:.1f} % ({100 * styled.low:.1f}–{100 * styled.high:.1f})",
                style="dim",
            )
        if last.self_preference is not None:
            yield _self_preference(label, last.self_preference)
    missing = sum(row.missing for rows in by_set.values() for row in rows)
    if missing:
        yield Text(f"without a preference: {missing:,}", style="dim")


def _self_preference(label: str, bias: SelfPreference) -> Text:
    judge, second = (one_line(name or "", LONGEST_REWARDER) for name in (bias.rewarder, bias.second_rewarder))
    return Text(
        f"{label}: {judge} prefers its own model's responses by {100 * bias.bias.value:+.1f} points "
        f"({100 * bias.bias.low:+.1f} to {100 * bias.bias.high:+.1f}) beyond {second}: "
        f"{100 * bias.judge.value:.1f} % against {100 * bias.second.value:.1f} % won, {bias.prompts:,} prompts",
        style="dim",
    )


def _interval(interval: Interval | None, scale: float, digits: int) -> Text:
    if interval is None:
        return Text("·")
    value, low, high = (f"{scale * figure:.{digits}f}" for figure in (interval.value, interval.low, interval.high))
    return Text.assemble(value, (f" ({low}–{high})", "dim"))


def _timings(timings: Timings) -> Text:
    spent = sorted(timings.by_stage.items(), key=lambda item: -item[1])
    parts = [f"{doing(stage)} {duration(seconds)}" for stage, seconds in spent if seconds >= 0.05]
    if timings.wall is not None and (rest := timings.wall - timings.stages) >= 1:
        parts.append(f"starting and all else {duration(rest)}")
    total = f"{duration(timings.wall)} in all: " if timings.wall is not None else ""
    return Text(total + " · ".join(parts), style="dim")
