"""`eva webhooks`: adds, lists, tests and removes webhooks."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import click

from cli.main import INFRASTRUCTURE
from cli.remote import Local, Remote, url_option
from cli.store_access import store_of
from cli.terminal.formats import print_json, print_table
from cli.terminal.safe_text import printable
from eva.errors import NotFoundError
from eva.settings import read_settings
from eva.webhooks.messages import FORMS, TOPICS

_POLL_S = 0.5


@click.group()
def webhooks() -> None:
    """Tell others when runs finish, fail, pause or deserve a look (docs/reference/webhooks.md).

    A service (`eva serve`) sends the messages, also of runs that `eva run` plays with the same database.
    """


@webhooks.command()
@click.argument("name")
@click.argument("address")
@click.option("--form", type=click.Choice(FORMS), default="json", show_default=True, help="What the receiver takes.")
@click.option(
    "--on", "topics", type=click.Choice(TOPICS), multiple=True, help="What it is told; repeat it. [default: all]"
)
@click.option("--tag", "tags", multiple=True, help="Only of runs with this tag; repeat it for one of several.")
@click.option("--named", is_flag=True, help="Only of runs whose config names it: --set 'webhooks=[NAME]'.")
@url_option
def add(
    name: str, address: str, form: str, topics: tuple[str, ...], tags: tuple[str, ...], named: bool, url: str | None
) -> None:
    """Add a webhook called NAME that sends to ADDRESS, and print its secret, which signs every message.

    The secret and the path of the address are not shown again.
    """
    body = {"name": name, "url": address, "form": form, "tags": list(tags), "runs": "named" if named else "all"}
    with _service(url) as service:
        made = service.post("/v1/webhooks", body | ({"topics": list(topics)} if topics else {}))
    click.echo(made["secret"])
    click.echo(
        f"This secret signs the messages of {printable(name)}; it will not be shown again. "
        f"Try it: eva webhooks test {printable(name)}",
        err=True,
    )


@webhooks.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@url_option
def list_(as_json: bool, url: str | None) -> None:
    """List the webhooks, and how their deliveries went."""
    with _service(url) as service:
        rows = service.get("/v1/webhooks")["items"]
    if as_json:
        print_json(rows)
        return
    headings = ("name", "address", "form", "told of", "delivered", "waiting", "given up")
    cells = [
        (row["name"], row["url"], row["form"], _told(row), row["delivered"], row["waiting"], row["given_up"])
        for row in rows
    ]
    print_table(headings, cells, empty="There are no webhooks. Add one with `eva webhooks add NAME ADDRESS`.")
    for row in rows:
        if row["last"] is not None:
            click.echo(printable(f"{row['name']}: {_last(row['last'])}"))
        if row["last_error"]:
            click.echo(printable(f"{row['name']}: {row['last_error']}"))


@webhooks.command()
@click.argument("name")
@url_option
def remove(name: str, url: str | None) -> None:
    """Remove NAME. What it was not told yet is not sent any more."""
    with _service(url) as service:
        service.delete(_path(name))
    click.echo(f"Removed {printable(name)}.")


@webhooks.command()
@click.argument("name")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the first attempt.",
)
@url_option
def test(name: str, timeout: float, url: str | None) -> None:
    """Send a message to NAME that tells nothing, and say how it went."""
    with _service(url) as service:
        sent = service.post(f"{_path(name)}:test")
        until = time.monotonic() + timeout
        while not sent["attempts"] and time.monotonic() < until:
            time.sleep(_POLL_S)
            rows = service.get(f"{_path(name)}/deliveries")["items"]
            sent = next((row for row in rows if row["id"] == sent["id"]), sent)
    if sent["state"] == "delivered":
        click.echo(f"{printable(name)} accepted the test (status {sent['status']}).")
        return
    if sent["attempts"]:
        again = "" if sent["state"] == "given_up" else " It is tried again, with longer and longer pauses."
        click.echo(printable(f"{name} did not accept the test: {sent['error']}.{again}"), err=True)
    else:
        click.echo(
            f"Nobody has sent the test within {timeout:g} s. A service sends the messages: start `eva serve` with this "
            "data directory or database, and the test is sent.",
            err=True,
        )
    raise click.exceptions.Exit(INFRASTRUCTURE)


@webhooks.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@url_option
def deliveries(name: str, as_json: bool, url: str | None) -> None:
    """List the newest deliveries of NAME, and how their last attempts went."""
    with _service(url) as service:
        rows = service.get(f"{_path(name)}/deliveries")["items"]
    if as_json:
        print_json(rows)
        return
    cells = [
        (
            row["created_at"][:19].replace("T", " "),
            row["topic"],
            row["run"] or "",
            row["state"].replace("_", " "),
            row["attempts"],
            row["error"] or (f"status {row['status']}" if row["status"] else ""),
        )
        for row in rows
    ]
    headings = ("at", "of", "run", "state", "attempts", "last response")
    print_table(headings, cells, empty=f"{printable(name)} was not told anything yet.")


@contextmanager
def _service(url: str | None) -> Generator[Local | Remote]:
    """The service at `url`; without a URL, the store of this machine, which is created if there is none."""
    if url is not None:
        yield Remote(url)
        return
    settings = read_settings()
    with store_of(settings) as store:
        yield Local(store, settings)


def _path(name: str) -> str:
    if not name or "/" in name or ":" in name:
        raise NotFoundError(f"there is no webhook {name[:100]!r}", next_move="List them with `eva webhooks list`")
    return f"/v1/webhooks/{quote(name, safe='')}"


def _last(delivery: dict[str, Any]) -> str:
    """How the newest message went, and when it was over or, if it waits, when its event happened."""
    state = {"waiting": "waits since", "delivered": "was delivered at", "given_up": "was given up at"}
    at = (delivery["finished_at"] or delivery["created_at"])[:16].replace("T", " ")
    status = f" (status {delivery['status']})" if delivery["status"] else ""
    return f"the newest message {state[delivery['state']]} {at}{status}"


def _told(row: dict[str, Any]) -> str:
    topics = "everything" if len(row["topics"]) == len(TOPICS) else ", ".join(row["topics"])
    which = f" of runs tagged {' or '.join(row['tags'])}" if row["tags"] else ""
    return f"{topics} of runs that name it" if row["runs"] == "named" else topics + which
