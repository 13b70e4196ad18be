"""How figures, stages and tables look: one format for all commands and the report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.terminal.safe_text import printable

ROOMY = 90
"""The terminal width, in columns, from which tables have wider gaps and say more."""

DOING = {
    "start": "starting",
    "judge_pool": "judging the pool",
    "estimate": "estimating info",
    "sample": "sampling prompts",
    "evolve": "evolving prompts",
    "gate": "probing children",
    "mix": "mixing the batch",
    "judge_batch": "judging the batch",
    "audit": "auditing the rewards",
    "pair": "pairing responses",
    "advantage": "weighing responses",
    "train": "training",
    "reward_creator": "rewarding the creator",
    "train_creator": "training the creator",
    "categorise": "classifying prompts",
    "evaluate": "evaluating the policy",
    "evaluate_initial": "evaluating the initial model",
}
"""Stage: what it is doing, while it is open."""

WAITING = {
    "driver": "its driver starts",
    "start": "Ray, engines and the other workers start",
    "evaluate_initial": "the engines load the model, before the first held-out prompt",
    "evaluate": "the engines take over the new policy, before the first held-out prompt",
    "judge_pool": "the engines take over the policy, before the first response",
    "judge_batch": "the engines take over the policy, before the first response",
    "evolve": "the evolver has not answered yet",
    "train": "the trainer loads the model, before its first step",
}
"""What a run waits for (`store.views.run_lists.waits`), in words."""

DONE = {
    "start": "started",
    "judge_pool": "judged the pool",
    "estimate": "estimated info",
    "sample": "sampled prompts",
    "evolve": "evolved prompts",
    "gate": "probed children",
    "mix": "mixed the batch",
    "judge_batch": "judged the batch",
    "audit": "audited the rewards",
    "pair": "paired responses",
    "advantage": "weighed responses",
    "train": "trained",
    "reward_creator": "rewarded the creator",
    "train_creator": "trained the creator",
    "categorise": "classified prompts",
    "evaluate": "evaluated the policy",
    "evaluate_initial": "evaluated the initial model",
}
"""Stage: what it did, once it is closed."""


def doing(stage: str) -> str:
    return DOING.get(stage, stage.replace("_", " "))


def done(stage: str) -> str:
    return DONE.get(stage, stage.replace("_", " "))


def waiting(wait: Mapping[str, Any]) -> str:
    """What a run waits for, and how long that usually takes."""
    what = WAITING.get(wait["what"], f"{doing(wait['what'])} has begun")
    if wait["usual_s"] is None:
        return what
    runs = "an earlier run" if wait["runs"] == 1 else f"{wait['runs']} earlier runs"
    of = "" if wait["what"] in ("driver", "start") else "all of it "
    return f"{what} ({of}took {duration(wait['usual_s'])} in {runs} with this model)"


def number(value: object, digits: int = 2) -> str:
    """A float with `digits` decimals, an int with thousands separators, a middle dot for None."""
    if value is None:
        return "·"
    return (
        f"{value:,.{digits}f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )


def amount(value: int | None) -> str:
    """A large count, shortened: 812, 14 k, 2.3 M."""
    if value is None:
        return "·"
    for limit, divisor, unit in ((10_000, 1, ""), (1_000_000, 1e3, " k"), (1_000_000_000, 1e6, " M")):
        if value < limit:
            return f"{value / divisor:,.{0 if divisor < 1e6 else 1}f}{unit}"
    return f"{value / 1e9:,.1f} G"


def duration(seconds: float | None) -> str:
    """A time span: 0.4 s, 12 s, 1:43, 2:05:10."""
    if seconds is None:
        return "·"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def age(seconds: float) -> str:
    """An age in its largest unit: 12 s, 5 min, 3 h, 12 d."""
    for limit, divisor, unit in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def place(iteration: int, iterations: int) -> str:
    """An iteration by its number (from 0) and its rank (from 1): iteration 2 (3 of 4)."""
    return f"iteration {iteration} ({min(iteration + 1, iterations)} of {iterations})"


def plain_table(width: int) -> Table:
    """A table without borders and with a line below its header; a narrow terminal gets narrower gaps."""
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1 if width >= ROOMY else 0, 0, 0),
        header_style="dim",
        border_style="dim",
    )


def print_json(value: object) -> None:
    """Prints a value as the commands' `--json` does."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Prints rows of texts and numbers as a table whose columns wrap; without rows, the sentence `empty`."""
    if not (rows := [*rows]):
        click.echo(empty)
        return
    console = Console(highlight=False)
    table = plain_table(console.width)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    console.print(table)
