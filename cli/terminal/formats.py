"""The one look of figures, stages and tables: every command and the report format them here."""

from __future__ import annotations

from rich import box
from rich.table import Table

ROOMY = 90
"""The terminal width, in columns, from which tables have wider gaps and say more."""

DOING = {
    "start": "starting",
    "judge_pool": "answering the pool",
    "estimate": "estimating info",
    "sample": "sampling prompts",
    "evolve": "evolving prompts",
    "gate": "probing children",
    "mix": "mixing the batch",
    "judge_batch": "answering the batch",
    "audit": "auditing the rewards",
    "pair": "pairing responses",
    "train": "training",
    "evaluate": "evaluating the policy",
    "evaluate_initial": "evaluating the given model",
}
"""What a stage does, while it does it."""

DONE = {
    "start": "started",
    "judge_pool": "answered the pool",
    "estimate": "estimated info",
    "sample": "sampled prompts",
    "evolve": "evolved prompts",
    "gate": "probed children",
    "mix": "mixed the batch",
    "judge_batch": "answered the batch",
    "audit": "audited the rewards",
    "pair": "paired responses",
    "train": "trained",
    "evaluate": "evaluated the policy",
    "evaluate_initial": "evaluated the given model",
}
"""The same, once it is done."""


def doing(stage: str) -> str:
    return DOING.get(stage, stage.replace("_", " "))


def done(stage: str) -> str:
    return DONE.get(stage, stage.replace("_", " "))


def number(value: object, digits: int = 2) -> str:
    """A figure with fixed digits, a count with separators, a middle dot where there is none."""
    if value is None:
        return "·"
    return (
        f"{value:,.{digits}f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )


def amount(value: int | None) -> str:
    """A large count in few characters: 812, 14 k, 2.3 M."""
    if value is None:
        return "·"
    for limit, divisor, unit in ((10_000, 1, ""), (1_000_000, 1e3, " k"), (1_000_000_000, 1e6, " M")):
        if value < limit:
            return f"{value / divisor:,.{0 if divisor < 1e6 else 1}f}{unit}"
    return f"{value / 1e9:,.1f} G"


def duration(seconds: float | None) -> str:
    """0.4 s, 12 s, 1:43, 2:05:10."""
    if seconds is None:
        return "·"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def age(seconds: float) -> str:
    """How long ago, in its largest unit: 12 s, 5 min, 3 h, 12 d."""
    for limit, divisor, unit in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def place(iteration: int, iterations: int) -> str:
    """An iteration by its number, which counts from 0, and its place among all."""
    return f"iteration {iteration} ({min(iteration + 1, iterations)} of {iterations})"


def plain_table(width: int) -> Table:
    """A table without frames, one line below its header; gaps shrink where the terminal is narrow."""
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1 if width >= ROOMY else 0, 0, 0),
        header_style="dim",
        border_style="dim",
    )
