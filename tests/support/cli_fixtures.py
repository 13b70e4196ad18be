"""The command line in a test, and one finished run that all tests may look at but none may change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from click.testing import CliRunner, Result

from eva.settings import Settings
from store.postgres.embedded import SUPERUSER, EmbeddedServer

if TYPE_CHECKING:
    from store.session import Store

Command = Callable[..., Result]


@dataclass(frozen=True)
class Played:
    """A finished run of the playground with a fake solver: its name, its store, `eva` beside it."""

    name: str
    run_id: int
    store: Store
    settings: Settings
    eva: Command


def command_line(settings: Settings, width: int = 100) -> Command:
    """`eva` as a function of its arguments, in the environment of these settings."""
    from cli.main import eva

    environment = {
        "EVA_DATA_DIR": str(settings.data_dir),
        "EVA_DATABASE_URL": settings.database_url,
        "COLUMNS": str(width),
        "EVA_DEBUG": None,
        "TERM": "dumb",
    }

    def call(*arguments: str | Path, env: dict[str, str] | None = None, stdin: str | None = None) -> Result:
        runner = CliRunner(env={**environment, **(env or {})})
        return runner.invoke(eva, [str(argument) for argument in arguments], input=stdin)

    return call


@pytest.fixture(scope="session")
def played(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    from store.session import open_store
    from tests.support.played_run import play_run

    with psycopg.connect(host=postgres.socket_dir, user=SUPERUSER, dbname="postgres", autocommit=True) as conn:
        conn.execute("CREATE DATABASE cli_played TEMPLATE eva")
    url = f"postgresql://{SUPERUSER}@/cli_played?host={postgres.socket_dir}"
    settings = Settings(tmp_path_factory.mktemp("played"), url, None)
    store = open_store(settings)
    run = play_run(store, settings)
    yield Played(run.name, run.id, store, settings, command_line(settings))
    store.close()


@pytest.fixture
def eva(store_settings: Settings) -> Command:
    """`eva` on a fresh database."""
    return command_line(store_settings)


@pytest.fixture
def misleading_folder(tmp_path: Path) -> Path:
    """A user's folder: a reward function and a loss, and files with the names of modules of eva and of Python.

    Those raise when they are imported.
    """
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("api", "cli", "eva", "migrations", "orchestrator", "queue", "store", "types", "workers"):
        (folder / f"{name}.py").write_text(f"raise RuntimeError('imported the {name}.py of a user')\n")
    (folder / "rewards.py").write_text("def length(prompt, response):\n    return len(response)\n")
    (folder / "losses.py").write_text("def unlikely(batch, training):\n    return batch.rejected - batch.chosen\n")
    return folder
