"""`eva runs`: the list, and which runs are in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import click
import pytest

from api.runs.schemas import Status
from cli.commands.runs import STATUSES, Since
from orchestrator.launch.registration import register_run
from store.runs.runs import annotate_run, set_status
from store.session import Store
from tests.support.cli_fixtures import Command
from tests.support.fakes import fake_config


def test_every_status_can_be_asked_for() -> None:
    assert sorted(STATUSES) == sorted(get_args(Status.__value__))


def test_runs_are_selected_by_status_tag_and_age(eva: Command, store: Store) -> None:
    first, second = register_run(store, fake_config()), register_run(store, fake_config())
    with store.transaction() as conn:
        set_status(conn, second.id, "paused")
        annotate_run(conn, second.id, note="", tags=("paper",))
    for chosen in (("--status", "paused", "--status", "failed"), ("--tag", "paper")):
        shown = eva("runs", *chosen).stdout
        assert second.name in shown and first.name not in shown
    assert first.name in eva("runs", "--since", "1h", "--config", f"seed={first.seed}").stdout
    assert "No run is like that" in eva("runs", "--config", "training.loss=orpo").stdout
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert eva("runs", "--since", later).stdout == "No run is like that. `eva runs` lists all.\n"
    assert "no date such as" in eva("runs", "--since", "yesterday").stderr


@pytest.mark.parametrize(("text", "ago"), [("30m", timedelta(minutes=30)), ("2w", timedelta(weeks=2))])
def test_a_duration_is_that_long_ago(text: str, ago: timedelta) -> None:
    moment = Since().convert(text, None, None)
    assert abs(datetime.now(UTC) - ago - moment) < timedelta(minutes=1)


def test_a_date_has_the_time_zone_of_the_machine_unless_it_names_one() -> None:
    assert Since().convert("2026-11-30T12:00:00+02:00", None, None) == datetime(2026, 11, 30, 10, tzinfo=UTC)
    assert Since().convert("2026-11-30", None, None).tzinfo is not None
    with pytest.raises(click.BadParameter):
        Since().convert("999999w", None, None)
