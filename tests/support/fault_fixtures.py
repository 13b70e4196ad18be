"""What tests of kills share: one process that forks drivers, one database for all runs, one undisturbed run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from store.postgres.embedded import EmbeddedServer
from store.session import Store

if TYPE_CHECKING:
    from eva.config import RunConfig
    from tests.support.faults.drivers import Drivers
    from tests.support.faults.trial import Trial


@pytest.fixture(scope="session")
def drivers() -> Iterator[Drivers]:
    """A warm process that forks a driver for each order."""
    from tests.support.faults.drivers import Drivers

    with Drivers() as started:
        yield started


@pytest.fixture(scope="module")
def new_trial(
    postgres: EmbeddedServer, drivers: Drivers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Trial]]:
    """Registers a run of the small game; all of a module's lie in one database."""
    from tests.support.faults.game import game_config
    from tests.support.faults.trial import Trial
    from tests.support.store_fixtures import fresh_database

    folder: Path = tmp_path_factory.mktemp("trials")
    with fresh_database(postgres) as url:
        store = Store(make_url(url).set(drivername="postgresql+psycopg"))

        def new(config: RunConfig | None = None) -> Trial:
            return Trial(store, drivers, folder, url, config or game_config())

        yield new
        store.close()


@pytest.fixture(scope="module")
def undisturbed(new_trial: Callable[..., Trial]) -> Trial:
    """The small game, played by one driver from its start to its end."""
    trial = new_trial()
    trial.finish()
    return trial
