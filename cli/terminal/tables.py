"""The one look of all tables."""

from __future__ import annotations

from rich import box
from rich.table import Table

ROOMY = 90
"""From so many columns on, tables have wider gaps and say more."""


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
