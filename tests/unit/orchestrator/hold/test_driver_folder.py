"""Files that two drivers of one run could share: a relieved driver that wakes up changes none of its successor's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from eva.errors import InfrastructureError
from eva.settings import Settings
from eva.types import Checkpoint, TrainingJob, TrainingResult, TrainingStep
from orchestrator.driver import drive
from orchestrator.hold.driver_folder import driver_folder, remove_earlier_folders
from orchestrator.hold.overseer import all_answer
from orchestrator.launch.registration import register_run
from orchestrator.studies.given_models import make_models
from store.session import Store
from tests.support import tiny_models
from tests.support.fakes import Died, FakeTrainer, Recorder, always, fake_config, fake_roles
from tests.support.simulated_engines import SimulatedEngines
from workers.fleet.dispatch import Limits
from workers.fleet.fleet import Fleet
from workers.training.checkpoints import seal


def test_a_relieved_driver_that_ends_its_fleet_leaves_the_views_of_the_next_driver(tmp_path: Path) -> None:
    folder = tiny_models.record_canary(tiny_models.llama(tmp_path / "model", tied=True))
    policy = Checkpoint(0, 0, str(folder), seal(folder))

    def fleet(fence: int) -> Fleet:
        remove_earlier_folders(tmp_path, fence)
        return Fleet(SimulatedEngines(1), Limits(8, 3, 60), driver_folder(tmp_path, fence) / "serving")

    relieved = fleet(7)
    relieved.load(policy)
    current = fleet(8)
    current.load(policy)
    relieved.close()
    assert [path.name for path in (tmp_path / "driver-8" / "serving").iterdir()] == [f"0-{policy.digest[:16]}"]
    assert not (tmp_path / "driver-7" / "serving").exists()


def test_a_driver_removes_the_folders_of_earlier_drivers_only(tmp_path: Path) -> None:
    for name in ("driver-2", "driver-10", "driver-11", "driver-12", "serving", "jobs", "checkpoint-0001", "driver-x"):
        (tmp_path / name).mkdir()
    remove_earlier_folders(tmp_path, 11)
    kept = {"checkpoint-0001", "driver-11", "driver-12", "driver-x"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    remove_earlier_folders(tmp_path, 2)  # a relieved driver that wakes up here
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_each_driver_writes_the_pairs_of_its_training_job_into_its_own_folder(store: Store, tmp_path: Path) -> None:
    class Stopping(FakeTrainer):
        def train(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
            answer = super().train(job, report)
            if len(self.jobs) == 1:
                raise Died
            return answer

    run, trainer = register_run(store, fake_config(iterations=1)), Stopping()
    settings = Settings(data_dir=tmp_path, database_url=None, ray_address=None)
    with pytest.raises(Died):
        drive(store, settings, run, Recorder(), build=always(fake_roles(trainer=trainer)), ttl_s=60.0)
    first = Path(trainer.jobs[0].pairs_path)
    content = first.read_bytes()
    drive(store, settings, run, Recorder(), build=always(fake_roles(trainer=trainer)), ttl_s=60.0)
    second = Path(trainer.jobs[1].pairs_path)
    assert first != second and second.read_bytes() == content
    assert [job.pairs_path.rsplit("/", 3)[1] for job in trainer.jobs] == [f"driver-{job.fence}" for job in trainer.jobs]
    assert not first.exists()


def test_the_engines_of_a_driver_load_from_its_own_folder(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = register_run(store, fake_config(iterations=1))
    seen: list[Path] = []

    @contextmanager
    def start_fleet(*_arguments: Any, views_dir: Path, **_others: Any) -> Iterator[None]:
        seen.append(views_dir)
        raise InfrastructureError("no engine starts here")
        yield

    monkeypatch.setattr("orchestrator.driver.ray_connection", lambda _settings: nullcontext())
    monkeypatch.setattr("orchestrator.driver.cluster_watch", lambda: all_answer)
    monkeypatch.setattr("orchestrator.driver.start_fleet", start_fleet)
    settings = Settings(data_dir=tmp_path, database_url=None, ray_address=None)
    for _ in range(2):
        with pytest.raises(InfrastructureError, match="no engine starts here"):
            drive(store, settings, run, Recorder(), ttl_s=60.0)
    assert [path.relative_to(tmp_path / "runs" / run.folder_name).as_posix() for path in seen] == [
        "driver-1/serving",
        "driver-2/serving",
    ]


def test_a_study_that_makes_a_model_does_not_remove_what_another_one_is_making(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "models" / "playground-3.part-of-another"
    other.mkdir(parents=True)

    def make(command: list[str], **_others: Any) -> Any:
        folder = Path(command[-1])
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        # the other study is quicker
        (tmp_path / "models" / "playground-3").mkdir()
        (tmp_path / "models" / "playground-3" / "config.json").write_text("{}")
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr("orchestrator.launch.made_models.subprocess.run", make)
    make_models(["playground:3"], tmp_path, lambda _line: None)
    assert sorted(path.name for path in other.parent.iterdir() if path.is_dir()) == ["playground-3", other.name]
