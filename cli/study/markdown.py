"""The report of a study as Markdown: for a page, a paper's draft or a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cli.study.view import doubts, mean, p_value, remarks, signed
from cli.terminal.formats import number
from cli.terminal.safe_text import printable
from eva.studies.schema import StudyArm, StudyComparison, StudyReport


def study_markdown(report: StudyReport) -> str:
    """Returns what was compared, the arms, the paired differences, and what to doubt."""
    return "\n".join([*_lines(report), ""])


def _lines(report: StudyReport) -> Iterator[str]:
    finished = report.counts.get("finished", 0)
    seeds = {run.seed for run in report.runs if run.status == "finished"}
    yield f"**{_plain(report.name)}.** {_plain(report.question)}".strip()
    yield ""
    yield (
        f"Outcome: `{report.outcome.figure}`, {report.outcome.better} is better. "
        f"{finished:,} of {report.planned:,} runs are finished: {len(report.arms)} arms, "
        f"{len(seeds)} of {len(report.seeds)} seeds, given models {', '.join(map(_plain, report.models))}."
    )
    yield ""
    yield from _arms(report.arms)
    if report.comparisons:
        yield ""
        yield from _differences(report.comparisons)
    yield ""
    yield from (f"- {_plain(line.plain)}" for line in (*remarks(report.comparisons), *doubts(report)))
    yield from (
        f"- {_plain(run.name)} {run.status}: {_plain(run.error or 'no reason is stored')}"
        for run in report.runs
        if run.status in ("failed", "cancelled")
    )


def _arms(arms: Sequence[StudyArm]) -> Iterator[str]:
    yield "| arm | outcome (95 %) | sd | runs | responses | tokens | steps | pairs | seconds |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for arm in arms:
        costs = arm.costs
        figures = [costs.responses, costs.tokens, costs.steps, costs.pairs, costs.seconds] if costs else [None] * 5
        cells = (
            _plain(arm.name),
            mean(arm.outcome).plain,
            number(arm.outcome and arm.outcome.deviation, 3),
            number(arm.outcome.runs if arm.outcome else 0),
            *(number(value, 0) for value in figures),
        )
        yield f"| {' | '.join(cells)} |"


def _differences(comparisons: Sequence[StudyComparison]) -> Iterator[str]:
    yield "| difference | paired (95 %) | pairs | p | Holm | detectable | verdict |"
    yield "|---|---|---|---|---|---|---|"
    for each in comparisons:
        cells = (
            f"{_plain(each.first)} − {_plain(each.second)}",
            signed(each.difference).plain,
            number(each.difference.runs),
            p_value(each),
            "·" if each.p_adjusted is None else f"{each.p_adjusted:.3f}",
            number(each.detectable, 3),
            "A/A" if each.repeats else each.verdict or "one seed",
        )
        yield f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Text that cannot end a cell or a line, nor be read as markup."""
    line = " ".join(printable(text).split())
    for sign in "\\|`*<[":
        line = line.replace(sign, f"\\{sign}")
    return line
