"""Files and folders that other users of the machine cannot read."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from eva.errors import InfrastructureError
from eva.runtime.private_files import closed_folder, open_files, ray_sessions_folder
from orchestrator.launch.registration import register_run
from store.session import Store
from tests.support.fakes import fake_config
from tests.support.structure import ROOT


def test_after_a_whole_game_no_other_user_can_read_a_file_of_it(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    run = register_run(store, fake_config())
    program = (
        "from eva.runtime.private_files import keep_files_private; keep_files_private()\n"
        f"from tests.support.drive_on_fakes import main; main({run.name!r}, {str(tmp_path / 'data')!r})"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "EVA_DATABASE_URL": database_url},
        check=True,
        timeout=120,
    )
    written = list((tmp_path / "data").rglob("*"))
    assert any(path.name.endswith(".safetensors") or "pairs" in path.name for path in written), "the game wrote files"
    assert [path for path in (tmp_path / "data", *written) if path.stat().st_mode & 0o077] == []


def test_open_files_are_found_and_what_a_closed_folder_holds_is_closed(tmp_path: Path) -> None:
    for name, mode in (("closed", 0o700), ("passable", 0o711), ("open", 0o755)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "file").write_text("x", encoding="utf-8")
        (folder / "file").chmod(0o644)
        folder.chmod(mode)
    tmp_path.chmod(0o711)
    (tmp_path / "link").symlink_to("/etc/passwd")
    names = [str(path.relative_to(tmp_path)) for path in open_files(tmp_path)]
    assert names == ["open", "open/file", "passable/file"]
    assert open_files(tmp_path, most=1) == [tmp_path / "open"] and len(open_files(tmp_path, besides=("open",))) == 1


def test_ray_keeps_its_sessions_in_a_folder_of_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    folder.mkdir(mode=0o755)
    assert stat.S_IMODE(closed_folder(folder).stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(InfrastructureError, match=r"not a folder of this user.*RAY_TMPDIR"):
        closed_folder(tmp_path / "link")
    assert ray_sessions_folder({}) == Path(f"/tmp/eva-{os.geteuid()}")  # noqa: S108 - where it is
    assert ray_sessions_folder({"RAY_TMPDIR": "/scratch"}) == Path("/scratch")
