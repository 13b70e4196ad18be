"""`eva pause`: stops a run at its next batch boundary; it can be resumed."""

from __future__ import annotations

import click

from cli.desired_state import request, wait_options


@click.command()
@click.argument("run", default="last")
@wait_options
def pause(run: str, wait: bool, timeout: float) -> None:
    """Stop RUN at its next batch boundary. Nothing is lost: `eva resume` continues from there.

    A run that nobody is playing is paused at once. RUN is a name, a unique prefix of one, or `last`.
    """
    request(run, "pause", wait=wait, timeout_s=timeout)
