"""The parts of a report that show texts: a family of prompts, and a held-out prompt with every policy's response."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.terminal.formats import ROOMY, number, plain_table
from cli.terminal.safe_text import conversation_line, one_line, printable
from store.views.summary.schema import Context, DifficultyInfo, FamilyMember, HeldoutExample

TEXT_LINES = 2
SIBLINGS_SHOWN = 3


def family_view(family: Sequence[FamilyMember], width: int) -> Group:
    """The path from the seed down: each prompt with its best and worst response, then its other children."""
    path = [member for member in family if member.on_path]
    members = (line for place, member in enumerate(path) for line in _member(member, place, family, width))
    return Group(*_conversation(family[0].context, width), *members)


def example_view(example: HeldoutExample, width: int) -> Group:
    """A held-out prompt and each checkpoint's greedy response to it."""
    lines: list[RenderableType] = [
        *_conversation(example.context, width),
        Text(one_line(example.text, TEXT_LINES * (width - 4)), style="bold"),
    ]
    for response in example.answers:
        mark, style = ("✓", "green") if response.correct else ("✗", "red")
        label = f"{response.checkpoint:>2} {mark} {number(response.reward)}  "
        text = response.text if response.reward is not None else f"({response.reason})"
        lines.append(_response(label, text, width, style))
    return Group(*lines)


def difficulty_view(groups: Sequence[DifficultyInfo], width: int) -> Table:
    """A row per iteration, a column per number of operations: mean info and how many prompts."""
    columns = sorted({group.operations for group in groups})
    by_place = {(group.iteration, group.operations): group for group in groups}
    table = plain_table(width)
    table.add_column("batch of", no_wrap=True)
    for column in columns:
        table.add_column(str(column), justify="right", no_wrap=True)
    for iteration in sorted({group.iteration for group in groups}):
        cells = [_group(by_place.get((iteration, column)), width) for column in columns]
        table.add_row(f"iteration {iteration}", *cells)
    return table


def _member(member: FamilyMember, place: int, family: Sequence[FamilyMember], width: int) -> Iterator[RenderableType]:
    if place:
        head = Text.assemble(
            "└ ",
            (printable(member.operator or ""), "cyan"),
            (f"  #{member.number}, iteration {member.iteration}", "dim"),
        )
    else:
        head = Text.assemble(("seed", "cyan"), (f"  #{member.number}", "dim"))
    head.append(f"  info {number(member.info)}" if member.info is not None else "  not judged", style="dim")
    yield head
    yield _indented(one_line(member.text, TEXT_LINES * (width - 6)), 2, "bold")
    if member.best and member.worst:
        for kind, response, style in (("best", member.best, "green"), ("worst", member.worst, "red")):
            yield _response(f"{kind:<5} {number(response.reward)}  ", response.text, width, style)
    siblings = [other for other in family if not other.on_path and other.parent == member.number]
    if siblings:
        names = ", ".join(
            f"{printable(other.operator or '')} #{other.number}"
            + (f" (info {number(other.info)})" if other.info is not None else "")
            for other in siblings[:SIBLINGS_SHOWN]
        )
        more = f" and {len(siblings) - SIBLINGS_SHOWN} more" if len(siblings) > SIBLINGS_SHOWN else ""
        yield _indented(f"other children: {names}{more}", 2, "dim")


def _conversation(context: Context, width: int) -> list[RenderableType]:
    """The conversation that a prompt continues, if any."""
    return [_indented(conversation_line(context, TEXT_LINES * (width - 6)), 2, "dim")] if context else []


def _group(group: DifficultyInfo | None, width: int) -> Text:
    if group is None:
        return Text("·", style="dim")
    count = f" ({group.prompts})" if width >= ROOMY else ""
    return Text.assemble(number(group.info), (count, "dim"))


def _response(label: str, text: str, width: int, style: str) -> Table:
    """A label and a shortened text beside it, wrapped below itself."""
    grid = Table.grid(padding=0)
    grid.add_column(width=len(label) + 2, no_wrap=True)
    grid.add_column()
    shown = one_line(text, TEXT_LINES * (width - len(label) - 6)) or "(empty)"
    grid.add_row(Text("  " + label, style=style), Text(shown))
    return grid


def _indented(text: str, by: int, style: str) -> Table:
    grid = Table.grid(padding=0)
    grid.add_column(width=by)
    grid.add_column()
    grid.add_row("", Text(text, style=style))
    return grid
