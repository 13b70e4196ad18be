"""Plays a study on fakes: in a test's own process, or in one that a test can kill.

python -m tests.support.study_on_fakes FOLDER      (EVA_DATABASE_URL names the database)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from eva.settings import Settings, read_settings
from eva.studies.files import complete_study
from eva.studies.study import StudyConfig
from orchestrator.driver import drive
from orchestrator.studies.opening import open_study
from orchestrator.studies.player import PlayedRun, play_study
from orchestrator.watch.listener import NoListener
from store.rows import RunRow
from store.session import Store, open_store
from tests.support.fakes import always, fake_config, fake_roles


def fake_study(**changes: object) -> StudyConfig:
    """Two arms that share a warm-up, on two seeds."""
    values: dict[str, object] = {
        "name": "fakes",
        "base": fake_config().model_dump(mode="json"),
        "arms": {"regret": {}, "greedy": {"sampling.sampler": "greedy"}},
        "seeds": 2,
        "outcome": {"figure": "heldout.hard.sampled.accuracy"},
    }
    return complete_study(values | changes, Path.cwd())


def play_on_fakes(
    store: Store, study: StudyConfig, folder: Path, before: Callable[[RunRow], None] = lambda run: None
) -> list[PlayedRun]:
    """Opens the study and plays it; `before` is called with each run before it plays."""
    opened = open_study(store, study, str(folder))

    def play(run: RunRow) -> None:
        before(run)
        drive(store, Settings(folder, None, None), run, NoListener(), build=always(fake_roles()))

    return play_study(store, opened.row, opened.plan.runs, play, lambda played: None)


def main(folder: str) -> None:
    store = open_store(read_settings(), migrate=False)
    play_on_fakes(store, fake_study(), Path(folder))
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
