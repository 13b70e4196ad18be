"""Publication: kill it anywhere, and there is the old state or the new one."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from eva.errors import CheckpointError, DiskFullError
from eva.solver.manifest import Manifest
from workers.training import checkpoints
from workers.training.checkpoints import publish, verify
from workers.training.job_lock import file_lock

WEIGHTS = b"weights" * 1000


def write(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(WEIGHTS)
    (directory / "config.json").write_text("{}")
    (directory / "deep").mkdir()
    (directory / "deep" / "file.txt").write_text("deep")


def never(directory: Path) -> None:
    raise AssertionError(f"{directory} must not be written")


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".publishing.lock")


def test_a_published_checkpoint_verifies_under_the_digest_that_publish_returned(tmp_path: Path) -> None:
    digest = publish(write, tmp_path / "run", "checkpoint-0001")
    manifest = verify(tmp_path / "run" / "checkpoint-0001", digest)
    assert manifest.digest == digest
    assert [entry.path for entry in manifest.files] == ["config.json", "deep/file.txt", "model.safetensors"]
    assert manifest.files[2].size == len(WEIGHTS)
    assert visible(tmp_path / "run") == ["checkpoint-0001"]


def test_a_valid_checkpoint_is_returned_without_writing_again(tmp_path: Path) -> None:
    digest = publish(write, tmp_path, "a")
    assert publish(never, tmp_path, "a") == digest


def test_the_same_files_give_the_same_digest(tmp_path: Path) -> None:
    assert publish(write, tmp_path / "here", "a") == publish(write, tmp_path / "there", "b")


def test_another_digest_than_the_recorded_one_is_refused(tmp_path: Path) -> None:
    publish(write, tmp_path, "a")
    with pytest.raises(CheckpointError, match=r"Expected 00ff, as recorded"):
        verify(tmp_path / "a", "00ff")


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    publish(write, tmp_path, "a")
    os.truncate(tmp_path / "a" / "model.safetensors", 6999)
    with pytest.raises(CheckpointError, match=r"model\.safetensors has 6999 bytes\. Expected 7000"):
        verify(tmp_path / "a")


def test_a_flipped_bit_is_named(tmp_path: Path) -> None:
    publish(write, tmp_path, "a")
    flipped = bytearray(WEIGHTS)
    flipped[3500] ^= 1
    (tmp_path / "a" / "model.safetensors").write_bytes(flipped)
    with pytest.raises(CheckpointError, match=r"model\.safetensors has changed"):
        verify(tmp_path / "a")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    publish(write, tmp_path, "a")
    (tmp_path / "a" / "deep" / "file.txt").unlink()
    with pytest.raises(CheckpointError, match=r"deep/file\.txt is missing"):
        verify(tmp_path / "a")


@pytest.mark.parametrize("name", ["model-00002.safetensors", "chat_template.jinja", "deep/adapter_config.json"])
def test_a_file_that_the_manifest_does_not_list_is_named(tmp_path: Path, name: str) -> None:
    publish(write, tmp_path, "a")
    (tmp_path / "a" / ".nfs0001").write_bytes(b"no loader looks for it")
    verify(tmp_path / "a")
    (tmp_path / "a" / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=rf"{re.escape(name)} is not in its manifest"):
        verify(tmp_path / "a")


PUBLISH_AND_FREEZE = """
import os, signal, sys
from pathlib import Path
from workers.training.checkpoints import publish
publish(lambda directory: os.kill(os.getpid(), signal.SIGSTOP), Path(sys.argv[1]), "a")
"""


def test_a_frozen_process_that_publishes_is_ended_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", PUBLISH_AND_FREEZE, str(tmp_path)]) as frozen:
        os.waitid(os.P_PID, frozen.pid, os.WSTOPPED | os.WNOWAIT)
        monkeypatch.setattr(checkpoints, "file_lock", partial(file_lock, leave_s=0.1))
        verify(tmp_path / "a", publish(write, tmp_path, "a"))
        assert frozen.wait(timeout=30) == -signal.SIGKILL
    assert visible(tmp_path) == ["a"]


@pytest.mark.parametrize("manifest", [None, "", "[]", '{"files": [{"path": "x"}]}'])
def test_a_folder_without_a_valid_manifest_is_replaced_by_publishing(tmp_path: Path, manifest: str | None) -> None:
    digest = publish(write, tmp_path, "a")
    (tmp_path / "a" / "stale.safetensors").write_bytes(b"stale")
    (tmp_path / "a" / "manifest.json").unlink()
    if manifest is not None:
        (tmp_path / "a" / "manifest.json").write_text(manifest)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        verify(tmp_path / "a")
    assert publish(write, tmp_path, "a") == digest
    assert not (tmp_path / "a" / "stale.safetensors").exists()
    assert visible(tmp_path) == ["a"]


def test_a_missing_folder_is_not_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="eva checkpoints repair"):
        verify(tmp_path / "a")


def test_a_write_that_fails_leaves_nothing_and_its_error_passes_through(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        write(directory)
        raise ZeroDivisionError("while writing")

    with pytest.raises(ZeroDivisionError, match="while writing"):
        publish(fail, tmp_path, "a")
    assert visible(tmp_path) == []


PUBLISH_AND_DIE = """
import os, sys
from pathlib import Path
from workers.training import checkpoints

def write(directory):
    (directory / "model.safetensors").write_bytes(b"new")
    if sys.argv[2] == "write":
        os._exit(9)

if sys.argv[2] == "rename":
    checkpoints._replace = lambda temporary, target: os._exit(9)
checkpoints.publish(write, Path(sys.argv[1]), "a")
"""


@pytest.mark.parametrize("moment", ["write", "rename"])
def test_a_process_killed_while_publishing_leaves_no_checkpoint_and_the_next_one_cleans_up(
    tmp_path: Path, moment: str
) -> None:
    died = subprocess.run([sys.executable, "-c", PUBLISH_AND_DIE, str(tmp_path), moment], check=False)
    assert died.returncode == 9
    assert [name for name in visible(tmp_path) if name.startswith(".publishing-a-")]
    assert not checkpoints.is_valid(tmp_path / "a")
    verify(tmp_path / "a", publish(write, tmp_path, "a"))
    assert visible(tmp_path) == ["a"]


def test_a_full_disk_says_how_much_was_needed(tmp_path: Path) -> None:
    def fill(directory: Path) -> None:
        write(directory)
        (directory / "full").symlink_to("/dev/full")
        (directory / "full").write_bytes(b"x")

    with pytest.raises(DiskFullError, match=r"MB are free\. Expected [\d,.]+ MB\. Free space there"):
        publish(fill, tmp_path, "a")
    assert visible(tmp_path) == []


def test_a_disk_known_to_be_too_small_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=r"Expected 1,000,000,000,000\.0 MB"):
        publish(never, tmp_path, "a", needed_bytes=10**18)


def _publish_marked(folder: Path, mark: int) -> None:
    def write_marks(directory: Path) -> None:
        for part in range(50):
            (directory / f"{part}.safetensors").write_text(str(mark))

    publish(write_marks, folder, "a")


def test_publishers_of_one_name_do_not_mix(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    publishers = [context.Process(target=_publish_marked, args=(tmp_path, mark)) for mark in range(3)]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
    verify(tmp_path / "a")
    assert len({file.read_text() for file in (tmp_path / "a").glob("*.safetensors")}) == 1
    assert visible(tmp_path) == ["a"]


def test_publishing_imports_no_torch() -> None:
    code = "import sys, workers.training.checkpoints; print('torch' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert loaded.stdout == "False\n"


def test_a_machine_reads_the_files_of_a_checkpoint_once_until_one_of_them_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def count(path: Path, digest: str | None = None) -> Manifest:
        read.append(path.name)
        return original(path, digest)

    original = checkpoints.verify
    monkeypatch.setattr(checkpoints, "verify", count)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "weights").write_bytes(b"0123456789")
    digest = checkpoints.seal(folder)
    for _ in range(3):
        checkpoints.verify_once(folder, digest)
    assert read == ["policy"]
    time.sleep(0.01)  # the clock of some file systems is that coarse
    (folder / "weights").write_bytes(b"0123456780")
    for _ in range(2):
        with pytest.raises(CheckpointError, match="weights has changed"):
            checkpoints.verify_once(folder, digest)
    (folder / "weights").write_bytes(b"0123456789")
    checkpoints.verify_once(folder, digest)
    (folder / "extra").touch()
    with pytest.raises(CheckpointError, match="extra is not in its"):
        checkpoints.verify_once(folder, digest)
    assert len(read) == 5
    (folder / "extra").unlink()
    with pytest.raises(CheckpointError, match="digest"):
        checkpoints.verify_once(folder, "another")
