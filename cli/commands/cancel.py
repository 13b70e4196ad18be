"""`eva cancel`: ends a run at its next batch boundary, or by force."""

from __future__ import annotations

import click

from cli.desired_state import force as force_cancel
from cli.desired_state import request, wait_options
from orchestrator.hold.control import OBEY_S


@click.command()
@click.argument("run")
@click.option(
    "--force",
    is_flag=True,
    help=f"End a driver that does not obey within --timeout (then {OBEY_S:.0f} s by default), whatever it waits for.",
)
@wait_options
@click.pass_context
def cancel(ctx: click.Context, run: str, force: bool, wait: bool, timeout: float) -> None:
    """End RUN for good at its next batch boundary. Finished work is kept: it can still be shown, exported and forked.

    A run that nobody is playing is cancelled at once. With --force the run is taken from a driver that does not obey,
    and the driver's process is killed if it runs on this machine. RUN is a name, a unique prefix of one, or `last`.
    """
    if force:
        given = ctx.get_parameter_source("timeout") != click.core.ParameterSource.DEFAULT
        force_cancel(run, timeout if given else OBEY_S)
    else:
        request(run, "cancel", wait=wait, timeout_s=timeout)
