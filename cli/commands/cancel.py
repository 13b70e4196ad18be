"""`eva cancel`: the end of a run, at its next batch boundary."""

from __future__ import annotations

import click

from cli.desired_state import wish, wish_options


@click.command()
@click.argument("run")
@wish_options
def cancel(run: str, wait: bool, timeout: float) -> None:
    """End RUN for good at its next batch boundary. What it finished stays; it can be looked at, exported and forked.

    A run that nobody plays is cancelled at once. RUN is a name, the unique beginning of one, or `last`.
    """
    wish(run, "cancel", wait=wait, timeout_s=timeout)
