"""Files in the folder where `eva` is called hide no module, whatever their names, and their functions are found."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray import cloudpickle
from sqlalchemy import text

from eva.settings import Settings
from store.session import Store
from tests.support.cli_fixtures import Played
from workers.cluster.connection import working_directory_mover

ROOT = Path(__file__).parents[3]
COMMAND = (str(Path(sys.executable).with_name("eva")),)
MODULE = (sys.executable, "-P", "-m", "cli.main")

ON_FAKES = f"""
import sys
sys.path.append({str(ROOT)!r})
import orchestrator.driver, orchestrator.launch.registration
from cli.main import main
from tests.support.played_run import lazily
orchestrator.driver.build_roles = lazily
main()
"""


def output(folder: Path, settings: Settings, *command: str) -> str:
    """The output of a command that is called in a folder; it must succeed."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
        "EVA_DATA_DIR": str(settings.data_dir),
        "EVA_DATABASE_URL": settings.database_url or "",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("command", [COMMAND, MODULE], ids=["eva", "python -m"])
def test_a_run_is_looked_at_from_any_folder(played: Played, misleading_folder: Path, command: tuple[str, ...]) -> None:
    assert played.name in output(misleading_folder, played.settings, *command, "runs")
    assert played.name in output(misleading_folder, played.settings, *command, "show", played.name)
    assert "database" in output(misleading_folder, played.settings, *command, "doctor")


def test_a_run_is_played_in_any_folder_with_a_reward_function_that_lies_there(
    store: Store, store_settings: Settings, misleading_folder: Path
) -> None:
    small = ["prompts.playground=12", "iterations=2", "evaluation.playground=3"]
    overrides = [*small, "reward={kind: verifier, function: 'rewards:length'}"]
    options = [part for override in overrides for part in ("--set", override)]
    command = (sys.executable, "-P", "-c", ON_FAKES, "run", "playground", *options)
    output(misleading_folder, store_settings, *command)
    with store.transaction() as conn:
        assert conn.execute(text("SELECT status FROM runs")).scalar_one() == "finished"
        assert conn.execute(
            text("SELECT count(*) FROM rewards WHERE rewarder = 'verifier:rewards:length'")
        ).scalar_one()


@pytest.fixture
def submitted_folder(misleading_folder: Path) -> Path:
    """A folder as `ray job submit --working-dir` hands it on, first on the path, where `types.py` breaks Python itself
    and `cli.py` would be the command."""
    for name in ("cli", "queue", "types"):
        (misleading_folder / f"{name}.py").unlink()
    return misleading_folder


def in_job(folder: Path, *command: str) -> str:
    environment = dict(os.environ) | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command_finds_eva_behind_the_folder_of_a_ray_job(submitted_folder: Path) -> None:
    assert "self-play" in in_job(submitted_folder, *COMMAND, "--help")
    assert "playground" in in_job(submitted_folder, *COMMAND, "presets")


def test_a_worker_of_a_ray_job_finds_eva_before_the_jobs_folder(submitted_folder: Path) -> None:
    hook = base64.b64encode(cloudpickle.dumps(working_directory_mover())).decode()  # pyright: ignore[reportPrivateImportUsage]
    start = f"import base64, pickle; pickle.loads(base64.b64decode({hook!r}))()"
    use = "import eva, store, workers, rewards, sys; print(rewards.length('', 'abc'), rewards.__file__, sys.path[-1])"
    printed = in_job(submitted_folder, sys.executable, "-c", f"{start}; {use}").split()
    assert printed == ["3", str(submitted_folder / "rewards.py"), str(submitted_folder)]
    with pytest.raises(AssertionError, match=r"imported the eva\.py of a user"):
        in_job(submitted_folder, sys.executable, "-c", use)
