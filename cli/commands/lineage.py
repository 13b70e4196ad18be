"""`eva lineage`: the ancestors and descendants of a prompt."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from cli.remote import run_path, source_of, url_option
from cli.terminal.formats import number as figure
from cli.terminal.formats import print_json
from cli.terminal.safe_text import conversation_line, one_line, printable

LIMIT = 1000
LONGEST_LINE = 9


@click.command()
@click.argument("run")
@click.argument("number", type=click.IntRange(min=0, max=2**31 - 1))
@click.option(
    "--depth",
    type=click.IntRange(min=0, max=1000),
    default=10,
    show_default=True,
    help="How many generations of descendants to show.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as the API returns it.")
@url_option
def lineage(run: str, number: int, depth: int, as_json: bool, url: str | None) -> None:
    """Show the ancestors and descendants of prompt NUMBER of RUN.

    RUN is a name, a unique prefix of one, or `last`. Each prompt is shown with its operator, the iteration
    that created it, and its info when it was first judged.
    """
    with source_of(url) as source:
        facts = source.get(f"{run_path(run)}/prompts/{number}/lineage", depth=depth, limit=LIMIT)
        if as_json:
            print_json(facts)
            return
        console = Console(highlight=False)
        console.print(_tree(facts, console.width))
        if max(len(facts["ancestors"]), len(facts["descendants"])) == LIMIT:
            click.echo(f"Only the nearest {LIMIT} ancestors and descendants are shown.", err=True)


def _tree(facts: dict[str, Any], width: int) -> Tree:
    """The path from the seed down to the prompt, then all its descendants."""
    line = [*facts["ancestors"], facts["prompt"]]
    left_out = max(0, len(line) - LONGEST_LINE)
    label = _label(line[0], 0, width, line[0] is facts["prompt"])
    if facts["context"]:
        label = Text.assemble((conversation_line(facts["context"], 2 * width - 8), "dim"), "\n", label)
    root = branch = Tree(label, guide_style="dim")
    if left_out:
        branch = branch.add(Text(f"… {left_out} more prompts …", style="dim"))
    for depth, fact in enumerate(line[1 + left_out :], 1):
        branch = branch.add(_label(fact, depth, width, fact is facts["prompt"]))
    branches = {facts["prompt"]["number"]: branch}
    for fact in facts["descendants"]:
        depth = min(len(line), LONGEST_LINE) - 1 + fact["distance"]
        branches[fact["number"]] = branches[fact["parent"]].add(_label(fact, depth, width, False))
    return root


def _label(fact: dict[str, Any], depth: int, width: int, highlighted: bool) -> Text:
    head = Text.assemble(
        (f"#{fact['number']} ", "bold" if highlighted else ""),
        (printable(fact["operator"] or "seed"), "cyan"),
        ("" if fact["operator"] is None else f" in iteration {fact['born']}", "dim"),
        ("" if fact["info"] is None else f" info {figure(fact['info'])}", "dim"),
    )
    text = one_line(fact["text"], max(30, 2 * (width - 4 * depth) - 8))
    return Text.assemble(head, "\n", (text, "bold" if highlighted else ""))
