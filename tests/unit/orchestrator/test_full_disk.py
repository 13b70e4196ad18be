"""A run whose disk is full pauses, wherever that is noticed."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from eva.errors import DiskFullError, InfrastructureError
from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.runs import runs
from store.session import Store
from tests.support.fakes import FakeGenerator, FakeTrainer, Recorder, always, fake_config, fake_roles


def full(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device", "/disk/file")


def full_beneath(*_: object, **__: object) -> NoReturn:
    try:
        full()
    except OSError as error:
        raise InfrastructureError("the view could not be built") from error


@pytest.mark.parametrize("fail", [full, full_beneath])
@pytest.mark.parametrize("where", ["train", "publish_initial", "load"])
def test_a_full_disk_pauses_the_run_and_the_next_driver_goes_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, fail: Callable[..., NoReturn]
) -> None:
    run = register_run(store, fake_config(iterations=1))
    settings = Settings(data_dir=tmp_path, database_url=None, ray_address=None)
    trainer, generator = FakeTrainer(), FakeGenerator()
    monkeypatch.setattr(generator if where == "load" else trainer, where, fail)
    with pytest.raises(DiskFullError, match=r"no space is left for /disk/file\. Free some space there, then resume"):
        drive(store, settings, run, Recorder(), build=always(fake_roles(trainer=trainer, generator=generator)))
    with store.transaction() as conn:
        row = runs.get_run(conn, run.id)
    assert row.status == "paused" and "no space is left for /disk/file" in (row.error or "")
    drive(store, settings, run, Recorder(), build=always(fake_roles()))
    with store.transaction() as conn:
        assert runs.get_run(conn, run.id).status == "finished"
