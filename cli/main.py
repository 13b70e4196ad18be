"""The command line's entry. It imports click alone: each command is imported when it is called."""

from __future__ import annotations

import importlib
import io
import sys
from typing import TYPE_CHECKING, Any

import click

from eva.runtime.import_path import move_user_folders_last

if TYPE_CHECKING:
    from eva.errors import EvaError

INPUT, CONFLICT, INFRASTRUCTURE, INTERRUPTED = 2, 3, 4, 130
"""Exit codes: the input cannot be used, the run's state forbids it, a machine or service failed, Ctrl-C."""

COMMANDS = {
    "demo": "Play the playground: a tiny model learns in front of you.",
    "run": "Play a run of self-play, or continue one.",
    "pause": "Let a run stop at its next batch boundary.",
    "resume": "Continue a run.",
    "cancel": "End a run for good at its next batch boundary.",
    "fork": "Play on from an iteration of a run with other settings.",
    "runs": "List the runs of this data directory.",
    "show": "Show what a run has done so far.",
    "compare": "Show how runs differ, in their configs and in what came of them.",
    "events": "List what happened in a run.",
    "logs": "Show what a run's driver and workers wrote down.",
    "lineage": "Show what a prompt grew from, and what grew from it.",
    "replay": "Redo a run's sampling with other choices: what would have been chosen?",
    "fingerprint": "Digest what a run decided, or say where two runs differ.",
    "evaluate": "Compute a leaderboard's numbers from its published annotations.",
    "serve": "Serve the REST API on this machine.",
    "keys": "Make, list and revoke the API's keys.",
    "submit": "Have a run played by a service or a Ray cluster.",
    "watch": "Show how a run goes, whoever plays it.",
    "drive": "What a Ray job runs: play a run that is stored, or a new one.",
    "export": "Write a run's pairs, prompts, responses or judged prompts to a file.",
    "report": "Write a run as one HTML page that opens from disk.",
    "presets": "List the configs that come with eva, and what they need.",
    "config": "Print a config in full, or explain every key.",
    "doctor": "Check this machine: what is installed, what would fail.",
}
"""Every command in the help's order, with its line there; `cli.commands.NAME` holds its function NAME."""


class Eva(click.Group):
    """Commands by name, and the one place where errors become messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        return getattr(importlib.import_module(f"cli.commands.{cmd_name}"), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        debug = bool(ctx.params["debug"])
        try:
            result = super().invoke(ctx)
            # what `| head` no longer reads must fail here, not in the interpreter's last breath
            sys.stdout.flush()
            return result
        except KeyboardInterrupt:
            if debug:
                raise
            click.echo("eva: interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:
            from eva.errors import EvaError

            if debug or not isinstance(error, EvaError):
                raise
            click.echo(error_message(error), err=True)
            ctx.exit(exit_code(error))


def exit_code(error: EvaError) -> int:
    """INPUT, CONFLICT or INFRASTRUCTURE, by the kind of the error."""
    from eva.errors import ConflictError, InputError, NotFoundError, RunStoppedError

    if isinstance(error, InputError | NotFoundError):
        return INPUT
    return CONFLICT if isinstance(error, ConflictError | RunStoppedError) else INFRASTRUCTURE


def error_message(error: EvaError) -> str:
    """What is printed on stderr, without secrets and control characters. Lists of problems keep their lines."""
    from cli.terminal.safe_text import printable
    from eva.runtime.redaction import known_secrets, redact

    shown = redact(f"eva: {error}", known_secrets())
    return "\n".join(printable(line) for line in shown.split("\n"))


@click.group(cls=Eva, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option("0.1.0", prog_name="eva")
@click.option("--debug", is_flag=True, envvar="EVA_DEBUG", help="Show the traceback of an error (or set EVA_DEBUG=1).")
def eva(debug: bool) -> None:
    """Align a language model by asymmetric self-play.

    A creator keeps writing prompts that the solver, the model being aligned, is just about able to answer
    well; the solver learns from its own best and worst answers to them.

    Data lie in EVA_DATA_DIR (./eva-data). EVA_DATABASE_URL names a PostgreSQL of your own; unset, one is
    started there.
    """
    del debug
    for stream in (sys.stdout, sys.stderr):
        # a terminal that lacks a character gets a question mark, not a crash
        if isinstance(stream, io.TextIOWrapper) and (stream.encoding or "").lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="replace")


def main() -> None:
    """The console script `eva`."""
    move_user_folders_last()
    eva()


if __name__ == "__main__":
    main()
