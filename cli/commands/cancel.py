"""`eva cancel`: ends a run at its next batch boundary."""

from __future__ import annotations

import click

from cli.desired_state import request, wait_options


@click.command()
@click.argument("run")
@wait_options
def cancel(run: str, wait: bool, timeout: float) -> None:
    """End RUN for good at its next batch boundary. Finished work is kept: it can still be shown, exported and forked.

    A run that nobody is playing is cancelled at once. RUN is a name, a unique prefix of one, or `last`.
    """
    request(run, "cancel", wait=wait, timeout_s=timeout)
