"""`eva evaluate`: a leaderboard's figures, computed from its published annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import click
from rich.console import Console
from rich.text import Text

from cli.terminal.formats import plain_table, print_json
from cli.terminal.safe_text import one_line
from eva.errors import InputError
from eva.evaluation.alpaca import group_by_model, leaderboard_row, read_published
from eva.evaluation.arena import VERSIONS, arena_scores, battles_from_judgments
from eva.evaluation.style import read_style, style_scores, styled_judgments
from eva.prompts.rows import read_rows

SEED = 42
LONGEST_NAME = 40
Rows = list[dict[str, Any]]


@click.command()
@click.option(
    "--annotations",
    "files",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="AlpacaEval's annotations.json, or an Arena-Hard judgment file; may be repeated.",
)
@click.option(
    "--style",
    type=click.Choice(["alpaca", "arena"]),
    help="Which leaderboard they are from. [default: guessed from the file]",
)
@click.option(
    "--gamed",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="alpaca: df_gamed.csv from the data set tatsu-lab/alpaca_eval, for the official length-controlled figure.",
)
@click.option("--baseline", metavar="NAME", help="arena: the model that all others are judged against.")
@click.option(
    "--version",
    type=click.Choice([*VERSIONS]),
    default="0.1",
    show_default=True,
    help="arena: the version of the benchmark, which sets the rules and the baseline.",
)
@click.option(
    "--answers",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="arena 2.0: a model_answer file, for style-controlled scores; repeat for each model and the baseline.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    files: tuple[Path, ...],
    style: str | None,
    gamed: Path | None,
    baseline: str | None,
    version: str,
    answers: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Compute a leaderboard's figures from its published annotations.

    No model is called. Shares are in percent. docs/reference/evaluation.md lists the published
    figures that this reproduces.
    """
    rows = [row for path in files for row in _read(path)]
    if (style or _style(rows, files)) == "alpaca":
        facts, note = _alpaca(rows, gamed), "" if gamed else ALONE
    else:
        facts, note = _arena(rows, baseline or VERSIONS[version].baseline, version, answers)
    if as_json:
        print_json(facts)
        return
    _show(facts, Console(highlight=False))
    if note:
        click.echo(note, err=True)


ALONE = (
    "The length-controlled figure is fitted to these annotations alone. AlpacaEval's official one also uses the "
    "difficulties of its instructions: pass them with --gamed."
)


def _read(path: Path) -> Rows:
    rows: Rows = []
    for line, row in read_rows(path):
        if not isinstance(row, dict):
            raise InputError(
                f"{line} of {path} holds {str(cast('object', row))[:40]!r}",
                expected="an annotation, as a JSON object",
                next_move="Use the leaderboard's file unchanged",
            )
        rows.append(cast("dict[str, Any]", row))
    return rows


def _style(rows: Rows, files: Sequence[Path]) -> str:
    first = rows[0] if rows else {}
    for style, key in (("alpaca", "preference"), ("arena", "games")):
        if key in first:
            return style
    raise InputError(
        f"the first entry of {files[0]} has the keys {', '.join(first) or '(none)'}",
        expected="`preference` (AlpacaEval) or `games` (Arena-Hard)",
        next_move="Use the leaderboard's file unchanged",
    )


def _alpaca(rows: Rows, gamed: Path | None) -> list[dict[str, Any]]:
    published = None if gamed is None else read_published(read_rows(gamed), str(gamed))
    leaderboard = [
        {"model": model} | leaderboard_row(own, seed=SEED, published=published)
        for model, own in group_by_model(rows).items()
    ]
    return sorted(
        leaderboard,
        key=lambda row: (-(row["win_rate"] if (lc := row["length_controlled_winrate"]) is None else lc), row["model"]),
    )


def _arena(rows: Rows, baseline: str, version: str, answers: Sequence[Path]) -> tuple[list[dict[str, Any]], str]:
    rules, notes = VERSIONS[version], list[str]()
    if answers and version != "2.0":
        raise InputError(
            f"--answers with --version {version}",
            expected="--version 2.0, the only one with style control",
            next_move="Leave out --answers, or use --version 2.0",
        )
    if answers:
        style = read_style(row for path in answers for row in _read(path))
        styled, verdicts, missing = styled_judgments(rows, style, baseline)
        fit = style_scores(styled, verdicts, baseline, centred=True, seed=SEED, level=rules.level)
        scores = fit.scores
        notes.append(
            "Style-controlled. Coefficients: "
            + ", ".join(f"{name} {value:+.3f}" for name, value in fit.coefficients.items())
            + "."
        )
    else:
        battles, missing = battles_from_judgments(rows, baseline, whole_rows=rules.whole_rows)
        scores = arena_scores(battles, baseline, seed=SEED, level=rules.level)
    facts = [
        {
            "model": score.model,
            "score": 100 * score.win_rate.value,
            "low": 100 * score.win_rate.low,
            "high": 100 * score.win_rate.high,
            "elo": asdict(score.elo),
            "battles": score.battles,
        }
        for score in scores
    ]
    notes += [f"Games without a verdict, left out: {missing:,}."] if missing else []
    return facts, " ".join(notes)


def _show(facts: Sequence[dict[str, Any]], console: Console) -> None:
    table = plain_table(console.width)
    table.add_column("model", no_wrap=True)
    alpaca = "win_rate" in facts[0]
    shown = (
        {
            "length_controlled_winrate": "length-controlled",
            "win_rate": "win rate",
            "standard_error": "error",
            "discrete_win_rate": "discrete",
            "n_total": "prompts",
            "avg_length": "characters",
        }
        if alpaca
        else {"score": "score", "battles": "battles"}
    )
    for heading in (*shown.values(), *([] if alpaca else ["interval"])):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in facts:
        cells = [
            "·"
            if row[key] is None
            else f"{row[key]:,.2f}"
            if isinstance(row[key], float) and key != "avg_length"
            else f"{row[key]:,.0f}"
            for key in shown
        ]
        interval = [] if alpaca else [f"{row['low']:.2f}–{row['high']:.2f}"]
        table.add_row(Text(one_line(row["model"], LONGEST_NAME)), *cells, *interval)
    console.print(table)
    for row in facts:
        if (reason := row.get("control_reason")) is not None:
            console.print(Text(f"{one_line(row['model'], LONGEST_NAME)}: not length-controlled: {reason}", style="dim"))
