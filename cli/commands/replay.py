"""`eva replay`: what the creator would have chosen with other settings, from a run's stored rewards."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.text import Text

from cli.replay import replay as redo
from cli.replay import with_changes
from cli.store_access import existing_store, find
from cli.terminal.formats import number as figure
from cli.terminal.formats import plain_table, print_json
from cli.terminal.safe_text import one_line, printable


@click.command()
@click.argument("run", default="last")
@click.option("--iteration", type=click.IntRange(min=0), help="Only this iteration.  [default: all that sampled]")
@click.option("--metric", help="The regret metric: a name, or your own `module:function`.")
@click.option("--threshold", type=float, help="For the metric learnability.")
@click.option("--weights", help="How info becomes a weight: a name or `module:function`.")
@click.option("--temperature", type=float, help="For the weights rank and softmax.")
@click.option("--sampler", help="How weights become a subset: a name or `module:function`.")
@click.option("--topic-share", type=float, help="For the sampler topic_balanced.")
@click.option("--staleness", type=float, help="Share of the weight for prompts without recent responses.")
@click.option("--pull", type=float, help="How much of its weight a prompt loses that repeats others.")
@click.option("--fraction", type=float, help="Share of the pool that is sampled.")
@click.option("--choice", help="How an evolution gets its operator: uniform, bandit, or `module:function`.")
@click.option("--floor", type=float, help="The least probability of an operator.")
@click.option("--breadth", type=float, help="The least probability of all operators in breadth together.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the draw.")
@click.option("--examples", type=click.IntRange(min=0), default=3, show_default=True, help="How many prompts to show.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replay(run: str, iteration: int | None, examples: int, as_json: bool, **choices: Any) -> None:
    """Redo the estimate and sample stages of RUN on its stored rewards, with other settings. Needs no model or GPU.

    What the choice of operators depends on is stored as well: their probabilities are computed again.

    Settings that you leave out stay as in the run; without any, the stored draw comes out again. The run is not
    changed. RUN is a name, a unique prefix of one, or `last`.
    """
    changes = {name: value for name, value in choices.items() if value is not None}
    with existing_store() as store:
        row = find(store, run)
        facts = redo(store, row, with_changes(row.config, changes), iteration, examples)
    if as_json:
        print_json(facts)
        return
    console = Console(highlight=False)
    changed = [
        f"{name} {facts['stored'][name]} -> {value}"
        for name, value in facts["replayed"].items()
        if value != facts["stored"][name]
    ]
    console.print(Text(f"{facts['run']}: {printable(', '.join(changed)) or 'the same settings as in the run'}"))
    for iteration_facts in facts["iterations"]:
        _show(iteration_facts, console)


def _show(facts: dict[str, Any], console: Console) -> None:
    chosen, regret = facts["chosen"], facts["regret_share"]
    console.print(Text(f"\nIteration {facts['iteration']}: {facts['pool']:,} prompts", style="bold"))
    console.print(
        Text(
            f"  chosen then {chosen['then']:,}, now {chosen['now']:,}, both {chosen['both']:,}: "
            f"overlap {_share(facts['overlap'])} (by chance {_share(facts['overlap_by_chance'])})"
        )
    )
    console.print(Text(f"  share of the pool's regret: then {_share(regret['then'])}, now {_share(regret['now'])}"))
    if facts["left_out"]:
        console.print(
            Text(
                "  without info or gap: "
                + ", ".join(f"{count:,} {reason}" for reason, count in facts["left_out"].items())
            )
        )
    if facts["identical"]:
        console.print(Text("  Identical to the stored draw, bit for bit.", style="green"))
    _show_steering(facts["steering"], console)
    choice = facts["operator_choice"]
    if any(row[when] != 1 / len(choice) for row in choice for when in ("then", "probability")):
        _show_choice(choice, console)
    for heading in ("operators", "topics"):
        if [*facts[heading]] != ["none"]:
            _show_counts(heading.removesuffix("s"), facts[heading], console)
    for heading, examples in (("Chosen only now", facts["only_now"]), ("Chosen only then", facts["only_then"])):
        if examples:
            console.print(Text(f"  {heading}:", style="dim"))
        for prompt in examples:
            console.print(
                Text(
                    f"  #{prompt['number']} info {figure(prompt['info'])} "
                    f"{printable(prompt['operator'] or 'seed')}: {one_line(prompt['text'], 2 * 60)}"
                )
            )


def _show_counts(heading: str, counts: dict[str, dict[str, int]], console: Console) -> None:
    table = plain_table(console.width)
    table.add_column(f"  {heading}", overflow="fold")
    for name in ("pool", "then", "now"):
        table.add_column(name, justify="right")
    for kind, row in counts.items():
        table.add_row(Text(f"  {one_line(kind, 60)}"), *(f"{row[name]:,}" for name in ("pool", "then", "now")))
    console.print(table)


def _show_steering(steering: dict[str, Any], console: Console) -> None:
    """The level that the creator was steered at, and the one that the stored figures of diversity give now."""
    known: dict[str, dict[str, Any]] = {when: facts for when, facts in steering.items() if facts is not None}
    if any(facts["level"] for facts in known.values()):
        levels = ", ".join(f"{when} {facts['level']}" for when, facts in known.items())
        why = ", ".join(f"{breach['figure']} {figure(breach['value'])}" for breach in [*known.values()][-1]["why"])
        console.print(Text(f"  steered: level {levels}" + (f" ({why})" if why else "")))


def _show_choice(beliefs: list[dict[str, Any]], console: Console) -> None:
    """How likely each operator was and is, and what an attempt with it is believed to be worth."""
    table = plain_table(console.width)
    table.add_column("  operator", overflow="fold")
    for name in ("likely then", "now", "worth", "error", "attempts"):
        table.add_column(name, justify="right")
    for row in beliefs:
        figures = (_share(row["then"]), _share(row["probability"]), figure(row["worth"]), figure(row["error"]))
        table.add_row(Text(f"  {one_line(row['operator'], 60)}"), *figures, f"{row['attempts']:,}")
    console.print(table)


def _share(value: float | None) -> str:
    return "·" if value is None else f"{value:.0%}"
