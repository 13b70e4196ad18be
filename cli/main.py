"""The entry point of the command line. It imports only click; a command is imported when it is called."""

from __future__ import annotations

import importlib
import io
import sys
from typing import TYPE_CHECKING, Any

import click

from eva.runtime.import_path import move_user_folders_last
from eva.runtime.private_files import keep_files_private

if TYPE_CHECKING:
    from eva.errors import EvaError

INPUT, CONFLICT, INFRASTRUCTURE, INTERRUPTED = 2, 3, 4, 130
"""Exit codes: the input cannot be used, the run's state forbids it, a machine or service failed, Ctrl-C."""

GROUPS = {
    "Play": {
        "demo": "Play the playground: watch a tiny model learn.",
        "run": "Play a run of self-play, or continue one.",
        "pause": "Stop a run at its next batch boundary.",
        "resume": "Continue a run.",
        "cancel": "End a run for good at its next batch boundary.",
        "fork": "Start a run that continues another one with other settings.",
        "study": "Compare arms over seeds and given models, with intervals.",
        "replay": "Redo a run's sampling with other settings: what would have been chosen?",
    },
    "Look": {
        "runs": "List the runs of this data directory.",
        "show": "Show what a run has done so far.",
        "watch": "Follow the progress of a run, wherever it plays.",
        "compare": "Show how runs differ in config and results.",
        "events": "List what happened in a run.",
        "logs": "Show the logs of a run's driver and workers.",
        "lineage": "Show the ancestors and descendants of a prompt.",
        "fingerprint": "Print a digest of a run's decisions, or where two runs differ.",
        "report": "Write a run as one HTML page that opens from disk.",
    },
    "Keep": {
        "checkpoints": "List, push, serve or prune a run's checkpoints.",
        "export": "Write a run's pairs, prompts, responses, judged prompts, held-out responses or rollouts.",
        "delete": "Hide a run from lists; --purge frees its disk, too.",
        "restore": "Show a deleted run in lists again.",
    },
    "Serve": {
        "serve": "Serve the dashboard and the REST API on this machine.",
        "submit": "Launch a run on a service or a Ray cluster.",
        "webhooks": "Tell others when runs finish, fail, pause or deserve a look.",
        "keys": "Create, list and revoke API keys.",
        "drive": "Play a stored run or a new one as a Ray job (Ray calls this).",
    },
    "Set up": {
        "doctor": "Check this machine and say how to fix what would fail.",
        "presets": "List the configs that come with eva and what they need.",
        "config": "Print a full config, or explain every key.",
        "evaluate": "Compute a leaderboard's figures from its published annotations.",
    },
}
"""Commands with their lines in the help, in groups, in the order of the help. NAME is in `cli.commands.NAME`."""
COMMANDS = {name: line for group in GROUPS.values() for name, line in group.items()}
_MEANT = {
    "ls": ["runs"],
    "list": ["runs"],
    "stop": ["cancel"],
    "kill": ["cancel"],
    "rm": ["delete"],
    "start": ["run"],
    "status": ["runs"],
}
"""What other programs call these commands."""


class Eva(click.Group):
    """The group of all commands, and the one place where errors become messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [*COMMANDS]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            import difflib

            close = _MEANT.get(name) or difflib.get_close_matches(name, COMMANDS, 1)
            hint = f" Did you mean `eva {close[0]}`?" if close else " `eva --help` lists them."
            ctx.fail(f"There is no command {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        return getattr(importlib.import_module(f"cli.commands.{cmd_name}"), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([*commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        debug = bool(ctx.params["debug"])
        try:
            result = super().invoke(ctx)
            # if the reader of a pipe has left, fail here and not while the interpreter shuts down
            sys.stdout.flush()
            return result
        except KeyboardInterrupt:
            if debug:
                raise
            click.echo("eva: interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except click.UsageError as error:
            if not (hint := _hint_at_set(error)):
                raise
            raise click.UsageError(error.message + hint, error.ctx) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            from eva.library_failures import told_failure

            told = told_failure(error)
            if debug or told is None:
                raise
            click.echo(error_message(told), err=True)
            ctx.exit(exit_code(told))


def _hint_at_set(error: click.UsageError) -> str:
    """What to tell who writes KEY=VALUE behind a command that takes it by --set; empty for other errors."""
    takes_set = error.ctx is not None and any("--set" in parameter.opts for parameter in error.ctx.command.params)
    if takes_set and "unexpected extra argument" in error.message and "=" in error.message:
        return " Keys of the config are set with --set KEY=VALUE, once for each key."
    return ""


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


_COMPLETION = 'Completion in bash: eval "$(_EVA_COMPLETE=bash_source eva)"; in zsh and fish: docs/reference/control.md.'


@click.group(cls=Eva, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_COMPLETION)
@click.version_option("0.1.0", prog_name="eva")
@click.option("--debug", is_flag=True, envvar="EVA_DEBUG", help="Show the traceback of an error (or set EVA_DEBUG=1).")
def eva(debug: bool) -> None:
    """Align a language model by asymmetric self-play.

    A creator keeps rewriting prompts so that they stay just within reach of the solver, the model being
    aligned; the solver learns from its own best and worst responses to them.

    Data is stored in EVA_DATA_DIR (default: ./eva-data), in an embedded PostgreSQL unless EVA_DATABASE_URL
    names your own.
    """
    del debug
    for stream in (sys.stdout, sys.stderr):
        # a terminal that cannot show a character gets a question mark, not a crash
        if isinstance(stream, io.TextIOWrapper) and (stream.encoding or "").lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="replace")


def main() -> None:
    """The console script `eva`. What it writes, its user alone can read."""
    keep_files_private()
    move_user_folders_last()
    eva()


if __name__ == "__main__":
    main()
