"""`eva watch`: follows the progress of a run, wherever it plays."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console

from cli.main import CONFLICT, INTERRUPTED
from cli.remote import run_path, source_of, url_option
from cli.terminal.formats import place, waiting
from cli.terminal.progress import Watch, watch_of
from cli.terminal.safe_text import printable

POLL_S = 1.0
OVER = ("finished", "failed", "cancelled", "paused", "interrupted")

Look = Callable[[], tuple[dict[str, Any], list[dict[str, Any]]]]
"""Reads the run and its stages, as the API shows them."""


@click.command()
@click.argument("run", default="last")
@url_option
def watch(run: str, url: str | None) -> None:
    """Follow RUN until it stops, with rates and the time left. Ctrl-C ends only the watching, not the run.

    RUN is a name, a unique prefix of one, or `last`.
    """
    with _looking(run, url) as look:
        facts, _ = look()
        if facts["status"] not in OVER:
            click.echo(printable(f"{facts['name']} is {facts['status']} in {_place(facts)}"))
        shown = watch_of(
            str(facts["name"]),
            int(facts["iterations"]),
            int(facts["iteration"]),
            Console(highlight=False),
            click.echo,
            stays=True,  # no report follows
        )
        try:
            with shown:
                facts = follow(look, shown)
        except KeyboardInterrupt:
            click.echo(f"Stopped watching. The run continues; it was in {_place(facts)}.")
            raise click.exceptions.Exit(INTERRUPTED) from None
    click.echo(
        printable(
            f"{facts['name']} is {facts['status']} in {_place(facts)}"
            + (f": {facts['error']}" if facts["error"] else "")
        )
    )
    if facts["status"] in ("failed", "interrupted"):
        raise click.exceptions.Exit(CONFLICT)


def follow(look: Look, shown: Watch, sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """Report changes to `shown` until the run stops, and return the run as it is then.

    Stages that were already done at the start are not reported.
    """
    known = {(stage["iteration"], stage["name"]) for stage in look()[1] if stage["status"] == "done"}
    last_note: str | None = None
    last: dict[tuple[int, str], int] = {}
    while True:
        facts, stages = look()
        for stage in stages:
            at = int(stage["iteration"]), str(stage["name"])
            # several stages are open while a batch goes through them in chunks: the one that advances is shown
            if at in known or (stage["status"] == "running" and last.get(at) == stage["done"]):
                continue
            last[at] = stage["done"]
            shown.on_stage_open(*at, stage["done"], stage["total"])
            if stage["status"] == "done":
                known.add(at)
                shown.on_stage_close(*at, stage["counts"])
        if facts["status"] in OVER:
            return facts
        if (note := _waiting(facts)) != last_note and note is not None:
            shown.on_message(note)
        last_note = note
        sleep(POLL_S)


def _waiting(facts: dict[str, Any]) -> str | None:
    launch, wait = facts.get("launch"), facts.get("wait")
    if wait is not None:
        return waiting(wait)
    if facts["status"] != "queued" or launch is None:
        return None
    if launch["message"]:
        return f"waiting: {launch['message']}"
    return f"waiting in the queue behind {launch['ahead']} runs" if launch["ahead"] else "its driver is starting"


def _place(facts: dict[str, Any]) -> str:
    return place(int(facts["iteration"]), int(facts["iterations"]))


@contextmanager
def _looking(run: str, url: str | None) -> Generator[Look]:
    with source_of(url) as source:
        path = run_path(str(source.get(run_path(run))["name"]))
        yield lambda: (source.get(path), source.get(f"{path}/stages")["items"])
