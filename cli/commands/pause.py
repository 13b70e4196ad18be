"""`eva pause`: a wish that whoever plays the run obeys at its next batch boundary."""

from __future__ import annotations

import click

from cli.desired_state import wish, wish_options


@click.command()
@click.argument("run", default="last")
@wish_options
def pause(run: str, wait: bool, timeout: float) -> None:
    """Let RUN stop at its next batch boundary; nothing is lost, `eva resume` goes on from there.

    A run that nobody plays is paused at once. RUN is a name, the unique beginning of one, or `last`.
    """
    wish(run, "pause", wait=wait, timeout_s=timeout)
