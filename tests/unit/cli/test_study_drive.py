"""`eva study drive`, which a service's launcher starts as a Ray job: it plays what the store has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import cli.commands.study as command
from eva.studies.admission import admit_study
from eva.studies.files import study_preset_values
from eva.studies.plan import PlannedRun, plan_study, study_hash
from store.runs import studies
from store.session import Store
from tests.support.cli_fixtures import Command


def test_the_driver_plays_the_stored_study_and_refuses_an_unknown_one(
    eva: Command, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = admit_study(study_preset_values("study-smoke"), allowed=command.read_settings().allowed)
    with store.transaction() as conn:
        studies.create_study(conn, config.name, config.model_dump(mode="json"), study_hash(config))
    played: list[PlannedRun] = []

    def play(_store: Any, _settings: Any, _study: Any, planned: Sequence[PlannedRun], *_: Any, **__: Any) -> list[Any]:
        played.extend(planned)
        return []

    monkeypatch.setattr(command, "_play", play)
    driven = eva("study", "drive", config.name)
    assert driven.exit_code == 0, driven.output
    assert played == [*plan_study(config).runs]
    unknown = eva("study", "drive", "study-smoky")
    assert unknown.exit_code == 2 and "study-smoke" in unknown.output
